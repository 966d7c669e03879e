#!/bin/bash
# Back up PostgreSQL for $app_name.
#
#   backup-database.sh [--tier daily|weekly]   dump, check, publish, then remove what is too old
#       --database NAME                        only this one of backup_databases
#       --if-missed                            only when the tier's last run did not take place
#   backup-database.sh --verify [FILE]         check a stored dump again; the newest unless one is named
#   backup-database.sh --accept DUMP           what a suspect dump lacks was meant to go: it is good again
#   backup-database.sh --encrypt-stored        encrypt the dumps that lie in plain, where backup_encrypt_local is set
#   backup-database.sh --check                 one line for a monitoring system
#   backup-database.sh --overdue [encrypted] [KEY...]
#                                              which tiers need a run, and why: what a deploy asks, which is about to
#                                              have dumps encrypted, and these keys open them
#   backup-database.sh --help                  this text
#
# Run as $backup_user, which cron does, or as root. The tiers, each in a directory of its own:
#   daily    $backup_dir, kept $backup_daily_retention_days days (the default)
#   weekly   $backup_dir/weekly, kept $backup_weekly_retention_days days
#   monthly  $backup_dir/monthly, kept $backup_monthly_retention_days days: the first of each (0: none)
#   yearly   $backup_dir/yearly, kept $backup_yearly_retention_days days: the first of each (0: none)
# BACKUP_RETENTION_DAYS=n in the environment replaces the days of this run. The newest $backup_minimum_kept or
# more of a tier always stay. ${app_name}_latest$backup_suffix is a link to the newest good dump; beside each
# dump lie its manifest, FILE.json, and its roles, FILE.globals.gz (where backup_include_globals asks for it).
# With backup_encrypt_local all but the manifest is encrypted as it is written, and ends with .age: no key that
# opens it lies on this host.
#
# Exit codes: 0 done; 1 failed, nothing was published; 2 wrong arguments or set-up; 3 published, but old
# dumps could not be removed, or with --encrypt-stored some stay in plain; 75 another run is at work; 129, 130,
# 143 stopped by a signal.
# --check: 0 OK, 1 WARNING, 2 CRITICAL. What the last run did: $backup_status_file,
# and of another tier than the daily one status.TIER.json beside it.
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.

set -Eeuo pipefail
umask 077    # a dump holds every patient's data: private from its first byte
export LC_ALL=C.UTF-8
PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin

here=$(dirname "$(readlink --canonicalize "$0")")
# shellcheck source=lib/base.sh
. "$here/lib/base.sh"
# shellcheck source=lib/process.sh
. "$here/lib/process.sh"
# shellcheck source=lib/postgres.sh
. "$here/lib/postgres.sh"
# shellcheck source=lib/client.sh
. "$here/lib/client.sh"
# shellcheck source=lib/store.sh
. "$here/lib/store.sh"
# shellcheck source=lib/leftovers.sh
. "$here/lib/leftovers.sh"
# shellcheck source=lib/objects.sh
. "$here/lib/objects.sh"
# shellcheck source=lib/contents.sh
. "$here/lib/contents.sh"
# shellcheck source=lib/snapshot.sh
. "$here/lib/snapshot.sh"
# shellcheck source=lib/exclude.sh
. "$here/lib/exclude.sh"
# shellcheck source=lib/encrypt.sh
. "$here/lib/encrypt.sh"
# shellcheck source=lib/dump.sh
. "$here/lib/dump.sh"
# shellcheck source=lib/encrypted.sh
. "$here/lib/encrypted.sh"
# shellcheck source=lib/verify.sh
. "$here/lib/verify.sh"
# shellcheck source=lib/loss-rules.sh
. "$here/lib/loss-rules.sh"
# shellcheck source=lib/losses.sh
. "$here/lib/losses.sh"
# shellcheck source=lib/manifest.sh
. "$here/lib/manifest.sh"
# shellcheck source=lib/publish.sh
. "$here/lib/publish.sh"
# shellcheck source=lib/prune.sh
. "$here/lib/prune.sh"
# shellcheck source=lib/watch.sh
. "$here/lib/watch.sh"
# shellcheck source=lib/encrypt-stored.sh
. "$here/lib/encrypt-stored.sh"

# --- This run -----------------------------------------------------------------------------------------

