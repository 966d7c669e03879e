#!/bin/bash
# Restore a dump of $app_name, or test that one can be restored.
#
#   restore-database.sh --list                         the dumps there are, newest first
#   restore-database.sh --into NAME                    restore NAME's newest dump, or the newest of the app's
#                                                      database, into NAME, which is empty or is created
#   restore-database.sh --into NAME --from FILE        restore that one
#   restore-database.sh --into NAME --overwrite NAME   NAME holds data: restore beside it, then swap names;
#                                                      the old one stays as NAME_before_<time>
#       --as-administrator URL   a superuser, postgresql://postgres@host/ with PGPASSWORD, makes what only he
#                                may: database, roles, extensions; nothing of the dump runs as him.
#                                "peer" for URL: root becomes postgres on a server of this host
#       --with-roles             with that: make the roles that the dump names and the server lacks
#       --trust-dump             with that: load what only a superuser can. The dump's code then runs as the
#                                server's administrator
#       --no-owner               all belongs to the role that restores; no owners, no grants
#       --table NAME, --schema NAME   of these alone, as often as needed; NAME may be SCHEMA.TABLE. Into a
#                                database that holds data: with --overwrite NAME. What is there already is
#                                refused, and what fails leaves everything as it was
#       --data-only              rows alone, into tables that are there
#       --identity FILE          the secret key of age that opens a dump whose name ends with .age: a vault's, or
#                                people's own. The dump lies in plain below $backup_dir until this ends
#   restore-database.sh --test [--from FILE]           restore the newest dump of each database, or FILE, into
#                                                      a throwaway database, compare it with the manifest,
#                                                      note the verdict, remove everything
#   restore-database.sh --help                         this text
#
# Run as $backup_user or as root. It restores on $backup_postgres_host:$backup_postgres_port as
# $postgres_user, which must own the database NAME, or may create databases (ALTER ROLE ... CREATEDB). FILE is
# a path, or a name as --list shows it. --test uses the server backup_restore_test_host
# ($backup_restore_test_host), or where none is named a temporary server on this host; that one root alone
# starts, as $backup_restore_test_user, in $app_name-restore-test@.service, below $backup_restore_test_dir.
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
# shellcheck source=lib/base.sh
. "$here/lib/base.sh"
# shellcheck source=lib/process.sh
. "$here/lib/process.sh"
# shellcheck source=lib/postgres.sh
. "$here/lib/postgres.sh"
# shellcheck source=lib/store.sh
. "$here/lib/store.sh"
# shellcheck source=lib/objects.sh
. "$here/lib/objects.sh"
# shellcheck source=lib/contents.sh
. "$here/lib/contents.sh"
# shellcheck source=lib/encrypted.sh
. "$here/lib/encrypted.sh"
# shellcheck source=lib/verify.sh
. "$here/lib/verify.sh"
# shellcheck source=lib/open.sh
. "$here/lib/open.sh"
# shellcheck source=lib/sift.sh
. "$here/lib/sift.sh"
# shellcheck source=lib/leftovers.sh
. "$here/lib/leftovers.sh"
# shellcheck source=lib/target.sh
. "$here/lib/target.sh"
# shellcheck source=lib/properties.sh
. "$here/lib/properties.sh"
# shellcheck source=lib/administrator.sh
. "$here/lib/administrator.sh"
# shellcheck source=lib/roles.sh
. "$here/lib/roles.sh"
# shellcheck source=lib/peer.sh
. "$here/lib/peer.sh"
# shellcheck source=lib/swap.sh
. "$here/lib/swap.sh"
# shellcheck source=lib/progress.sh
. "$here/lib/progress.sh"
# shellcheck source=lib/said.sh
. "$here/lib/said.sh"
# shellcheck source=lib/load.sh
. "$here/lib/load.sh"
# shellcheck source=lib/part.sh
. "$here/lib/part.sh"
# shellcheck source=lib/compare.sh
. "$here/lib/compare.sh"
# shellcheck source=lib/documented.sh
. "$here/lib/documented.sh"
# shellcheck source=lib/test-a-dump.sh
. "$here/lib/test-a-dump.sh"
# shellcheck source=lib/container.sh
. "$here/lib/container.sh"
# shellcheck source=lib/isolation.sh
. "$here/lib/isolation.sh"

# --- This run -----------------------------------------------------------------------------------------

subject=restore
action=restore
target=''
overwrite=''
file=''
run_dir=''
scratch=''    # the database that we created and have not handed over
chosen=''     # why that dump was taken

