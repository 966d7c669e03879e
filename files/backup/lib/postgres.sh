# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- PostgreSQL: where it is, and which client fits it ------------------------------------------------

pg_bin=''           # where the programs of the server's own major version are
tool=()             # how one of them is called: see `use_tool`

# The server that is spoken to. A restore test speaks to another than the one that is backed up.
server_mode=$postgres_mode
server_host=$backup_postgres_host
server_port=$backup_postgres_port
server_user=$postgres_user
server_version=''     # once it was asked

run_id=$$    # what this run's sessions and containers are known by

# Where PostgreSQL runs in a container, its own programs are used, so that they fit: by a program of root's
# that runs these alone. No shell sees the arguments, and the password goes by file.
use_tool() { # NAME
    case $server_mode in
        direct)
            tool=("$1")
            if [[ -x $pg_bin/$1 ]]; then tool=("$pg_bin/$1"); fi ;;
        compose | container)
            tool=(sudo --non-interactive "$here/postgres-in-container.sh" "$run_id" "$1") ;;
    esac
}

# Where and as whom, in libpq's own form: no name of a database can be taken for something else in it, and
# a connection that died is noticed within a minute. The password comes from the pgpass file alone.
conninfo() { # DATABASE
    case $server_mode in
        direct | container) printf 'host=%s port=%s ' "$(conninfo_value "$server_host")" "$server_port" ;;
        compose) ;;    # inside the server's own container there is its socket
    esac
    printf 'user=%s dbname=%s application_name=%s' \
        "$(conninfo_value "$server_user")" "$(conninfo_value "$1")" "$app_name-backup-$run_id"
    conninfo_tls
    printf ' connect_timeout=10 keepalives_idle=30 keepalives_interval=10 keepalives_count=3'
    printf " options='%s'" "$(session_options)"
}

# Before whatever a role or a database sets for its sessions. The role that is to write nothing keeps what it has.
session_options() {
    printf '%s' '-c statement_timeout=0'
    if [[ $server_user != "$postgres_backup_user" || $server_user == "$postgres_user" ]]; then
        printf '%s' ' -c default_transaction_read_only=off'
    fi
}

# Over a socket libpq passes over it: the servers of restore tests have no certificate.
conninfo_tls() {
    [[ -n $postgres_sslmode ]] || return 0
    printf ' sslmode=%s' "$postgres_sslmode"
    if [[ -n $postgres_sslrootcert_file ]]; then
        printf ' sslrootcert=%s' "$(conninfo_value "$postgres_sslrootcert_file")"
    fi
}

conninfo_value() {
    local text=${1//\\/\\\\}
    printf "'%s'" "${text//\'/\\\'}"
}

sql_name() { printf '"%s"' "${1//\"/\"\"}"; }
sql_text() { printf "'%s'" "${1//\'/\'\'}"; }

# As SQL: a list of texts, never empty.
sql_list() { # TEXT...
    local text list='NULL'
    for text in "$@"; do list+=", $(sql_text "$text")"; done
    printf '%s' "$list"
}

use_pgpass() {
    # Whatever a person's shell has set would win over the configuration above. What it says of TLS stays where
    # the settings say nothing of it: without a word a connection would be less than was asked for.
    local name why="the settings say postgres_sslmode = $postgres_sslmode"
    if [[ -z $postgres_sslmode ]]; then why="no environment reaches PostgreSQL's programs in a container"; fi
    for name in "${!PG@}"; do
        case $name in
            PGSSLMODE | PGSSLROOTCERT)
                if [[ -z $postgres_sslmode && $server_mode == direct ]]; then continue; fi
                warn "$name=${!name} is passed over: $why" ;;
        esac
        unset "$name"
    done
    [[ -r $backup_pgpass_file ]] || die "cannot read $backup_pgpass_file: deploy again" "$EXIT_USAGE"
    export PGPASSFILE=$backup_pgpass_file
}

# Terse: the details of an error are rows, and what is said here is written down. Of a dump's load it is read, and
# what may be said is chosen by the error's code and where it was raised: see said.sh.
readonly quiet_options=(--no-psqlrc --no-password --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1)
readonly psql_options=("${quiet_options[@]}" --set=VERBOSITY=terse --set=SHOW_CONTEXT=never)
# shellcheck disable=SC2034  # a restore alone reads it
readonly load_options=("${quiet_options[@]}" --set=VERBOSITY=verbose --set=SHOW_CONTEXT=errors --file=-)

# Whatever a role or a database sets: else a view named pg_database decides what is backed up, a policy of a table
# runs its owner's function as whoever reads it, and a backslash ends a text.
readonly own_names="SET search_path = pg_catalog, pg_temp; SET row_security = off; \
SET standard_conforming_strings = on; SET client_encoding = 'UTF8';"

query() { # DATABASE SQL
    use_tool psql
    "${tool[@]}" "${psql_options[@]}" --dbname="$(conninfo "$1")" \
        --command="$own_names" --command="$2" </dev/null
}

# The same for SQL that is too long for an argument.
query_text() { # DATABASE, the SQL on stdin
    use_tool psql
    { printf '%s\n' "$own_names"; cat; } | "${tool[@]}" "${psql_options[@]}" --dbname="$(conninfo "$1")"
}