readonly EXIT_LEFT_UNDONE=3
action=backup
tier=daily
retention_days=''
only_if_missed=0
database=''
prefix=$app_name
file=''
run_dir=''
have_lock=0
final=''           # the dump that is being made
published=''       # the dump that was made
began=$SECONDS
began_utc=$(utc_now)
began_clock=$(wall_clock)
database_bytes=0
database_encoding=''
dump_bytes=0
sum=''
sequences_before='{}'
leftovers='[]'     # of restores, on the server
undone=''
warnings=''        # what is to be known of a dump that is good all the same

read_arguments() {
    while (( $# > 0 )); do
        case $1 in
            --help) usage; exit 0 ;;
            --check) action=check ;;
            --encrypt-stored) action=encrypt-stored ;;
            --overdue)
                action=overdue
                if [[ ${2:-} == encrypted ]]; then to_be_encrypted=1; shift; fi
                recipients=("${@:2}")
                set -- "$1" ;;
            --accept) need_value "$@"; action=accept; file=$2; shift ;;
            --if-missed) only_if_missed=1 ;;
            --verify)
                action=verify
                if [[ -n ${2:-} && $2 != --* ]]; then file=$2; shift; fi ;;
            --tier) need_value "$@"; tier=$2; shift ;;
            --database) need_value "$@"; database=$2; shift ;;
            *) die "unknown argument: $1; --help lists them" "$EXIT_USAGE" ;;
        esac
        shift
    done
    subject=$tier
    [[ $tier == daily || $tier == weekly ]] || die "--tier '$tier' is not one: daily or weekly" "$EXIT_USAGE"
    retention_days=${BACKUP_RETENTION_DAYS:-$(days_of "$tier")}
    [[ $retention_days =~ ^[1-9][0-9]{0,4}$ ]] ||
        die "BACKUP_RETENTION_DAYS='$retention_days' must be a number of days, from 1 to 99999" "$EXIT_USAGE"
}

need_value() { # OPTION VALUE
    [[ -n ${2:-} ]] || die "$1 needs a value; --help shows it" "$EXIT_USAGE"
}

# A run that failed says so in its status file and to the hook, whatever ended it. One that gave way to
# another run leaves that one's status alone.
clean_up() {
    local status=$?
    set +e    # whatever fails here, the rest is done all the same
    trap '' HUP INT TERM
    explain_exit "$status"
    if (( have_lock )); then
        end_children
        end_in_containers
        unpublish "$final"
        if [[ -n $run_dir ]]; then rm -rf -- "$run_dir"; fi
    fi
    if (( status != 0 && status != EXIT_BUSY )); then
        write_status failed "$status" "$said_why" || warn "cannot write in $backup_state_dir"
    fi
    if (( status != 0 )); then call_failure_hook "$said_why" "$status"; fi
    if (( have_lock )); then call_hook; fi
    exit "$status"
}

prepare() {
    step=prepare
    require_jq
    [[ -d $backup_dir && -w $backup_dir ]] ||
        die "$backup_dir is missing or not ours: deploy again" "$EXIT_USAGE"
    take_lock "$backup_dir/.lock"
    have_lock=1
    report_interrupted_run
    log INFO "$database: started, keeping $retention_days days" ||
        die 'cannot write the log: see its disk and its owner'
    if [[ ! -w $backup_state_dir ]]; then
        warn "$backup_state_dir is missing or not ours, so there is no status file: deploy again"
    fi
    write_status running null '' || die "cannot write in $backup_state_dir: make room on its disk"
    call_hook
    sweep
    run_dir=$(mktemp --directory "$backup_dir/.run.XXXXXX") ||
        die "cannot write in $backup_dir: make room on its disk"
    mkdir -p "$(tier_dir "$tier")"
    use_pgpass
    choose_role
    choose_client
    tell_role
    choose_compressor
    require_recipients
}

# One that was killed outright could tell nobody.
report_interrupted_run() {
    local status
    status=$(status_file_of "$prefix" "$tier")
    if [[ $(json_value "$status" state) == running ]]; then
        warn "the run of $(json_value "$status" started) was interrupted in step $(json_value "$status" step)"
        call_failure_hook "the run of $(json_value "$status" started) was interrupted" 137
    fi
}

