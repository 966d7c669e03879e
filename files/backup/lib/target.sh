# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- What a restore goes into: looked at before anything is loaded

with_roles=0    # whether missing roles are made, and what only a superuser can load is loaded
trust_dump=0

# As the administrator where there is one: on a new server the app's role may not be there yet.
inspect() { # DATABASE SQL
    if [[ -n $administrator ]]; then as_administrator "$1" "$2"; else query "$1" "$2"; fi
}

database_exists() { # NAME
    [[ $(inspect postgres "SELECT 1 FROM pg_database WHERE datname = $(sql_text "$1")") == 1 ]]
}

# What somebody made in it: whatever the catalogues list that is neither PostgreSQL's own (its object ids are below
# 16384) nor an extension's. A schema "public" may be there or not, and holds nothing by itself; one that was renamed
# has kept its low id. Tests ask both shells for the same text.
readonly held_sql="
SELECT count(*) FROM (
    SELECT 'pg_class'::regclass AS class, oid FROM pg_class
     WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
       AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(temp|toast)')
    UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc
    UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typtype IN ('d', 'e', 'r', 'p')
    UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace
               WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema')
    UNION ALL SELECT 'pg_largeobject'::regclass, oid FROM pg_largeobject_metadata
    UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation
    UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion
    UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
    UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily
    UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am
    UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast
    UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config
    UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict
    UNION ALL SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser
    UNION ALL SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server
    UNION ALL SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
    UNION ALL SELECT 'pg_publication'::regclass, oid FROM pg_publication
    UNION ALL SELECT 'pg_subscription'::regclass, 16384 FROM pg_subscription
               WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())) made
 WHERE (oid >= 16384 OR class IN ('pg_largeobject'::regclass, 'pg_namespace'::regclass))
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = made.class AND d.objid = made.oid AND d.deptype = 'e')"

is_empty() { # DATABASE
    [[ $(inspect "$1" "$held_sql") == 0 ]]
}

# What makes the schema "public", where it was dropped: no dump makes it, for every new database has it.
readonly public_sql="
SELECT 'CREATE SCHEMA public' || CASE WHEN EXISTS (SELECT FROM pg_roles
        WHERE rolname = 'pg_database_owner' AND pg_has_role(oid, 'MEMBER')) THEN ' AUTHORIZATION pg_database_owner'
        ELSE '' END WHERE to_regnamespace('public') IS NULL"

make_public() { # DATABASE
    local sql
    sql=$(inspect "$1" "$public_sql")
    [[ -n $sql ]] || return 0
    inspect "$1" "$sql; GRANT USAGE ON SCHEMA public TO PUBLIC" >/dev/null 2>"$run_dir/psql.err" ||
        die "cannot make the schema public in $1: $(reason_in "$run_dir/psql.err")"
    info "$1 had no schema public: it has one again"
}

# A list in the manifest, each name ended by a sign, since some have a line break. One that has the sign could pass
# for two, of which one is an administrator's: it is left out.
needed() { # KEY of needs
    jq --join-output --arg key "$1" '.needs[$key] // [] | if type == "object" then keys else . end
        | .[] | select(contains("\u001e") | not) | ., "\u001e"' "$file.json" 2>/dev/null || true
}

untrusted_extensions() {
    jq --raw-output '.needs.extensions // {} | to_entries[] | select(.value.trusted | not) | .key' \
        "$file.json" 2>/dev/null || true
}

findings_on_target=()

cannot() { findings_on_target+=("$1"); }

