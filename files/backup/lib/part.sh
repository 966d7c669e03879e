# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- --table, --schema, --data-only: a part of a dump, into a database that is there, in one transaction ------

named_tables=''    # as a person has named them; `tables` has their partitions as well

restore_part() {
    if [[ -z $overwrite ]] && { [[ $target == "$postgres_database" ]] || ! is_empty "$target"; }; then
        die "$target is live or holds data: to add to it, say so: --into '$target' --overwrite '$target'" \
            "$EXIT_USAGE"
    fi
    step=check
    list_part
    find_what_was_named
    prepare_target "$target"
    part_options=(one=1)
    if (( data_only )); then
        check_tables_are_there
        part_options+=("first=$(defer_references DEFERRABLE)" "last=$(defer_references BACK)")
    else
        check_nothing_is_there
    fi
    step=restore
    load "$target"
}

# What of the dump would come, with the partitions of its tables.
list_part() {
    local type schema name owner
    choose_source "$file"
    rm -f -- "$run_dir/unpacked"
    mkfifo "$run_dir/unpacked"
    start_sift "$run_dir/part" list=1 "data=$data_only" "tables=$tables" "schemas=$schemas"
    start unpack "$file" "$run_dir/unpacked" "${unpacker[@]}"
    all_ended_well unpack sift || die "cannot read $file: $(why_failed unpack sift)"
    named_tables=$tables
    [[ -n $tables$schemas ]] || return 0
    while IFS=$'\x1f' read -r -d $'\x1e' type schema name owner; do
        if [[ $type == TABLE ]]; then tables+=$schema.$name$'\n'; fi
    done <"$run_dir/part"
}

# A name that the dump has not would bring nothing, and say nothing.
find_what_was_named() {
    local type schema name owner
    local -A there=()
    while IFS=$'\x1f' read -r -d $'\x1e' type schema name owner; do
        there[s$schema]=1
        if [[ $type == SCHEMA ]]; then there[s$name]=1; fi
        if [[ $type == TABLE ]]; then there[t$schema.$name]=1 there[t$name]=1; fi
    done <"$run_dir/part"
    while IFS= read -r name; do
        [[ -z $name || -n ${there[t$name]:-} ]] || die "$file holds no table $name" "$EXIT_USAGE"
    done <<<"$named_tables"
    while IFS= read -r name; do
        [[ -z $name || -n ${there[s$name]:-} ]] || die "$file holds nothing in a schema $name" "$EXIT_USAGE"
    done <<<"$schemas"
}

owners_of_part() {
    local type schema name owner
    while IFS=$'\x1f' read -r -d $'\x1e' type schema name owner; do
        printf '%s\x1e' "$owner"
    done <"$run_dir/part"
}

# As rows of a query: type, schema, name, and when it comes. Without a backslash: see postgres-in-container.sh.
part_as_rows() { # TYPE, or all
    local type schema name owner row turn=0
    printf "SELECT type, schema::name, name::name, turn FROM (VALUES ('', '', '', 0)"
    while IFS=$'\x1f' read -r -d $'\x1e' type schema name owner; do
        [[ -z $1 || $type == "$1" ]] || continue
        # By bash itself: of thousands, a process for each would be felt.
        row="('${type//\'/\'\'}', '${schema//\'/\'\'}', '${name//\'/\'\'}', $turn)"
        turn=$(( turn + 1 ))
        printf ',\n%s' "${row//\\/\' || chr(92) || \'}"
    done <"$run_dir/part"
    printf ") part (type, schema, name, turn) WHERE type <> ''"
}

inspect_text() { # DATABASE, the SQL on stdin
    if [[ -n $administrator ]]; then administrator_text "$1"; else query_text "$1"; fi
}

check_nothing_is_there() {
    local there
    there=$(inspect_text "$target" <<SQL
SELECT string_agg(what, ', ') FROM (
    SELECT lower(type) || format(' %I.%I', schema, name) AS what
      FROM ($(part_as_rows '')) each JOIN pg_namespace n ON nspname = schema
      JOIN pg_class c ON relnamespace = n.oid AND relname = name
     WHERE type IN ('TABLE', 'SEQUENCE', 'VIEW', 'MATERIALIZED VIEW', 'FOREIGN TABLE')
    UNION ALL SELECT format('schema %I', name) FROM ($(part_as_rows SCHEMA)) each JOIN pg_namespace ON nspname = name
     LIMIT 20) found;
SQL
    )
    [[ -z $there ]] || die "$target has already, and nothing was loaded: $there: rename or drop these, or bring their \
rows alone with --data-only, or restore beside them with --into ${app_name}_check" "$EXIT_USAGE"
}

brings_large_objects() { grep -qaE $'(^|\x1e)BLOB' "$run_dir/part"; }