make_dump() {
    step=dump
    write_status running null '' || die "cannot write in $backup_state_dir: make room on its disk"
    local directory stamp snapshot counting
    directory=$(tier_dir "$tier")
    open_session "$database"
    ask "$session_settings SET lock_timeout = '${backup_lock_wait_seconds}s';"
    ask 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_export_snapshot();'
    hear snapshot
    ask 'SELECT pg_database_size(current_database());'
    hear database_bytes
    database_bytes=$(digits "$database_bytes")
    ask 'SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database();'
    hear database_encoding
    check_space "$directory"
    ask "$sequences_sql;"
    hear sequences_before
    ask "$(leftovers_sql);"
    hear leftovers
    choose_exclusions
    stamp=$(free_stamp "$directory") || die "no name is free in $directory: see that the clock runs"
    final=$directory/${prefix}_$stamp$backup_suffix
    dump_to "$final.part" "$snapshot"
    ask "$(counting_sql "$(counted_tables)")"
    hear_json counting
    ask "$private_properties_sql"
    keep_properties "$final.properties.json$(encrypted_ending).part"
    start collect /dev/fd/6 "$run_dir/contents" cat    # thousands of lines: bash would read them byte by byte
    ask "$(contents_sql "$object_hash" "$counting")"
    ask "SAVEPOINT needs; $needs_sql $properties_sql ROLLBACK TO SAVEPOINT needs;"
    await_dump
    ask "SELECT json_build_array('value', 'sequences_after', ($sequences_sql));"
    close_session
    read_contents
    tell_what_was_not_counted
    if (( backup_include_globals )); then dump_globals "$final.globals.gz$(encrypted_ending).part"; fi
    dump_bytes=$(size_of "$final.part")
    step=check
    check_part "$final.part"
    look_for_losses
    if [[ -n $suspicion ]]; then leave_tier; fi
    write_manifest "$final"
    step=publish
    publish "$final"
    if [[ -n $suspicion ]]; then call_failure_hook "suspect: $suspicion" 0; fi
    info "$final, $(human_size "$dump_bytes"), $(( SECONDS - began )) s"
}

# A suspect dump is kept, and for as short as a daily one: among these its name may be taken.
leave_tier() {
    local path line weekly=$final
    [[ ${final%/*} != "$backup_dir" ]] || return 0
    stamp=$(free_stamp "$backup_dir") || die "no name is free in $backup_dir: see that the clock runs"
    final=$backup_dir/${prefix}_$stamp$backup_suffix
    while IFS= read -r path; do
        mv --no-target-directory "$path" "$final${path#"$weekly"}"
    done < <(printf '%s\n' "$weekly.part"; parts_beside "$weekly")
    (( backup_encrypt_local )) || return 0
    while read -r line; do
        printf '%s\n' "${final##*/}${line#"${weekly##*/}"}"
    done <"$run_dir/encrypted" >"$run_dir/renamed"
    mv -- "$run_dir/renamed" "$run_dir/encrypted"
}

counted_tables() {
    local name
    case ${backup_count_tables[0]} in
        all) printf true ;;
        none) printf false ;;
        *)
            printf "table_name IN (NULL"
            for name in "${backup_count_tables[@]}"; do
                printf ', %s' "$(sql_text "$name")" "$(sql_text "public.$name")"
            done
            printf ')' ;;
    esac
}

remove_old() {
    local kind days
    if [[ -z $suspicion ]]; then promote "$published"; fi
    step=prune
    for kind in "${tiers[@]}"; do
        days=$(days_of "$kind")
        if [[ $kind == "$tier" ]]; then days=$retention_days; fi
        # The other tier that has runs of its own is pruned by those.
        if [[ $kind == "$tier" || $kind == monthly || $kind == yearly ]] && (( days > 0 )); then
            prune "$kind" "$days" || leave_undone "old ones stay in $(tier_dir "$kind")"
        fi
    done
    [[ -z $undone ]] || die "the dump is good, but $undone" "$EXIT_LEFT_UNDONE"
}

# The rest is done all the same: a disk that is never pruned fills up.
leave_undone() { # WHAT
    warn "$1"
    undone+="${undone:+, }$1"
}