# All that stands in the way of a restore, at once; a dump without a list of needs is loaded as it is.
check_target() { # DATABASE, or none where it is yet to be made
    local place=${1:-postgres} sentence
    findings_on_target=()
    [[ -n $(jq '.needs // empty' "$file.json" 2>/dev/null) ]] || return 0
    (( ! data_only )) || return 0    # rows need the tables alone
    check_extensions "$place" "$1"
    if [[ $owners == keep ]]; then
        check_roles
        if [[ -z $administrator ]]; then check_ownership; fi
    fi
    # A table that is asked for by name brings nothing of that kind.
    if (( ! trust_dump )) && [[ -z $tables || -n $schemas ]]; then check_what_superusers_load; fi
    (( ${#findings_on_target[@]} > 0 )) || return 0
    for sentence in "${findings_on_target[@]}"; do log ERROR "$sentence" || true; done
    die "nothing was loaded into $target: $(printf '%s; ' "${findings_on_target[@]}")" "$EXIT_USAGE"
}

# pg_dump writes for its own major version and newer ones (its documentation, "Notes"); what an older server makes of
# it shows as it is loaded.
older_server=''    # what to do then

tell_older_server() { # PLACE
    local made serves
    made=$(json_value "$file.json" server_version)
    made=$(digits "${made%%.*}")
    serves=$(( $(digits "$(inspect "$1" 'SHOW server_version_num')") / 10000 ))
    (( made > serves )) || return 0
    older_server="restore it on a server of PostgreSQL $made or newer"
    warn "$file is of PostgreSQL $made, and this server is $serves, which may not understand it: if so, $older_server"
}

check_extensions() { # PLACE, DATABASE or none where it is yet to be made
    local name made=${2:+true}
    made=${made:-false}
    local -a names
    mapfile -t -d $'\x1e' names < <(needed extensions)
    (( ${#names[@]} > 0 )) || return 0
    while IFS= read -r name; do
        [[ -z $name ]] || cannot "the server lacks the extension $name: install \
$(package_of "$name") on it"
    done < <(inspect "$1" "SELECT name FROM unnest(ARRAY[$(sql_list "${names[@]}")]::text[]) name
        WHERE name IS NOT NULL AND name NOT IN (SELECT name FROM pg_available_extensions)")
    if [[ -n $administrator ]] || is_superuser; then return; fi
    mapfile -t names < <(untrusted_extensions)
    while IFS= read -r name; do
        [[ -z $name ]] || cannot "the extension $name is an administrator's to make: use \
--as-administrator, or have CREATE EXTENSION $(sql_name "$name") run in $target"
    done < <(inspect "$1" "SELECT name FROM unnest(ARRAY[$(sql_list "${names[@]}")]::text[]) name
        WHERE name IS NOT NULL AND name NOT IN (SELECT extname FROM pg_extension WHERE $made)")
}

# Debian's name for it; contrib comes with the server.
package_of() { # EXTENSION
    local major
    major=$(inspect postgres 'SHOW server_version_num')
    case $1 in
        pg_cron) printf 'postgresql-%s-cron' "$(( major / 10000 ))" ;;
        pgaudit | postgis | pgvector | pg_repack | pg_partman | hypopg) printf 'postgresql-%s-%s' \
            "$(( major / 10000 ))" "${1#pg_}" ;;
        vector) printf 'postgresql-%s-pgvector' "$(( major / 10000 ))" ;;
        *) printf 'the package that brings it, for PostgreSQL %s,' "$(( major / 10000 ))" ;;
    esac
}

check_roles() {
    local missing
    local -a names
    (( ! with_roles )) || return 0
    mapfile -t -d $'\x1e' names < <(needed roles; needed superuser_owners)
    missing=$(inspect postgres "SELECT string_agg(name, ', ') FROM (
        SELECT DISTINCT name FROM unnest(ARRAY[$(sql_list "${names[@]}")]::text[]) name
         WHERE name IS NOT NULL AND name NOT IN (SELECT rolname FROM pg_roles)) missing")
    [[ -z $missing ]] || cannot "the server lacks the roles $missing: --as-administrator URL --with-roles \
makes them anew, --no-owner does without them"
}

check_ownership() {
    local others
    local -a names
    mapfile -t -d $'\x1e' names < <(if is_whole; then needed owners; needed superuser_owners; else owners_of_part; fi)
    others=$(inspect postgres "SELECT string_agg(rolname, ', ') FROM pg_roles
         WHERE rolname IN ($(sql_list "${names[@]}")) AND NOT pg_has_role(oid, 'MEMBER')")
    [[ -z $others ]] || cannot "$server_user cannot give objects to their owners $others: use \
--as-administrator URL, or --no-owner, which gives all to $server_user"
}

check_what_superusers_load() {
    local what
    if [[ -z $administrator ]] && is_superuser; then return; fi
    what=$(needed superuser | sed -e 's/\x1e$//' -e 's/\x1e/, /g')
    [[ -z $what ]] || cannot "only a superuser can load $what: --as-administrator URL --trust-dump does, \
and the dump's code then runs as the server's administrator"
}

is_superuser() {
    [[ $(inspect postgres "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == t ]]
}
