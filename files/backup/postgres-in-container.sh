#!/bin/bash -p
# The backup user's only way to PostgreSQL in a container, which sudo lets that user call as root:
# PostgreSQL's own programs, on this service alone, with the arguments that the scripts here give them.
#
#   postgres-in-container.sh RUN PROGRAM ARGUMENT...   RUN marks what the calling script has started
#   postgres-in-container.sh RUN end                   end what that run has started in containers of its own
#
# PROGRAM is psql (SQL on standard input, no command of psql's own), load (psql as well, for a dump: psql
# itself obeys no line of it), pg_dump, pg_dumpall or pg_restore. Which server, container and roles that are,
# root has written down; nothing that the app may write is read. Whoever calls is not trusted: what is not
# known to be asked for is refused.
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.

# -p: no function, no option and no start-up file of the caller's. Of its environment nothing is left either.
while IFS= read -r name; do unset -v "$name"; done < <(compgen -e)
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH LC_ALL=C.UTF-8 HOME=/nonexistent
# bash passes on even what is no name of a variable.
docker=(env -i "PATH=$PATH" "HOME=$HOME" docker)
set -Eeuo pipefail
umask 077
cd /

here=$(dirname "$(readlink --canonicalize "$0")")
# shellcheck source=lib/base.sh disable=SC2034  # of which little is used here
. "$here/lib/base.sh"
# shellcheck source=lib/postgres.sh
. "$here/lib/postgres.sh"
# shellcheck source=lib/container.sh
. "$here/lib/container.sh"

subject=postgres-in-container
export subject    # what `log` says of whom: lib/base.sh

refuse() { # WHAT
    die "$1 is not what the backup scripts ask for: nothing was run" "$EXIT_USAGE"
}

# --- What may be asked for ------------------------------------------------------------------------------

check_arguments() { # PROGRAM ARGUMENT...
    local program=$1 argument
    local -a own=()
    shift
    if [[ $# == 1 && $1 == --version ]]; then return; fi
    if [[ $program == psql || $program == load ]]; then
        own=("${psql_options[@]}")
        if [[ $program == load ]]; then own=("${load_options[@]}"); fi
        [[ "${*:1:${#own[@]}}" == "${own[*]}" ]] || refuse 'psql without its own options'
        shift "${#own[@]}"
    fi
    for argument in "$@"; do
        is_asked_for "$program" "$argument" || refuse "an argument of $program"
    done
    [[ $program != psql && $program != load || " $*" == *' --dbname='* ]] || refuse 'psql without a database'
}

is_asked_for() { # PROGRAM ARGUMENT
    case "$1 $2" in
        'psql --dbname='* | 'load --dbname='* | 'pg_dump --dbname='* | 'pg_dumpall --dbname='* | \
        'pg_restore --dbname='*)
            is_our_server "${2#*=}" ;;
        # psql takes one that begins with a backslash for a command of its own, any other for SQL.
        'psql --command='*) [[ $2 != --command=\\* ]] ;;
        'pg_dump --no-password' | 'pg_dump --format=plain' | 'pg_dump --format=custom') ;;
        'pg_dump --encoding='*) [[ $2 =~ ^--encoding=[A-Z0-9_]{1,30}$ ]] ;;
        'pg_dump --snapshot='*) [[ $2 =~ ^--snapshot=[0-9A-F-]{1,60}$ ]] ;;
        'pg_dump --lock-wait-timeout='*) [[ $2 =~ ^--lock-wait-timeout=[0-9]{1,9}s$ ]] ;;
        # backup_exclude: names in quotes, which are no patterns.
        'pg_dump --exclude-'*)
            [[ $2 =~ ^--exclude-(schema|table|table-data)=\"([^\"]|\"\")*\"(\.\"([^\"]|\"\")*\")?$ ]] ;;
        'pg_dump --compress='*) [[ $2 =~ ^--compress=(zstd:)?1$ ]] ;;
        'pg_dumpall --globals-only' | 'pg_dumpall --no-password' | 'pg_dumpall --no-role-passwords') ;;
        'pg_dumpall --database='*) [[ ${2#*=} == "$postgres_database" ]] ;;
        # The dump comes on standard input.
        'pg_restore --file=/dev/null' | 'pg_restore --file=-' | 'pg_restore --exit-on-error' | \
        'pg_restore --no-tablespaces') ;;
        *) return 1 ;;
    esac
}

