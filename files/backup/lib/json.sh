# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- What is written down about a run: small JSON files, replaced in one step --------------------------

require_jq() {
    command -v jq >/dev/null || die 'jq is missing: install it, as a deploy does' "$EXIT_USAGE"
}

# One object of the options --arg and --argjson; an empty text is a value that is not known.
# shellcheck disable=SC2016,SC2034  # jq's own name; not every script writes such a file
readonly named_values='($ARGS.named | map_values(if . == "" then null else . end))'

write_json() { # FILE JQ-ARGUMENT...
    jq "${@:2}" >"$1.part" && sync "$1.part" && mv -f -- "$1.part" "$1"
}

# What was read of many files at once: jq takes longer to start than to read a hundred of them.
declare -A json=()    # by "FILE KEY"

# A file that is missing or damaged is as good as empty: jq is given each as a line, after one with its path.
# shellcheck disable=SC2016  # jq's own names
readonly of_each_file='
    inputs as $path | (input | fromjson? // {}) as $read | ($keys | split(" "))[] as $key
    | [$path, $key, ($read | .[$key]? // empty | tostring | gsub("\\s"; " "))] | join("\t")'

load_json() { # "KEY..." FILE...
    local path key value
    while IFS=$'\t' read -r path key value; do
        # shellcheck disable=SC2034  # not every script reads it
        json[$path $key]=$value
    done < <(in_a_line_each "${@:2}" |
        jq --null-input --raw-input --raw-output --arg keys "$1" "$of_each_file")
}

in_a_line_each() { # FILE...
    local path
    local -a lines
    for path in "$@"; do
        lines=()
        if [[ -r $path ]]; then mapfile -t lines <"$path"; fi
        printf '%s\n%s\n' "$path" "${lines[*]-}"
    done
}

# A value at the top level of one of our own files, in one line; nothing where there is none.
json_value() { # FILE KEY
    # shellcheck disable=SC2016  # jq's own name
    jq --raw-output --arg key "$2" '.[$key]? // empty | tostring | gsub("\\s"; " ")' "$1" 2>/dev/null || true
}