read_arguments() {
    while (( $# > 0 )); do
        case $1 in
            --help) usage; exit 0 ;;
            --list) action=list; shift; continue ;;
            --test) action='test'; shift; continue ;;
            --with-roles) with_roles=1; shift; continue ;;
            --trust-dump) trust_dump=1; shift; continue ;;
            --no-owner) owners=drop; shift; continue ;;
            --data-only) data_only=1; shift; continue ;;
            --table) tables+=${2:-}$'\n' ;;
            --schema) schemas+=${2:-}$'\n' ;;
            --as-administrator) use_administrator "${2:-}" ;;
            --identity) identity_file=${2:-} ;;
            # These three are --test's own: see isolation.sh.
            --test-list) action='list-for-test'; shift; continue ;;
            --test-offer) action=offer; shift; continue ;;
            --test-record) action=record; test_result=${2:-} ;;
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
    if (( with_roles || trust_dump )) && [[ -z $administrator ]]; then
        die '--with-roles and --trust-dump go with --as-administrator URL' "$EXIT_USAGE"
    fi
    if [[ -n $identity_file && $action != restore ]]; then
        die '--identity goes with --into: it is a restore that opens a dump' "$EXIT_USAGE"
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
    note_done restore "$target" "${sealed:-$file}" "$status"
    end_children
    remove_loader
    if [[ -n $scratch ]]; then
        drop_database "$scratch" ||
            warn "the database $scratch is left over ($(reason_in "$run_dir/psql.err")): drop it"
    fi
    rm -rf -- ${run_dir:+"$run_dir"} ${opened:+"$opened"}
    step=end
    info "exit code $status"
    exit "$status"
}

# Cron's runs have a log by their cron line; a person's restore has the same one. It is the backup user's, so this
# is begun by that user, and without it a restore goes on: it may be what is needed most.
log_restore() {
    local how=''
    if [[ -f $backup_log && -w $backup_log ]]; then
        log_also=$backup_log
    else
        warn "nothing of this restore will stand in $backup_log, which $backup_user cannot write: deploy again"
    fi
    if [[ -n $overwrite ]]; then
        if is_whole; then how=', in place of what is there'; else how=', a part, beside what is there'; fi
    fi
    info "begun by ${SUDO_USER:-${USER:-$(id -un)}}: into $target from ${file:-the newest dump}\
$how${administrator:+, with an administrator}"
}

list_dumps() {
    local kind name path verdict
    local -a paths
    require_jq
    load_verdicts "${tiers[@]}"
    printf '%-8s %9s %10s %-9s %s\n' TIER AGE SIZE RESTORED FILE
    for name in $(prefixes); do
        for kind in "${tiers[@]}"; do
            mapfile -t paths < <(dumps_in "$kind" "$name")
            load_suspicions "${paths[@]}"
            for path in "${paths[@]}"; do
                verdict=${json[$path.restore-test.json verdict]:--}
                if ! has_manifest "$path"; then verdict=unknown; fi
                if is_encrypted "$path"; then verdict=encrypted; fi
                if is_suspect "$path"; then verdict=suspect; fi
                printf '%-8s %8sh %10s %-9s %s\n' "$kind" "$(( $(age_of "$path") / 3600 ))" \
                    "$(human_size "$(size_of "$path")")" "$verdict" "$path"
            done
        done
    done
    list_leftovers
}

# A path; or the name of a dump of ours, in whichever tier it lies; or the newest of the target itself;
# or of the app's database. Names that differ in case alone are two databases.
choose_dump() {
    local kind
    step=choose
    if [[ -z $file ]]; then
        choose_newest
        return
    fi
    for kind in "${tiers[@]}"; do
        if [[ ! -e $file && -e $(tier_dir "$kind")/$file ]]; then file=$(tier_dir "$kind")/$file; fi
    done
    if ! may_enter_all_of "$file" || [[ -e $file && ! -r $file ]]; then
        die "$backup_user cannot read $file: copy it into $backup_dir and give it to that user" "$EXIT_USAGE"
    fi
    [[ -e $file || -L $file ]] || die "there is no $file: --list shows the dumps there are" "$EXIT_USAGE"
    file=$(readlink --canonicalize "$file")
    chosen='it was named'
}