# What to do about an error that PostgreSQL, Docker or the kernel has given.
advice_for() { # ERROR TEXT
    case $1 in
        *'password authentication failed'* | *'no password supplied'*)
            printf 'put the right postgres_password where the project reads it, then deploy' ;;
        *'no such service'* | *'No such container'* | *'is not running'* | *'no configuration file'* | \
        *'No such image'* | *'docker daemon'* | *'docker.sock'* | *'network'*'not found'*)
            printf 'see that Docker and the container run' ;;
        *'sudo: '*)
            printf 'see that sudo is installed and that /etc/sudoers includes /etc/sudoers.d; then deploy' ;;
        *'Connection refused'* | *'timeout expired'* | *'No route to host'* | *'translate host'* | \
        *'starting up'* | *'shutting down'* | *'server closed the'* | *'terminating connection'* | *'(57P0'* | \
        *'connection to server was lost'*)
            printf 'see that PostgreSQL runs on %s, port %s' "$server_host" "$server_port" ;;
        *'no pg_hba.conf entry'*)
            printf "let %s in: a line in the server's pg_hba.conf for this host" "$server_user" ;;
        *'SSL'* | *'certificate'*)
            printf 'see postgres_sslmode and postgres_sslrootcert in the settings, and ssl on the server' ;;
        *'startup parameter'*)
            printf 'a pooler such as PgBouncer answers at %s:%s: name the server itself in backup_postgres_host and \
backup_postgres_port' "$server_host" "$server_port" ;;
        *'does not exist'*)
            printf 'correct the names in the settings, or create what is missing' ;;
        *'permission denied for database'* | *'CONNECT privilege'*)
            printf 'GRANT CONNECT ON DATABASE %s TO %s' "$(sql_name "${database:-$postgres_database}")" \
                "$(sql_name "$server_user")" ;;
        *'permission denied for large object'*)
            printf 'pg_read_all_data does not reach large objects: ALTER LARGE OBJECT ... OWNER TO %s, or \
have their owner GRANT SELECT ON LARGE OBJECT' "$(sql_name "$server_user")" ;;
        *'permission denied'*) advice_to_read ;;
        *'lock timeout'* | *'statement timeout'* | *'could not obtain lock'*)
            printf 'something held a table for long, such as a migration: run this again when it is done' ;;
        *'No space left'* | *'Disk quota'* | *'File too large'*)
            printf 'make room on the disk of %s' "$backup_dir" ;;
        *'row-level security'*)
            printf 'a table hides rows: ALTER ROLE %s BYPASSRLS' "$(sql_name "$server_user")" ;;
        *'it gave no reason'*)
            printf 'see that the disks of %s and of %s have room' "$backup_dir" "${TMPDIR:-/tmp}" ;;
        *)
            printf 'see the line above and %s for its cause, then run this again' "the server's own log" ;;
    esac
}

# pg_read_all_data came with PostgreSQL 14.
advice_to_read() {
    local major
    major=$(digits "${server_version%%.*}")
    if (( major > 0 && major < 14 )); then
        printf 'have the owner of the tables make the dump, or as that owner GRANT USAGE ON SCHEMA ... TO %s and GRANT \
SELECT ON ALL TABLES IN SCHEMA ... TO %s, and the same for SEQUENCES' "$(sql_name "$server_user")" \
            "$(sql_name "$server_user")"
    else
        printf 'grant the role pg_read_all_data, or have the owner of the tables make the dump'
    fi
}

# The same for a restore, into a database that is empty again afterwards or is still to be emptied.
advice_for_restore() { # ERROR TEXT
    case $1 in
        *'code of the dump'*)
            printf "the server's own log has the words; a function that finds tables by the search_path fails in a \
restore: ALTER FUNCTION ... SET search_path where it was dumped" ;;
        *'must be able to SET ROLE'* | *'must be member of role'* | *'must be owner of'* | \
        *'must be superuser'* | *'permission denied to'* | *'permission denied for schema'* | *'(42501)'*)
            printf 'use --as-administrator URL, or --no-owner; see docs/restore.md' ;;
        *'role'*'does not exist'*)
            printf 'make that role, or use --as-administrator URL --with-roles, or --no-owner' ;;
        *'extension'*'is not available'* | *'could not open extension control file'*)
            printf "install that extension's package on %s" "$server_host" ;;
        *'shared_preload_libraries'*)
            printf 'add that library to shared_preload_libraries of the server and restart it' ;;
        *'already exists'* | *'something of that name is there'* | *'(42P07)'* | *'(42710)'*)
            printf 'restore into an empty database, such as --into %s_check' "$app_name" ;;
        *'violates foreign key'* | *'(23503)'*)
            printf 'the rows that these refer to are not there: restore those tables first, then these' ;;
        *'No space left'* | *'could not extend file'* | *'(53100)'*)
            printf "make room on the server's disk" ;;
        *)  printf 'restore into an empty database when that is put right: %s' "$(advice_for "$1")" ;;
    esac
}
