# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- The manifest beside each dump ----------------------------------------------------------------------

write_manifest() { # FINAL
    local globals=''
    if [[ -e $1.globals.gz.part ]]; then globals=${1##*/}.globals.gz; fi
    # It is published as a part of the dump, under that name. What is in a database would not fit into an argument.
    contents_in "$run_dir/contents" >"$run_dir/contents.json" ||
        die "what is in $database cannot be read: run this again"
    write_json "$1.json" --arg dump "${1##*/}" --arg database "$database" --arg tier "$tier" \
        --arg format "$backup_format" --arg started "$began_utc" --arg ended "$(utc_now)" \
        --argjson seconds "$(( SECONDS - began ))" --argjson bytes "$dump_bytes" --arg sha256 "$sum" \
        --arg globals "$globals" --arg server_version "$server_version" \
        --arg client_version "$client_version" --argjson database_bytes "$database_bytes" \
        --slurpfile before <(printf '%s' "$sequences_before") --arg schema_sha256 "$(sum_of_objects)" \
        "$manifest_program" "$run_dir/contents.json" ||
        die "cannot write $1.json: make room on its disk"
    mv "$1.json" "$1.json.part"
}

sum_of_objects() { jq --compact-output --sort-keys .objects "$run_dir/contents.json" | sha256sum | cut -d ' ' -f 1; }

# shellcheck disable=SC2016  # jq's own names
readonly manifest_program=". as \$found | $named_values | del(.schema_sha256, .before)"'
    + {sequences_before: $before[0], sequences_after: $found.sequences_after,
       content: ($found | del(.sequences_after) + {$schema_sha256})}'

# Counting is for the restore test's sake: it never keeps anybody from a dump.
tell_what_was_not_counted() {
    local names
    names=$(contents_in "$run_dir/contents" | jq --raw-output '.uncounted // [] | join(", ")')
    [[ -z $names ]] || warn "not counted, so that a restore test cannot compare them: $names: \
$(reason_in "$run_dir/session.err")"
}

# Half of the usual size may be right after a clean-up, and may be a table that was lost.
compare_size() {
    local median path
    local -a paths=()
    mapfile -t paths < <(all_dumps "$prefix" | sed -n 1,7p)
    load_json bytes "${paths[@]/%/.json}"
    median=$(
        for path in "${paths[@]}"; do
            printf '%s\n' "${json[$path.json bytes]:-}"
        done | sort --numeric-sort |
            awk '$1 > 0 { sizes[++n] = $1 } END { print sizes[int((n + 1) / 2)] }'
    )
    [[ -n $median ]] || return 0
    local change=$(( (dump_bytes - median) * 100 / (median > 0 ? median : 1) ))
    if (( change > backup_size_change_percent || change < -backup_size_change_percent )); then
        warn "the dump has $(human_size "$dump_bytes"), the median of the last ones $(human_size "$median") \
($change %): see whether that is right"
    fi
}