# Whatever names a server is what these scripts make of its settings, for a database of any name.
is_our_server() { # CONNINFO
    local database
    [[ $1 != *[[:cntrl:]]* ]] || return 1
    [[ $1 =~ \ ?dbname=\'(([^\'\\]|\\[\'\\])*)\'\ application_name= ]] || return 1
    database=$(perl -pe 's/\\(.)/$1/g' <<<"${BASH_REMATCH[1]}")
    for server_host in "$backup_postgres_host" "$backup_restore_test_host"; do
        [[ -n $server_host ]] || continue
        for server_user in "$postgres_user" "$postgres_backup_user"; do
            if [[ $1 == "$(conninfo "$database")" ]]; then return; fi
        done
    done
    return 1
}

# --- How it is run --------------------------------------------------------------------------------------

# A session's SQL: psql obeys what begins with a backslash, so no line has one but for these, whole, which do
# no harm wherever they stand. A session that is cut short must not end well.
# shellcheck disable=SC2016  # Perl's own names
readonly sql_program='
    BEGIN { $| = 1; $known{$_} = 1 for "\\set ON_ERROR_STOP off\n", "\\set ON_ERROR_STOP on\n", "\\gexec\n" }
    if (/\\/ && !$known{$_} && !m{^[^\\]* \\g /dev/null\n$}) {
        print "\\set ON_ERROR_STOP on\nSELECT refused_a_line_with_a_backslash;\n";
        die "a line with a backslash is not what the backup scripts say: it was not run\n";
    }
    print'

# A dump's SQL: psql obeys no line until it is told a word that nobody can know; one that does not know that
# command ends at once. What comes before its end is read by nobody else.
guarded() {
    printf '\\restrict %s\n' "$(od -A n -N 16 -t x1 /dev/urandom | tr -d ' \n')"
    exec cat
}

run() { # RUN PROGRAM ARGUMENT...
    local program=$2
    local -a command=()
    if [[ $program == load ]]; then program=psql; fi
    case $postgres_mode in
        compose) in_service "$program" ;;
        container) beside_server "$1" "$program" ;;
    esac
    shift 2
    case ${*: -1} in
        --version | --command=*) exec "${command[@]}" "$@" </dev/null ;;
    esac
    case $asked in
        load) exec "${command[@]}" "$@" < <(guarded) ;;
        psql) exec "${command[@]}" "$@" < <(exec perl -ne "$sql_program") ;;
        *) exec "${command[@]}" "$@" ;;
    esac
}

# Within the server's own container, where its socket is; as nobody, who owns nothing there.
in_service() { # PROGRAM
    local container
    container=$(container_of_service)
    [[ -n $container ]] ||
        die "the service $postgres_compose_service of ${postgres_compose_file%/*} is not running"
    command=("${docker[@]}" exec --interactive --user 65534:65534 "$container" "$1")
}

# In a container of its own on the server's network, as the backup user, who has its password anyway. What the
# settings say of TLS names a file of root's, by its path here.
beside_server() { # RUN PROGRAM
    local -a certificate=()
    if [[ -n $postgres_sslrootcert_file ]]; then
        certificate=(--volume "$postgres_sslrootcert_file:$postgres_sslrootcert_file:ro")
    fi
    command=(
        "${docker[@]}" run --rm --interactive --network "$postgres_network" --label "$app_name-backup=$1"
        --user "$(id -u "$backup_user"):$(id -g "$backup_user")" --volume "$backup_pgpass_file:/run/pgpass:ro"
        "${certificate[@]}" --env PGPASSFILE=/run/pgpass "${bounds[@]}" --entrypoint "$2" "$postgres_image"
    )
}

end_run() { # RUN
    local ids
    ids=$(docker ps --quiet --filter "label=$app_name-backup=$1")
    if [[ -n $ids ]]; then xargs docker rm --force <<<"$ids" >/dev/null; fi
}

main() {
    (( EUID == 0 )) || die 'sudo calls this, as the backup scripts have it do' "$EXIT_USAGE"
    [[ ${1:-} =~ ^[0-9]{1,10}$ && $postgres_mode != direct ]] || refuse 'a call without a run'
    run_id=$1
    asked=${2:-}
    case $asked in
        psql | load | pg_dump | pg_dumpall | pg_restore)
            check_arguments "${@:2}"
            run "$@" ;;
        end) end_run "$1" ;;
        *) refuse "'$asked'" ;;
    esac
}

main "$@"
