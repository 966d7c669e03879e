#!/bin/bash
# Restore a dump of $app_name, or test that one can be restored.
#
#   restore-database.sh --list                         the dumps there are, newest first
#   restore-database.sh --into NAME                    restore the newest into the database NAME,
#                                                      which is empty, or is created
#   restore-database.sh --into NAME --from FILE        restore that one
#   restore-database.sh --into NAME --overwrite NAME   NAME holds data: restore beside it, then swap names;
#                                                      the old one stays as NAME_before_<time>
#   restore-database.sh --test [--from FILE]           restore the newest dump of each database, or FILE, into
#                                                      a throwaway database, compare it with the manifest,
#                                                      note the verdict, remove everything
#   restore-database.sh --help                         this text
#
# Run as $backup_user or as root. It restores on $postgres_host:$postgres_port as $postgres_user, which must
# own the database NAME, or may create databases (ALTER ROLE ... CREATEDB). FILE is a path, or a name as
# --list shows it. --test uses the server backup_restore_test_host
# ($backup_restore_test_host), or where none is named a temporary server on this host.
#
# Exit codes: 0 done; 1 failed, and the data that was there is untouched; 2 wrong arguments or set-up;
# 75 another restore test is at work; 129, 130, 143 stopped by a signal.
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.

set -Eeuo pipefail
umask 077    # a dump holds every patient's data: what is unpacked from it stays private
export LC_ALL=C.UTF-8
PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin

here=$(dirname "$(readlink --canonicalize "$0")")
# shellcheck source=/dev/null  # rendered from the settings of the project: settings.sh.j2
. "$here/settings.sh"
# shellcheck source=lib/required.sh
. "$here/lib/required.sh"
# shellcheck source=lib/base.sh
. "$here/lib/base.sh"
# shellcheck source=lib/process.sh
. "$here/lib/process.sh"
# shellcheck source=lib/postgres.sh
. "$here/lib/postgres.sh"
# shellcheck source=lib/store.sh
. "$here/lib/store.sh"
# shellcheck source=lib/contents.sh
. "$here/lib/contents.sh"
# shellcheck source=lib/verify.sh
. "$here/lib/verify.sh"
# shellcheck source=lib/progress.sh
. "$here/lib/progress.sh"
# shellcheck source=lib/load.sh
. "$here/lib/load.sh"
# shellcheck source=lib/compare.sh
. "$here/lib/compare.sh"
# shellcheck source=lib/restoretest.sh
. "$here/lib/restoretest.sh"

# --- This run -----------------------------------------------------------------------------------------

subject=restore
action=restore
target=''
overwrite=''
file=''
run_dir=''
scratch=''    # the database that we created and have not handed over

read_arguments() {
    while (( $# > 0 )); do
        case $1 in
            --help) usage; exit 0 ;;
            --list) action=list; shift; continue ;;
            --test) action='test'; shift; continue ;;
            --into) target=${2:-} ;;
            --from) file=${2:-} ;;
            --overwrite) overwrite=${2:-} ;;
            *) die "unknown argument: $1; --help lists them" "$EXIT_USAGE" ;;
        esac
        [[ -n ${2:-} ]] || die "$1 needs a value; --help shows it" "$EXIT_USAGE"
        shift 2
    done
    if [[ $action == restore && -z $target ]]; then
        die 'say where: --into NAME (--list shows what there is, --help the rest)' "$EXIT_USAGE"
    fi
    if [[ $(within_a_name "$target" '') != "$target" ]]; then
        die "--into '$target' is longer than the 63 bytes that PostgreSQL has for a name" "$EXIT_USAGE"
    fi
    if [[ -n $overwrite && $overwrite != "$target" ]]; then
        die "--overwrite '$overwrite' is not --into '$target': give the same name twice" "$EXIT_USAGE"
    fi
}

clean_up() {
    local status=$?
    set +e    # whatever fails here, the rest is done all the same
    trap '' HUP INT TERM
    explain_exit "$status"
    end_children
    if [[ -n $scratch ]]; then
        query postgres "DROP DATABASE IF EXISTS $(sql_name "$scratch") WITH (FORCE)" ||
            warn "the database $scratch is left over: drop it"
    fi
    if [[ -n $run_dir ]]; then rm -rf -- "$run_dir"; fi
    exit "$status"
}

list_dumps() {
    local kind name path seconds now
    require_jq
    load_verdicts "${tiers[@]}"
    now=$(seconds_of "$(wall_clock)")
    printf '%-8s %9s %10s %-9s %s\n' TIER AGE SIZE RESTORED FILE
    for name in $(prefixes); do
        for kind in "${tiers[@]}"; do
            while read -r path; do
                seconds=$(( now - $(seconds_of "$(stamp_of "$path")") ))
                printf '%-8s %8sh %10s %-9s %s\n' "$kind" "$(( seconds / 3600 ))" \
                    "$(human_size "$(size_of "$path")")" "${json[$path.restore-test.json verdict]:--}" "$path"
            done < <(dumps_in "$kind" "$name")
        done
    done
}

