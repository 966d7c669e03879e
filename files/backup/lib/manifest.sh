# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- The manifest beside each dump ----------------------------------------------------------------------

write_manifest() { # FINAL
    local globals
    globals=${1##*/}.globals.gz$(encrypted_ending)
    if [[ ! -e ${1%/*}/$globals.part ]]; then globals=''; fi
    tell_encrypted >"$run_dir/encrypted.json"
    # It is published as a part of the dump, under that name. What is in a database would not fit into an
    # argument.
    write_json "$1.json" --arg dump "${1##*/}" --arg database "$database" --arg tier "$tier" \
        --arg format "$backup_format" --arg started "$began_utc" --arg ended "$(utc_now)" \
        --argjson seconds "$(( SECONDS - began ))" --argjson bytes "$dump_bytes" --arg sha256 "$sum" \
        --arg globals "$globals" --arg server_version "$server_version" \
        --arg client_version "$client_version" --argjson database_bytes "$database_bytes" \
        --slurpfile before <(printf '%s' "$sequences_before") --arg schema_sha256 "$(sum_of_objects)" \
        --slurpfile excluded "$run_dir/excluded.json" --arg suspect "$suspicion" --arg role "$dump_role" \
        --arg warnings "$warnings" --slurpfile encrypted "$run_dir/encrypted.json" \
        "$manifest_program" "$run_dir/contents.json" ||
        die "cannot write $1.json: make room on its disk"
    mv "$1.json" "$1.json.part"
}

sum_of_objects() {
    jq --compact-output --sort-keys .objects "$run_dir/contents.json" | sha256sum | cut -d ' ' -f 1
}

# shellcheck disable=SC2016  # jq's own names
readonly manifest_program='. as $found
    | ($excluded[0].gone // [] | map({key: ., value: true}) | from_entries) as $gone
    | def dumped: with_entries(select($gone[.key] | not));
    '"$named_values"' | del(.schema_sha256, .before, .excluded, .encrypted)
    + {sequences_before: ($before[0] | dumped), sequences_after: ($found.sequences_after | dumped),
       left_out: ($excluded[0].entries // []),
       empty: ([$found.objects | keys[] | select(test("^(partitioned )?table "))] == []),
       needs: $found.needs, properties: $found.properties,
       content: ($found | del(.sequences_after, .needs, .properties) + {$schema_sha256})}
    + ($encrypted[0] // {})'

# All of it is too much for a variable.
read_contents() {
    contents_in "$run_dir/contents" --slurpfile excluded "$run_dir/excluded.json" >"$run_dir/contents.json" ||
        die "what is in $database cannot be read: run this again"
}

# What was set on the database itself, with values that may be keys: they lie nowhere but there.
keep_properties() { # FILE
    local why
    head --lines=1 <&6 | jq --exit-status . | keep "$1" && return
    [[ ! -s $run_dir/session.err ]] || session_is_gone
    why=$(reason_in "$run_dir/keep.err")
    why=${why:-it gave no reason}
    die "cannot write $1: $why: $(advice_for "$why")"
}

# Counting is for the restore test's sake: it never keeps anybody from a dump.
tell_what_was_not_counted() {
    local names
    names=$(jq --raw-output '.uncounted // [] | join(", ")' "$run_dir/contents.json")
    [[ -z $names ]] || warn "not counted, so that a restore test cannot compare them: $names: \
$(reason_in "$run_dir/session.err")"
}

# Half of the usual may be a table that was lost; twice as much is only worth a word. Of unsuspicious dumps
# alone, that leave out the same: two small ones would soon be what is usual. A size that is explained by volatile
# tables says nothing.
compare_size() {
    local median path change what left_out
    local -a paths=() usual=()
    mapfile -t paths < <(all_dumps "$prefix")
    load_suspicions "${paths[@]}"
    left_out=$(excluded '.entries // [] | tojson')
    for path in "${paths[@]}"; do
        if (( ${#usual[@]} < 7 )) && has_manifest "$path" && ! is_suspect "$path" &&
            [[ ${json[$path.json left_out]:-[]} == "$left_out" ]]; then
            usual+=("${json[$path.json bytes]:-}")
        fi
    done
    median=$(printf '%s\n' "${usual[@]}" | sort --numeric-sort |
        awk '$1 > 0 { sizes[++n] = $1 } END { print sizes[int((n + 1) / 2)] }')
    median=$(digits "$median")
    (( median > 0 )) || return 0
    change=$(( (dump_bytes - median) * 100 / median ))
    what="the dump has $(human_size "$dump_bytes"), the median of the last ones $(human_size "$median")"
    what+=" ($change %)"
    if (( change > backup_size_change_percent )); then
        warn "$what: see whether that is right"
    elif (( change < -backup_size_change_percent && median > 65536 && ! ${#backup_volatile_tables[@]} )); then
        printf '%s; ' "$what"
    fi
}
