# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- --as-administrator: a superuser prepares and finishes, and executes nothing of the dump

administrator=''       # where a superuser connects, in libpq's own form
administrator_env=()   # what a person's shell has set for libpq, such as PGPASSWORD
loader=''              # the login role, made for this restore, that loads the dump
loader_pgpass=''

# A password in an argument can be read by everybody on this host.
use_administrator() { # URL
    local name
    [[ $postgres_mode == direct ]] ||
        die "--as-administrator goes with postgres_mode = 'direct': into a container there is the way of \
$postgres_user alone; make what is missing there by hand, as root" "$EXIT_USAGE"
    [[ ! $1 =~ ://[^/@]*:[^/@]*@ && ! $1 =~ password= ]] ||
        die '--as-administrator: leave the password out of the URL and put it in PGPASSWORD or PGPASSFILE' \
            "$EXIT_USAGE"
    administrator=$1
    for name in "${!PG@}"; do administrator_env+=("$name=${!name}"); done
}

as_administrator() { # DATABASE SQL
    printf '%s;\n' "$2" | administrator_text "$1"
}

# The database's name never becomes a part of the URL. In another database than that nothing is run.
administrator_text() { # DATABASE, the SQL on stdin
    use_tool psql
    local place
    place=$(connect_argument "dbname=$(conninfo_value "$1") \
options='-c statement_timeout=0 -c default_transaction_read_only=off'")
    { printf '\\connect -reuse-previous=on %s\n%s\nSELECT 1 / (current_database() = %s)::int \\g /dev/null\n' \
        "$place" "$own_names" "$(sql_text "$1")"; cat; } | env -u PGPASSFILE \
        "${administrator_env[@]}" "${tool[@]}" "${psql_options[@]}" --dbname="$administrator"
}

# As psql reads the words after a command of its own: a backslash means something, and of two kinds of quotes each
# its own.
connect_argument() {
    local text="\"${1//\"/\"\"}\""
    text=${text//\\/\\\\}
    printf "'%s'" "${text//\'/\'\'}"
}

check_administrator() {
    local is
    is=$(as_administrator postgres "SELECT rolsuper FROM pg_roles WHERE rolname = current_user" \
        2>"$run_dir/psql.err") || die "--as-administrator: $(reason_in "$run_dir/psql.err")" "$EXIT_USAGE"
    [[ $is == t ]] || die "--as-administrator: that role is no superuser" "$EXIT_USAGE"
}

# Who will own the database: who did, where there is such a role that is no superuser; else the app's.
future_owner() {
    local owner
    owner=$(jq --raw-output '.properties.owner // empty' "$file.json" 2>/dev/null || true)
    if [[ $owners == keep && -n $owner && $(as_administrator postgres \
        "SELECT 1 FROM pg_roles WHERE rolname = $(sql_text "$owner") AND NOT rolsuper") == 1 ]]; then
        printf '%s' "$owner"
    else
        printf '%s' "$postgres_user"
    fi
}

# Each in the schema where it was, which the dump would make only later: made now, it is the loader's until then.
make_extensions() { # DATABASE
    local name place
    made_schemas=''
    while IFS= read -r name; do
        [[ -n $name ]] || continue
        place=$(schema_of "$name")
        make_schema_for_extensions "$1" "$place"
        as_administrator "$1" "SET search_path = $(sql_name "${place:-public}"); \
CREATE EXTENSION IF NOT EXISTS $(sql_name "$name") ${place:+WITH SCHEMA $(sql_name "$place")} CASCADE" \
            >/dev/null 2>"$run_dir/psql.err" ||
            die "cannot make the extension $name in $1: $(reason_in "$run_dir/psql.err")"
    done < <(untrusted_extensions)
}

made_schemas=''    # which lib/sift.sh leaves out of the dump, a line each

make_schema_for_extensions() { # DATABASE SCHEMA
    [[ -n $2 && -z $(as_administrator "$1" "SELECT 1 FROM pg_namespace WHERE nspname = $(sql_text "$2")") ]] || return 0
    as_administrator "$1" "CREATE SCHEMA $(sql_name "$2") AUTHORIZATION $(sql_name "$loader")" \
        >/dev/null 2>"$run_dir/psql.err" || die "cannot make the schema $2 in $1: $(reason_in "$run_dir/psql.err")"
    made_schemas+=$2$'\n'
}

schema_of() { # EXTENSION
    jq --raw-output --arg name "$1" '.needs.extensions[$name].schema // empty' "$file.json"
}

# Of the roles r: through it nobody becomes a superuser, or what can do as much. The manifest may be anybody's by now.
readonly no_way_up_sql="NOT EXISTS (SELECT FROM pg_roles s WHERE pg_has_role(r.oid, s.oid, 'MEMBER') AND (s.rolsuper
    OR s.rolname IN ('pg_execute_server_program', 'pg_write_server_files', 'pg_read_server_files')))"

is_no_way_up() { # ROLE
    local found
    found=$(as_administrator postgres \
        "SELECT count(*) FROM pg_roles r WHERE rolname = $(sql_text "$1") AND $no_way_up_sql") ||
        die "cannot ask what $1 may become: see the line above"
    [[ $found == 1 ]]
}

check_is_no_way_up() { # ROLE
    is_no_way_up "$1" || die "$1, who owns something in the dump, has a superuser's rights here: --no-owner loads it \
without, --trust-dump with them"
}

# A role for this load alone: a member of the owners, and no superuser (with --trust-dump it is one).
make_loader() { # DATABASE
    local owner password until power=''
    local -a names=()
    local -A member_of=()
    loader=${app_name}_restore_$$
    password=$(od -A n -N 24 -t x1 /dev/urandom | tr -d ' \n')
    until=$(as_administrator postgres "SELECT now() + interval '2 days'")
    if (( trust_dump )); then power=SUPERUSER; fi
    as_administrator postgres "CREATE ROLE $(sql_name "$loader") LOGIN $power \
PASSWORD $(sql_text "$password") VALID UNTIL $(sql_text "$until")" >/dev/null ||
        die "cannot make the role $loader: see the line above"
    if [[ $owners == keep ]]; then mapfile -t -d $'\x1e' names < <(needed owners); fi
    for owner in "${names[@]}" "$(heir_in "$1")"; do
        [[ -n $owner && -z ${member_of[$owner]:-} ]] || continue
        member_of[$owner]=1
        if (( ! trust_dump )); then check_is_no_way_up "$owner"; fi
        as_administrator postgres "GRANT $(sql_name "$owner") TO $(sql_name "$loader")" >/dev/null ||
            die "cannot make $loader a member of $owner: see the line above"
    done
    as_administrator "$1" "GRANT CREATE ON DATABASE $(sql_name "$1") TO $(sql_name "$loader")" >/dev/null
    let_loader_into_tablespaces
    loader_pgpass=$run_dir/loader.pgpass
    printf '*:*:*:%s:%s\n' "$loader" "$password" >"$loader_pgpass"
}

# What the dump names of them; a table stays where it is when it gets its owner.
let_loader_into_tablespaces() {
    local -a names
    mapfile -t -d $'\x1e' names < <(needed tablespaces)
    administrator_text postgres >/dev/null <<SQL || die "cannot let $loader into the tablespaces: see the line above"
SELECT format('GRANT CREATE ON TABLESPACE %I TO %I', spcname, $(sql_text "$loader"))
  FROM pg_tablespace WHERE spcname IN ($(sql_list "${names[@]}"))
\gexec
SQL
}

# Rows of an extension's own tables are in the dump as well, such as pg_cron's jobs. Some hide rows from others.
let_loader_fill_extensions() { # DATABASE
    administrator_text "$1" >/dev/null <<SQL || die "cannot let $loader fill the extensions' tables: see the line above"
SELECT DISTINCT format('GRANT USAGE ON SCHEMA %I TO %I', nspname, $(sql_text "$loader"))
  FROM pg_extension, unnest(extconfig) config JOIN pg_class c ON c.oid = config
  JOIN pg_namespace n ON n.oid = relnamespace UNION ALL
SELECT format('GRANT SELECT, UPDATE%s ON %s TO %I', CASE WHEN relkind <> 'S' THEN ', INSERT' END,
              c.oid::regclass, $(sql_text "$loader"))
  FROM pg_extension, unnest(extconfig) config JOIN pg_class c ON c.oid = config
\gexec
SELECT format('ALTER ROLE %I BYPASSRLS', $(sql_text "$loader")) WHERE EXISTS (
    SELECT FROM pg_extension, unnest(extconfig) config JOIN pg_class c ON c.oid = config WHERE relrowsecurity)
\gexec
SQL
}

# One that an administrator made by hand belongs to him: it gets the owner that the dumped one had.
adopt_database() { # DATABASE
    local owner
    [[ -z $(owner_of "$1") ]] || return 0
    owner=$(future_owner)
    as_administrator postgres "ALTER DATABASE $(sql_name "$1") OWNER TO $(sql_name "$owner")" >/dev/null ||
        die "cannot give $1 to $owner: see the line above"
    info "$1 belonged to a superuser, and belongs to $owner now"
}

# Whose becomes what nobody else may own: in a database of a superuser's his who owned the dumped one.
heir_in() { # DATABASE
    local owner
    owner=$(owner_of "$1")
    printf '%s' "${owner:-$(future_owner)}"
}

owner_of() { # DATABASE
    as_administrator postgres "SELECT rolname FROM pg_database JOIN pg_roles r ON r.oid = datdba
        WHERE datname = $(sql_text "$1") AND NOT rolsuper"
}

# Loads as that role; then it gives each object to its owner, who for that moment may create in each schema.
load_as_administrator() { # DATABASE FILE
    local way=$owners
    adopt_database "$1"
    make_loader "$1"
    make_extensions "$1"
    let_loader_fill_extensions "$1"
    if [[ $way == keep ]]; then
        owners=$run_dir/owners.sql
        part_options=("not_to=$(superusers_objects_stay)")
    fi
    PGPASSFILE=$loader_pgpass server_user=$loader load_into "$1" "$2"
    if [[ $way == keep ]]; then give_to_owners "$1"; fi
    owners=$way
    as_administrator "$1" "REASSIGN OWNED BY $(sql_name "$loader") TO $(sql_name "$(owner_of "$1")")" \
        >/dev/null ||
        die "what $loader has loaded stays with it: see the line above"
    remove_loader
}

# A schema's owner may create in it: so schemas go first, and what is granted for the moment is taken back.
give_to_owners() { # DATABASE
    tell_superusers_objects "$1"
    run_as_loader "$1" <"$run_dir/owners.sql.schemas"
    as_administrator "$1" "$(let_owners_create REVOKE FROM)" >"$run_dir/revokes.sql"
    as_administrator "$1" "$(let_owners_create GRANT TO)" >"$run_dir/grants.sql"
    administrator_text "$1" <"$run_dir/grants.sql" >/dev/null
    run_as_loader "$1" <"$run_dir/owners.sql"
    administrator_text "$1" <"$run_dir/revokes.sql" >/dev/null
    let_loader_grant "$1"
    run_as_loader "$1" <"$run_dir/owners.sql.acl"
}

# Some rights were granted by others than the owner, who had them with the right to grant them again.
let_loader_grant() { # DATABASE
    local -a grantors names
    mapfile -t -d $'\x1e' grantors < <(perl -0777 -ne 'print "$1\x1e" while /^SET ROLE ("(?:[^"]|"")*"|[^";]+);$/mg' \
        "$run_dir/owners.sql.acl")
    mapfile -t -d $'\x1e' names < <(needed roles)
    administrator_text "$1" >/dev/null <<SQL ||
SELECT format('GRANT %I TO %I', rolname, $(sql_text "$loader")) FROM pg_roles r
 WHERE $no_way_up_sql AND quote_ident(rolname) IN ($(sql_list "${grantors[@]}"))
   AND rolname IN ($(sql_list "${names[@]}"))
   AND NOT pg_has_role($(sql_text "$loader"), oid, 'MEMBER')
\gexec
SQL
        die "cannot make $loader a member of those who granted: see the line above"
}

run_as_loader() { # DATABASE, the SQL on stdin
    PGPASSFILE=$loader_pgpass server_user=$loader query_text "$1" >/dev/null 2>"$run_dir/owners.err" ||
        die "cannot give the objects to their owners, or others their rights: $(reason_in "$run_dir/owners.err")"
}

# Code of the dump may hang on a table (an index's function) and runs as its owner, some day.
superusers_objects_stay() {
    (( trust_dump )) || needed superuser_owners
}

tell_superusers_objects() { # DATABASE
    local role
    while IFS= read -r -d $'\x1e' role; do
        warn "what belonged to the superuser $role belongs to $(owner_of "$1") now; --trust-dump gives it \
back"
    done < <(superusers_objects_stay)
}

# As pg_dump writes a name: in quotes only where it needs them.
as_dumped() { # NAME
    if [[ $1 =~ ^[a-z_][a-z0-9_$]*$ ]]; then printf '%s' "$1"; else sql_name "$1"; fi
}

let_owners_create() { # GRANT TO, or REVOKE FROM
    local -a names
    mapfile -t -d $'\x1e' names < <(needed owners)
    printf "SELECT format('%s CREATE ON SCHEMA %%I %s %%I;', nspname, rolname)
         FROM pg_namespace n, pg_roles r
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND rolname IN (%s)
          AND NOT has_schema_privilege(r.oid, n.oid, 'CREATE')" "$1" "$2" "$(sql_list "${names[@]}")"
}

remove_loader() {
    local place
    [[ -n $loader ]] || return 0
    for place in "$target" "${scratch:-}"; do
        [[ -n $place ]] || continue
        as_administrator "$place" "DROP OWNED BY $(sql_name "$loader")" >/dev/null 2>&1 || true
    done
    as_administrator postgres "DROP ROLE IF EXISTS $(sql_name "$loader")" >/dev/null 2>"$run_dir/psql.err" ||
        warn "the role $loader is left over: $(reason_in "$run_dir/psql.err")"
    loader=''
}