# A path; or the name of a dump of ours, in whichever tier it lies; or the newest of the app's database.
choose_dump() {
    local kind
    step=choose
    if [[ -z $file ]]; then
        file=$(newest_dump "$app_name")
        [[ -n $file ]] || die "$backup_dir holds no dump: make a backup first, or name a file with --from"
        return
    fi
    for kind in "${tiers[@]}"; do
        if [[ ! -e $file && -e $(tier_dir "$kind")/$file ]]; then file=$(tier_dir "$kind")/$file; fi
    done
    [[ -r $file ]] || die "cannot read $file: --list shows the dumps there are" "$EXIT_USAGE"
    file=$(readlink --canonicalize "$file")
}

database_exists() { # NAME
    [[ $(query postgres "SELECT 1 FROM pg_database WHERE datname = $(sql_text "$1")") == 1 ]]
}

# What somebody made in it, extensions aside: tables, sequences, views, functions, types, large objects.
is_empty() { # NAME
    [[ $(query "$1" "
        WITH made AS (
            SELECT 'pg_class'::regclass AS class, oid FROM pg_class
             WHERE relnamespace = 'public'::regnamespace
            UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace
                       WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public'))
        SELECT (SELECT count(*) FROM pg_largeobject_metadata) + count(*) FROM made
         WHERE NOT EXISTS (SELECT FROM pg_depend d
                            WHERE d.classid = made.class AND d.objid = made.oid AND d.deptype = 'e')") == 0 ]]
}

create_database() { # NAME
    query postgres "CREATE DATABASE $(sql_name "$1") TEMPLATE template0 ENCODING 'UTF8'" \
        2>"$run_dir/psql.err" ||
        die "cannot create the database $1: $(reason_in "$run_dir/psql.err"): have an administrator \
create it for $postgres_user, or ALTER ROLE $(sql_name "$postgres_user") CREATEDB"
}

restore() {
    step=restore
    if ! database_exists "$target"; then
        create_database "$target"
        scratch=$target
        load_into "$target" "$file"
        scratch=''
    elif [[ $target != "$postgres_database" || -n $overwrite ]] && is_empty "$target"; then
        load_into "$target" "$file"
    elif [[ -z $overwrite ]]; then
        die "$target is live or holds data: to replace it, say so: --into '$target' --overwrite '$target'" \
            "$EXIT_USAGE"
    else
        replace
    fi
    info "$target is restored from $file"
}

# A name and its ending, the name shortened to what PostgreSQL would keep (NAMEDATALEN): it cuts a longer one
# off without a word, and would then take another database for this one.
within_a_name() { # NAME ENDING
    local name=$1
    while (( $(printf '%s' "$name$2" | wc -c) > 63 )); do name=${name%?}; done
    printf '%s' "$name$2"
}

# The live database serves until the restored one stands beside it; then their names change places.
replace() {
    local old restored
    old=$(within_a_name "$target" "_before_$(wall_clock)")
    restored=$(within_a_name "$target" "_restored_$(wall_clock)")
    create_database "$restored"
    scratch=$restored
    load_into "$scratch" "$file"
    step=swap
    query postgres "
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $(sql_text "$target")
           AND pid <> pg_backend_pid();
        ALTER DATABASE $(sql_name "$target") RENAME TO $(sql_name "$old");
        ALTER DATABASE $(sql_name "$scratch") RENAME TO $(sql_name "$target")" \
        >/dev/null 2>"$run_dir/psql.err" ||
        die "cannot swap the databases: $(reason_in "$run_dir/psql.err"): stop the app, then run this again"
    scratch=''
    if [[ -n $(query postgres "
        SELECT 1 FROM pg_database WHERE datname = $(sql_text "$old") AND datacl IS NOT NULL
         UNION ALL SELECT 1 FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
         WHERE datname = $(sql_text "$old")") ]]; then
        warn "what was set on the database itself (GRANT CONNECT, ALTER DATABASE ... SET) stayed with $old: \
see \\l and \\drds in psql, and set it again on $target"
    fi
    info "what was there before is now the database $old: drop it when it is not needed any more"
}

main() {
    read_arguments "$@"
    become_backup_user "$@"
    case $action in
        list) list_dumps; return ;;
        test) restore_tests; return ;;
    esac
    trap clean_up EXIT
    stop_on_signals
    require_jq
    run_dir=$(mktemp --directory)
    use_pgpass
    choose_dump
    step=check
    info "reading all of $file, $(human_size "$(size_of "$file")")"
    verify_dump "$file"
    restore
}

main "$@"