# By the size of a table: to ask it for rows would run what its owner has put into an index.
check_tables_are_there() {
    local missing twice held large
    { IFS= read -r missing && IFS= read -r twice && IFS= read -r held && IFS= read -r large; } < <(
        inspect_text "$target" <<SQL
WITH wanted AS (
    SELECT format('%I.%I', schema, name) AS what, c.oid, pg_relation_size(c.oid) > 0 AS held,
           EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisunique AND indpred IS NULL) AS keyed
      FROM ($(part_as_rows 'TABLE DATA')) each LEFT JOIN pg_namespace n ON nspname = schema
      LEFT JOIN pg_class c ON relnamespace = n.oid AND relname = name AND relkind IN ('r', 'p')
), told AS (
    SELECT replace(what, chr(10), ' ') AS what, oid, held, keyed FROM wanted
)
SELECT coalesce((SELECT string_agg(what, ', ') FROM told WHERE oid IS NULL), '')
 UNION ALL SELECT coalesce((SELECT string_agg(what, ', ') FROM told WHERE held AND NOT keyed), '')
 UNION ALL SELECT coalesce((SELECT string_agg(what, ', ') FROM told WHERE held AND keyed), '')
 UNION ALL SELECT count(*)::text FROM pg_largeobject_metadata;
SQL
    ) || die "cannot read what is in $target: see the line above"
    [[ -z $missing ]] || die "$target lacks these tables, and nothing was loaded: $missing: leave --data-only out" \
        "$EXIT_USAGE"
    [[ -z $twice ]] || die "these hold rows and have no key, so rows could be there twice, and nothing was loaded: \
$twice: TRUNCATE them first, or restore beside them with --into ${app_name}_check" "$EXIT_USAGE"
    [[ $large == 0 ]] || ! brings_large_objects ||
        die "$target has $large large objects, and those of the dump may be the same, so nothing was loaded: name the \
tables with --table, or restore beside them with --into ${app_name}_check" "$EXIT_USAGE"
    [[ -z $held ]] || warn "these hold rows, and get those of the dump beside them: $held: where one has the key of a \
row that is there, nothing is changed"
}

# A dump has its tables in the order of their names: rows that refer to some that come later wait for these, to
# the end of the transaction. Until then such a table is locked.
defer_references() { # DEFERRABLE or BACK
    inspect_text "$target" <<SQL || die "cannot read what is in $target: see the line above"
WITH RECURSIVE wanted AS (
    SELECT c.oid, turn FROM ($(part_as_rows 'TABLE DATA')) each JOIN pg_namespace n ON nspname = schema
      JOIN pg_class c ON relnamespace = n.oid AND relname = name
    UNION SELECT inhparent, turn FROM wanted JOIN pg_inherits ON inhrelid = oid
)
SELECT string_agg(DISTINCT format('ALTER TABLE %s ALTER CONSTRAINT %I %s;', conrelid::regclass, conname,
           CASE WHEN '$1' = 'DEFERRABLE' THEN 'DEFERRABLE INITIALLY DEFERRED'
                WHEN NOT condeferrable THEN 'NOT DEFERRABLE'
                WHEN condeferred THEN 'DEFERRABLE INITIALLY DEFERRED' ELSE 'DEFERRABLE INITIALLY IMMEDIATE' END), ' ')
  FROM pg_constraint k JOIN wanted a ON a.oid = conrelid JOIN wanted b ON b.oid = confrelid
 WHERE contype = 'f' AND conparentid = 0 AND a.turn < b.turn;
SQL
}

# --- The same through an administrator: by a role of its own, which gives all to its owners in that transaction

load_part_as_administrator() { # DATABASE FILE
    local way=$owners
    make_loader "$1"
    let_loader_into_schemas "$1"
    if [[ $way == keep ]]; then
        owners=last
        part_options+=("before=$(owners_may_create)" "between=$(owners_may_not)" "not_to=$(superusers_of_part)")
    fi
    part_options+=("after=REASSIGN OWNED BY $(sql_name "$loader") TO $(sql_name "$(heir_in "$1")");"$'\n')
    PGPASSFILE=$loader_pgpass server_user=$loader load_into "$1" "$2"
    owners=$way
    remove_loader
}

# Into those that are a superuser's: of the others' owners it is a member.
let_loader_into_schemas() { # DATABASE
    administrator_text "$1" >/dev/null <<SQL || die "cannot let $loader into the schemas: see the line above"
SELECT format('GRANT USAGE, CREATE ON SCHEMA %I TO %I WITH GRANT OPTION', nspname, $(sql_text "$loader"))
  FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
   AND NOT pg_has_role($(sql_text "$loader"), nspowner, 'MEMBER')
\gexec
SQL
}

# Who is to own something in a schema must be able to create there, for that moment.
owners_may_create() {
    local -a names
    mapfile -t -d $'\x1e' names < <(needed owners)
    cat <<SQL
DO \$granted\$ DECLARE one record; BEGIN
    PERFORM set_config('restore.granted', '', true);
    FOR one IN SELECT format('ON SCHEMA %I', nspname) AS place, quote_ident(rolname) AS who
                 FROM pg_namespace n, pg_roles r
                WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND rolname IN ($(sql_list "${names[@]}"))
                  AND NOT has_schema_privilege(r.oid, n.oid, 'CREATE')
                  AND has_schema_privilege(n.oid, 'CREATE WITH GRANT OPTION') LOOP
        EXECUTE format('GRANT CREATE %s TO %s', one.place, one.who);
        PERFORM set_config('restore.granted', current_setting('restore.granted')
            || format('REVOKE CREATE %s FROM %s;', one.place, one.who), true);
    END LOOP;
END \$granted\$;
SQL
}

owners_may_not() {
    cat <<SQL
DO \$granted\$ BEGIN EXECUTE current_setting('restore.granted'); END \$granted\$;
SQL
}

# Code of the dump may hang on a table (an index's function) and runs as its owner, some day.
superusers_of_part() {
    local role
    (( ! trust_dump )) || return 0
    needed superuser_owners
    while IFS= read -r -d $'\x1e' role; do
        if [[ $'\x1e'$(owners_of_part) == *$'\x1e'"$role"$'\x1e'* ]]; then
            warn "what belonged to the superuser $role belongs to $(heir_in "$target") now; --trust-dump gives it back"
        fi
    done < <(needed superuser_owners)
}
