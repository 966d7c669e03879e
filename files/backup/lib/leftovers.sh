# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- What restores have left on the server: databases that were kept, and what one that was killed made -------

# The comment of a database while it is filled. One that was killed cannot take it away.
readonly unfinished='restore-database.sh began '

# One line of JSON, so that a session can be asked as well: what there is, since when (a stamp of this host's
# clock, or UTC), and whether somebody is connected to it. A role of a restore is valid for two days.
leftovers_sql() {
    cat <<SQL
SELECT coalesce(jsonb_agg(each ORDER BY each."what", each."name"), '[]') FROM (
    SELECT 'database' AS "what", datname AS "name",
           CASE WHEN datname ~ '_before_$stamp_regex\$' THEN 'kept' ELSE 'cut off' END AS "state",
           coalesce(substring(datname from '_($stamp_regex)\$'),
                    substring(comment from $(sql_text "^${unfinished}(.*)\$"))) AS "since",
           EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = d.datname AND usesysid IS NOT NULL) AS "in_use"
      FROM pg_database d, coalesce(shobj_description(d.oid, 'pg_database'), '') comment
     WHERE datname ~ '_(before|restored)_$stamp_regex\$' OR starts_with(comment, $(sql_text "$unfinished"))
    UNION ALL
    SELECT 'role', rolname, 'cut off',
           to_char((rolvaliduntil - interval '2 days') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
           EXISTS (SELECT FROM pg_stat_activity WHERE usename = rolname)
      FROM pg_roles WHERE rolname ~ $(sql_text "^${app_name}_(restore|administrator)_[0-9]+\$")) each
SQL
}

# Which of the server's databases are nobody's data, for whom "all" are to be backed up.
is_leftover_sql() {
    printf "(datname ~ '_(before|restored)_%s\$' OR datname = %s OR starts_with(coalesce(
        shobj_description(oid, 'pg_database'), ''), %s))" "$stamp_regex" "$(sql_text "${app_name}_restore_test")" \
        "$(sql_text "$unfinished")"
}

# Of that JSON on standard input a sentence for each, after its state. What is in use is at work.
tell_leftovers() {
    local what name state since
    while IFS=$'\t' read -r what name state since; do
        since=$(hours_since "$since")
        if [[ $state == kept ]]; then
            printf '%s\t%s %s: kept by --overwrite %s h ago; DROP %s %s takes it away\n' \
                "$state" "$what" "$name" "$since" "${what^^}" "$(sql_name "$name")"
        elif [[ $state == 'cut off' ]]; then
            printf '%s\t%s %s: left by a restore that was cut off %s h ago; DROP %s %s takes it away\n' \
                "$state" "$what" "$name" "$since" "${what^^}" "$(sql_name "$name")"
        else
            printf '%s\t%s %s: of a restore that began %s h ago and is at work\n' \
                "$state" "$what" "$name" "$since"
        fi
    done < <(jq --raw-output '.[] | [.what, .name, if .state == "cut off" and .in_use then "at work" else .state end,
        .since // ""] | map(gsub("\\s"; " ")) | join("\t")')
}

hours_since() { # STAMP OR UTC
    local then
    if [[ $1 =~ ^$stamp_regex$ ]]; then
        printf '%s' "$(( ($(seconds_of "$(wall_clock)") - $(seconds_of "$1")) / 3600 ))"
    elif then=$(date --date="$1" +%s 2>/dev/null) && [[ -n $1 ]]; then
        printf '%s' "$(( ($(date +%s) - then) / 3600 ))"
    else
        printf '?'
    fi
}

mark_unfinished() { # DATABASE
    run_as_maker "COMMENT ON DATABASE $(sql_name "$1") IS $(sql_text "$unfinished$(utc_now)")" || true
}

# The dumped database's own comment comes with its other properties.
mark_finished() { # DATABASE
    run_as_maker "COMMENT ON DATABASE $(sql_name "$1") IS NULL" || true
}