# The latest moment, in this tier's schedule, that is past.
last_due() {
    local now due time=$backup_daily_at back=0 period=1
    now=$(wall_clock)
    if [[ $tier == weekly ]]; then
        time=$backup_weekly_at
        period=7
        back=$(( ($(date +%w) - $(date --date="$backup_weekly_day" +%w) + 7) % 7 ))
    fi
    due=$(stamp_at $(( $(seconds_of "${now%_*}_${time/:/-}-00") - back * 86400 )))
    if [[ $due > $now ]]; then
        due=$(stamp_at $(( $(seconds_of "$due") - period * 86400 )))
    fi
    printf '%s' "$due"
}

was_missed() {
    local newest
    newest=$(dumps_in "$tier" "$prefix" | with_manifest | that_are_past | sed -n 1p)
    [[ -z $newest || $(stamp_of "$newest") < $(last_due) ]]
}

# After a boot PostgreSQL may need a while.
await_server() {
    use_pgpass
    for _ in {1..60}; do
        if query "$postgres_database" 'SELECT 1' >/dev/null 2>&1; then return; fi
        sleep 5
    done
}

verify() {
    subject=verify
    step=verify
    require_jq
    run_dir=$(mktemp --directory)
    trap 'explain_exit $?; rm -rf -- "$run_dir"' EXIT
    if [[ -z $file ]]; then
        prefix=$(prefix_of "${database:-$postgres_database}")
        file=$(newest_dump "$prefix")
        [[ -n $file ]] || die "$backup_dir holds no dump yet: make one first"
    fi
    [[ -e $file ]] || die "there is no $file: restore-database.sh --list shows what there is" "$EXIT_USAGE"
    verify_dump "$(readlink --canonicalize "$file")"
    info "$file is whole"
}

# Several databases are as many runs, one after the other: one that fails keeps no other from its dump.
back_up_each() { # DATABASE...
    local name worst=0
    trap end_children EXIT
    stop_on_signals
    for name in "$@"; do
        local -a again=("$BASH" "$0" --tier "$tier" --database "$name")
        if (( only_if_missed )); then again+=(--if-missed); fi
        BACKUP_RETENTION_DAYS=$retention_days setpriv --pdeathsig TERM -- "${again[@]}" &
        children["$name"]=$!
        all_ended_well "$name" || worst=$(worse_of "$worst" "${ended[$name]}")
    done
    return "$worst"
}

list_databases() {
    query "$postgres_database" \
        "SELECT to_json(datname) FROM pg_database WHERE datallowconn AND NOT datistemplate
            AND (datname = $(sql_text "$postgres_database") OR NOT $(is_leftover_sql)) ORDER BY datname"
}

back_up() {
    local listed
    local -a names=("${backup_databases[@]}")
    trap clean_up EXIT
    stop_on_signals
    if [[ -z $database && ${names[0]} == all ]]; then
        require_jq
        use_pgpass
        if (( only_if_missed )); then await_server; fi
        if ! listed=$(list_databases); then
            # At least the app's own. Where that fails as well, its run says why.
            back_up_each "$postgres_database" || return
            trap clean_up EXIT
            stop_on_signals
            die "the server did not list its databases, so only $postgres_database was dumped: run this again"
        fi
        mapfile -d '' -t names < <(jq --join-output '., "\u0000"' <<<"$listed")    # a name may have a line break
        note_databases "${names[@]}"
    fi
    if [[ -z $database ]] && (( ${#names[@]} > 1 )); then
        back_up_each "${names[@]}"
        return
    fi
    database=${database:-${names[0]}}
    prefix=$(prefix_of "$database")
    if (( ${#prefix} > $(longest_prefix) )); then
        die "the names of its files would begin with ${#prefix} bytes, and 255 in all leave $(longest_prefix) for \
that: list the \
others in backup_databases, or give $database or the app a shorter name" "$EXIT_USAGE"
    fi
    if (( only_if_missed )); then
        if ! was_missed; then
            info "$database: nothing was missed since $(last_due)"
            return
        fi
        await_server
    fi
    prepare
    make_dump
    remove_old
    write_status ok 0 ''
}

main() {
    read_arguments "$@"
    become_backup_user "$@"
    case $action in
        backup) back_up ;;
        verify) verify ;;
        accept) accept_dump ;;
        encrypt-stored) encrypt_stored ;;
        check) check_freshness ;;
        overdue) list_overdue ;;
    esac
}

main "$@"
