# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- Is what was restored what was dumped? ----------------------------------------------------------------

differences=''

compare_with_manifest() { # DATABASE
    {
        printf '%s\n' "$session_settings" 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;'
        printf "SELECT json_build_array('value', 'sequences_after', (%s));\n" "$sequences_sql"
        contents_sql "$object_shown" "$(count_sql "$(tables_of_manifest)")"
    } | query_text "$1" >"$run_dir/found"
    contents_in "$run_dir/found" >"$run_dir/found.json"
    differences=$(jq --raw-output --slurpfile found "$run_dir/found.json" "$comparison_program" "$file.json")
    [[ -z $differences ]] || die "what was restored is not what was dumped: $differences"
}

# Only what was counted then is counted now.
tables_of_manifest() {
    # shellcheck disable=SC2016  # jq's own names
    jq --raw-output '.content.tables | keys | map("'"'"'" + gsub("'"'"'"; "'"''"'") + "'"'"'")
        | "table_name IN (" + (["NULL"] + . | join(", ")) + ")"' "$file.json"
}

# An extension comes back in the version that the server brings: a dump names none.
# A sequence may have moved while the dump was made: its value lies between the two that were noted.
# A manifest of version 1.0.0 names no single objects.
# shellcheck disable=SC2016  # jq's own names
readonly comparison_program='
    def number: if . == null then . else tostring end;
    def between($a; $b): if . == null or $a == null or $b == null then false
        else tonumber as $n | ([$a, $b] | map(tonumber) | sort) as [$low, $high]
            | $n >= $low and $n <= $high end;
    . as $was | $found[0] as $now
    | [ ($was.content.tables | to_entries[] | ($now.tables[.key] | number) as $rows
          | select((.value | number) != $rows)
          | "table \(.key): \(.value) rows dumped, \($rows // "no") restored"),
        (["large_objects", "encoding"][] | select($was.content[.] != $now[.])
          | "\(.): \($was.content[.]) dumped, \($now[.]) restored"),
        (($was.content.extensions // {} | keys) as $had | ($now.extensions // {} | keys) as $has
          | select($had != $has)
          | "extensions: \($had - $has | join(", ") | if . == "" then "none" else . end) missing, "
            + "\($has - $had | join(", ") | if . == "" then "none" else . end) too many"),
        (($was.content.objects // empty) as $had | $now.objects as $has
          | (($had | keys) - ($has | keys) | .[] | "\(.): missing"),
            (($has | keys) - ($had | keys) | .[] | "\(.): was not dumped, is now \($now.shown[.])"),
            ($had | to_entries[] | select($has[.key] != null and $has[.key] != .value)
              | "\(.key): differs from what was dumped, is now \($now.shown[.key])")),
        ($was.sequences_before // {} | to_entries[] | .key as $key
          | ($was.sequences_after[$key] | number) as $after
          | ($now.sequences_after[$key] | number) as $is | (.value | number) as $before
          | select($is != $before and $is != $after and ($is | between($before; $after) | not))
          | "sequence \($key): \($before) dumped, \($is // "no") restored") ]
    | if length > 20 then .[:20] + ["and \(length - 20) more"] else . end
    | map(gsub("\\s+"; " ")) | join("; ")'