# A directory such as /root, which this user may not enter, has no file at all for him.
may_enter_all_of() { # PATH
    local path way=''
    local -a parts
    IFS=/ read -r -a parts <<<"${1%/*}"
    [[ $1 == /* ]] || return 0
    for path in "${parts[@]}"; do
        [[ -z $path ]] || way+=/$path
        [[ ! -d ${way:-/} || -x ${way:-/} ]] || return 1
    done
}

choose_newest() {
    file=$(newest_dump "$(prefix_of "${target:-$postgres_database}")")
    chosen="the newest good one of ${target:-$postgres_database}"
    if [[ -z $file && -n $target && $target != "$postgres_database" ]]; then
        if [[ ${target,,} == "${postgres_database,,}" || " ${backup_databases[*]} " == *" $target "* ]]; then
            die "there is no dump of $target: name the one to take with --from, see --list" "$EXIT_USAGE"
        fi
        file=$(newest_dump "$app_name")
        chosen="there is none of $target, so the newest good one of $postgres_database"
    fi
    [[ -n $file ]] || die "$backup_dir holds no dump: make a backup first, or name a file with --from"
    [[ -r $file ]] || die "$backup_user cannot read $file: chown $backup_user $backup_dir/*" "$EXIT_USAGE"
    load_suspicions "$file"
    if ! has_manifest "$file"; then chosen+=", of unknown quality: it has no manifest"; fi
    [[ $action != restore || ${json[$file.json empty]:-} != true ]] ||
        die "the newest dump, $file, holds no table: name the one to take with --from, see --list" \
"$EXIT_USAGE"
    if is_suspect "$file"; then warn "$file is suspect, and there is no other: ${json[$file.json \
suspect]}"; fi
}

restore() {
    step=restore
    if ! database_exists "$target"; then
        is_whole || die "there is no database $target to restore a part into: name one that is there" \
"$EXIT_USAGE"
        prepare_target ''
        create_database "$target"
        scratch=$target
        mark_unfinished "$target"
        fill "$target"
        scratch=''
    elif ! is_whole; then
        restore_part
    elif [[ $target != "$postgres_database" || -n $overwrite ]] && is_empty "$target"; then
        prepare_target "$target"
        make_public "$target"
        fill "$target"
    elif [[ -z $overwrite ]]; then
        die "$target is live or holds data: to replace it, say so: --into '$target' --overwrite '$target'" \
            "$EXIT_USAGE"
    else
        check_swap
        prepare_target ''
        replace
    fi
    if is_whole; then info "$target is restored from ${sealed:-$file}"
    else info "$target has that part of ${sealed:-$file}"; fi
}

# It does not come back: that is said before anything is replaced.
tell_what_was_left_out() {
    local entry name
    while IFS= read -r entry; do
        [[ -n $entry ]] || continue
        while IFS= read -r name; do
            [[ -z $name || $entry != *:"$name" && $entry != *:public."$name" ]] ||
                die "$file was made without $entry (backup_exclude): take one from before, see --list" "$EXIT_USAGE"
        done <<<"$tables"
        warn "$file was made without $entry (backup_exclude): that is not restored"
    done < <(jq --raw-output '.left_out // [] | .[]' "$file.json" 2>/dev/null || true)
}

# All that can be known is known before the first row: what is missing, and the way.
prepare_target() { # DATABASE, or none where it is yet to be made
    step=check
    if [[ -n $administrator ]]; then check_administrator; fi
    tell_older_server "${1:-postgres}"
    if (( with_roles )); then make_roles; fi
    check_target "$1"
    step=restore
}

load() { # DATABASE
    if [[ -z $administrator ]]; then load_into "$1" "$file"
    elif is_whole; then load_as_administrator "$1" "$file"
    else load_part_as_administrator "$1" "$file"; fi
}

fill() { # DATABASE
    load "$1"
    if [[ -n $scratch ]]; then mark_finished "$1"; fi
    apply_properties "$1"
}

main() {
    read_arguments "$@"
    if [[ $action == test ]] && { [[ $file == *.age ]] || { [[ -z $file ]] && (( backup_encrypt_local )); }; }; then
        die 'dumps are encrypted here, and no key on this host opens one: a vault restores each. Where you hold a key: \
--into NAME --from FILE --identity KEY-FILE' "$EXIT_USAGE"
    fi
    if [[ $action == test && -z $backup_restore_test_host ]]; then
        isolated_tests
        return
    fi
    if [[ $administrator == peer && $action == restore ]]; then
        restore_with_peer "$@"
        return
    fi
    hand_identity_on "$@"
    become_backup_user "$@"
    case $action in
        list) list_dumps; return ;;
        test) restore_tests; return ;;
        list-for-test) list_for_test; return ;;
        offer) offer_dump; return ;;
        record) record_test; return ;;
    esac
    trap clean_up EXIT
    stop_on_signals
    log_restore
    require_jq
    run_dir=$(mktemp --directory)
    use_pgpass
    read_identity
    choose_dump
    info "$file: $chosen"
    step=check
    info "reading all of $file, $(human_size "$(size_of "$file")")"
    verify_dump "$file"
    open_dump
    tell_what_was_left_out
    restore
}

main "$@"
