# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- What no dump holds: backup_exclude -----------------------------------------------------------------

exclude_options=()    # of pg_dump

# The entries as they apply to this database. Each takes along what goes with it when it is dropped: indexes,
# sequences of its own, partitions. What could not be dropped without CASCADE is needed by something else, and
# rows that a foreign key refers to are: without them the dump would not restore.
exclusions_sql() { # ENTRY...
    cat <<SQL
WITH RECURSIVE entry AS (
    SELECT entry, split_part(entry, ':', 1) AS kind, substr(entry, strpos(entry, ':') + 1) AS name
      FROM unnest(ARRAY[$(sql_list "$@")]::text[]) entry WHERE entry IS NOT NULL
), root AS (
    SELECT entry, kind, 'pg_namespace'::regclass::oid AS classid, to_regnamespace(name)::oid AS objid
      FROM entry WHERE kind = 'schema'
    UNION ALL SELECT entry, kind, 'pg_class'::regclass, to_regclass(name) FROM entry WHERE kind <> 'schema'
), left_out AS (
    SELECT entry, classid, objid FROM root WHERE kind <> 'data' AND objid IS NOT NULL
    UNION SELECT entry, d.classid, d.objid FROM left_out l JOIN $what_goes_along
), emptied AS (
    SELECT entry, objid FROM root WHERE kind = 'data' AND objid IS NOT NULL
    UNION SELECT entry, relid FROM root, pg_partition_tree(objid) WHERE kind = 'data' AND objid IS NOT NULL
), needed AS (
    SELECT entry, CASE d.classid WHEN 'pg_rewrite'::regclass THEN (SELECT pg_describe_object(
                      'pg_class'::regclass, ev_class, 0) FROM pg_rewrite r WHERE r.oid = d.objid)
                  ELSE pg_describe_object(d.classid, d.objid, d.objsubid) END AS by
      FROM left_out l JOIN pg_depend d ON d.refclassid = l.classid AND d.refobjid = l.objid AND deptype = 'n'
     WHERE (d.classid, d.objid) NOT IN (SELECT classid, objid FROM left_out)
       AND NOT EXISTS (SELECT FROM pg_depend e    -- it is named by its extension
                        WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')
    UNION ALL
    SELECT entry, pg_describe_object('pg_statistic_ext'::regclass, s.oid, 0) FROM left_out l
      JOIN pg_statistic_ext s ON stxrelid = l.objid AND l.classid = 'pg_class'::regclass
     WHERE stxnamespace NOT IN (SELECT objid FROM root WHERE kind = 'schema' AND objid IS NOT NULL)
    UNION ALL
    SELECT entry, pg_describe_object('pg_constraint'::regclass, k.oid, 0)
      FROM emptied e JOIN pg_constraint k ON confrelid = e.objid AND contype = 'f'
     WHERE conrelid NOT IN (SELECT objid FROM emptied)
       AND conrelid NOT IN (SELECT objid FROM left_out WHERE classid = 'pg_class'::regclass)
), gone AS (
    SELECT DISTINCT nspname, relname, relnamespace FROM left_out l JOIN pg_class c ON c.oid = l.objid
      JOIN pg_namespace n ON n.oid = relnamespace
     WHERE l.classid = 'pg_class'::regclass AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
), without_rows AS (
    SELECT DISTINCT nspname, relname FROM emptied e JOIN pg_class c ON c.oid = e.objid
      JOIN pg_namespace n ON n.oid = relnamespace
)
SELECT json_build_object(
    'entries', (SELECT coalesce(json_agg(entry ORDER BY entry), '[]') FROM root WHERE objid IS NOT NULL),
    'unknown', (SELECT coalesce(json_agg(entry ORDER BY entry), '[]') FROM root WHERE objid IS NULL),
    'needed', (SELECT coalesce(json_object_agg(entry, by), '{}')
                 FROM (SELECT entry, min(by) AS by FROM needed GROUP BY entry) first),
    'roots', (SELECT coalesce(string_agg(DISTINCT concat(classid::regclass, ':', objid), ' '), '') FROM root
               WHERE kind <> 'data' AND objid IS NOT NULL),
    'gone', (SELECT coalesce(json_agg(format('%I.%I', nspname, relname)), '[]') FROM gone),
    'emptied', (SELECT coalesce(json_agg(format('%I.%I', nspname, relname)), '[]') FROM without_rows),
    'options', (SELECT coalesce(json_agg(option), '[]') FROM (
        SELECT '--exclude-schema=' || $(pattern_sql nspname) AS option FROM root
          JOIN pg_namespace n ON n.oid = objid WHERE kind = 'schema'
        UNION ALL SELECT '--exclude-table=' || $(pattern_sql nspname) || '.' || $(pattern_sql relname) FROM gone
         WHERE relnamespace NOT IN (SELECT objid FROM root WHERE kind = 'schema' AND objid IS NOT NULL)
        UNION ALL
        SELECT '--exclude-table-data=' || $(pattern_sql nspname) || '.' || $(pattern_sql relname)
          FROM without_rows) each));
SQL
}

# In quotes a name is no pattern.
pattern_sql() { # COLUMN
    printf "'\"' || replace(%s, '\"', '\"\"') || '\"'" "$1"
}

# What is needed is not left out, and then perhaps something else is not either. The session is told the rest:
# what it counts and lists is what the dump will hold.
choose_exclusions() {
    local answer='{}' refused entry
    local -a entries=("${backup_exclude[@]}") kept
    while (( ${#entries[@]} > 0 )); do
        ask "$(exclusions_sql "${entries[@]}")"
        hear answer
        refused=$(jq --raw-output '.needed | to_entries[] | "\(.key) is not left out: \(.value | gsub("\\s"; " ")
            ) needs it"' <<<"$answer")
        [[ -n $refused ]] || break
        while IFS= read -r entry; do add_warning "$entry"; done <<<"$refused"
        kept=()
        for entry in "${entries[@]}"; do
            [[ $'\n'$refused == *$'\n'"$entry is not left out"* ]] || kept+=("$entry")
        done
        entries=("${kept[@]}")
        answer='{}'
    done
    printf '%s' "$answer" >"$run_dir/excluded.json"
    [[ $answer != '{}' ]] || return 0
    use_exclusions
}

use_exclusions() {
    local unknown
    unknown=$(excluded '.unknown | join(", ")')
    # Of several databases another one has it.
    if [[ -n $unknown ]]; then
        if (( ${#backup_databases[@]} == 1 )) && [[ ${backup_databases[0]} != all ]]; then
            add_warning "backup_exclude: $database has no $unknown"
        else
            info "backup_exclude: $database has no $unknown"
        fi
    fi
    ask "SET backup.left_out = $(sql_text "$(excluded .roots)");"
    ask "SET backup.emptied = $(sql_text "$(excluded '.emptied | tojson')");"
    # Names are the app's to choose: each option ends with NUL, which no name has.
    mapfile -d '' -t exclude_options < <(jq --join-output '.options[] | ., "\u0000"' "$run_dir/excluded.json")
    info "without $(excluded '.entries | join(", ")')"
}

excluded() { # JQ-PROGRAM
    jq --raw-output "$1" "$run_dir/excluded.json"
}

add_warning() { # SENTENCE
    warn "$1"
    warnings+="${warnings:+ }$1."
}
