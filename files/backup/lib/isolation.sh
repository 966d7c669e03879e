# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- The restore test's isolation: what a dump holds runs as a user, and in a unit, with nothing else -------

# Root only carries: the backup user offers a dump, the test's user restores it within the unit, the backup
# user notes what came of it. A dump may run code in the unit, as a superuser of the temporary server and as
# the test's user: it can spoil its own verdict, and nothing besides. So that is data, cleaned and bounded.
readonly verdict_mark='==verdict=='
readonly said_bytes=65536
test_result=''    # how the unit ended, as systemd says it

as_user() { # USER COMMAND...
    local user=$1
    shift
    # A change of user forgets whose death is to be followed, so that is set after it.
    setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups -- setpriv --pdeathsig TERM -- "$@" 9>&-
}

as_backup_user() { # ARGUMENTS of restore-database.sh...
    as_user "$backup_user" "$BASH" "$(readlink --canonicalize "$0")" "$@"
}

isolated_tests() {
    local listed path worst=0 status
    subject=restore-test
    (( EUID == 0 )) ||
        die "you are $(id -un): root starts a restore test, so that its user holds nothing else" "$EXIT_USAGE"
    [[ -d $backup_restore_test_dir ]] ||
        die "there is no $backup_restore_test_dir: deploy again" "$EXIT_USAGE"
    cd /
    trap end_isolation EXIT
    stop_on_signals
    take_lock "$backup_restore_test_dir/.lock"
    remove_isolated
    listed=$(as_backup_user --test-list ${file:+--from "$file"})
    [[ -n $listed ]] || die "the newest dumps are still encrypted: make one first (backup-database.sh)" "$EXIT_USAGE"
    while IFS= read -r path; do
        status=0
        isolated_test "$path" || status=$?
        remove_isolated
        worst=$(worse_of "$worst" "$status")
    done <<<"$listed"
    return "$worst"
}

# Its exit code is that of the backup user's side, which knows why.
isolated_test() { # DUMP
    local name work said
    local -a ends
    name=$(test_name_of "$1")
    work=$backup_restore_test_dir/.test.$name
    install --directory --owner="$backup_restore_test_user" --group="$(id -g "$backup_restore_test_user")" \
        --mode=0700 "$work" "$work/dump"
    ends=(0 0)
    as_backup_user --test-offer --from "$1" |
        as_user "$backup_restore_test_user" tar --extract --no-same-owner --directory "$work/dump" ||
        ends=("${PIPESTATUS[@]}")
    if (( ends[0] != 0 && ends[0] != 128 + 13 && ends[1] == 0 )); then return "${ends[0]}"; fi
    if (( ends[1] != 0 )); then
        as_backup_user --test-record "no room in $backup_restore_test_dir" --from "$1" </dev/null
        return
    fi
    : >"$backup_restore_test_dir/.said.$name"
    if [[ $postgres_mode == direct ]]; then
        run_unit "$app_name-restore-test@$name.service"
    elif said=$(start_test_container "$work" 2>&1); then
        run_beside_container "$app_name-restore-test@$name.service"
    else
        test_result="its container did not start: ${said//$'\n'/ }"
    fi
    head --bytes="$said_bytes" "$backup_restore_test_dir/.said.$name" |
        as_backup_user --test-record "$test_result" --from "$1"
}

# What a unit and a directory are named after: the dump, without its time, in letters that mean nothing there.
test_name_of() { # DUMP
    local name=${1##*/}
    name=${name%_????-??-??_*}
    name=${name//[^A-Za-z0-9-]/_}
    printf '%s' "${name:0:60}"
}

# Sets `test_result` to what systemd has found: success, exit-code, oom-kill, timeout, signal, ...
run_unit() { # UNIT
    # In the background, so that a signal reaches this script before the test has ended.
    systemctl start --wait "$1" >&2 9>&- &
    wait "$!" || true
    test_result=$(systemctl show --property=Result --value "$1")
    systemctl reset-failed "$1" 2>/dev/null || true
}

# A unit whose server's container has gone would wait for it.
run_beside_container() { # UNIT
    local watcher
    # shellcheck disable=SC2154  # container.sh's
    { docker wait "$test_container" && systemctl stop "$1"; } >/dev/null 2>&1 9>&- &
    watcher=$!
    run_unit "$1"
    kill "$watcher" 2>/dev/null || true
}

# Whatever a test that was cut off has left: the lock is ours, so none is to go on.
remove_isolated() {
    local path
    systemctl stop "$app_name-restore-test@*.service" || true
    if [[ $postgres_mode != direct ]]; then
        remove_test_container
        rm -f -- "$backup_restore_test_dir/.passwd"
    fi
    for path in "$backup_restore_test_dir"/.test.* "$backup_restore_test_dir"/.said.*; do
        if is_of_a_test "$path"; then rm -rf -- "$path"; fi
    done
}

# The directory may be one where others have files too, whatever they call them.
is_of_a_test() { # PATH
    local made
    made=$(stat --format '%F %U' -- "$1" 2>/dev/null) || return 1
    case ${1##*/} in
        .test.*) [[ $made == "directory $backup_restore_test_user" ]] ;;
        .said.*) [[ $made == regular*' root' ]] ;;
    esac && [[ ${1##*/} =~ ^\.(test|said)\.[A-Za-z0-9_-]{1,60}$ ]]
}

end_isolation() {
    local status=$?
    set +e    # whatever fails here, the rest is done all the same
    trap '' HUP INT TERM
    if (( status != EXIT_BUSY && status != EXIT_USAGE )); then remove_isolated; fi
    exit "$status"
}

# --- The backup user's side ---------------------------------------------------------------------------

# The dumps to test, one a line: of each database the newest, unless one is named.
list_for_test() {
    local name
    if [[ -n $file ]]; then
        printf '%s\n' "$file"
        return
    fi
    for name in $(prefixes); do
        file=$(newest_dump "$name")
        # None: its first dump is being made.
        if [[ -n $file ]] && ! is_encrypted "$file"; then printf '%s\n' "$file"; fi
    done
    if [[ -z $file ]]; then choose_dump; fi
}

# The dump with what accompanies it, to standard output. What fails here is noted as a test's failure.
offer_dump() {
    local beside
    local -a names
    trap end_test EXIT
    stop_on_signals
    subject=restore-test
    choose_dump
    [[ -e $file.json ]] || die "$file has no manifest to compare with: make a backup first, then test that"
    info "testing $file"
    check_test_space
    step=offer
    names=("${file##*/}.json" "${file##*/}")
    for beside in globals.gz properties.json; do
        if [[ -e $file.$beside ]]; then names+=("${file##*/}.$beside"); fi
    done
    tar --create --directory "${file%/*}" -- "${names[@]}" ||
        die "$file cannot be read, or $backup_restore_test_dir has no room for it"
    trap - EXIT
}

# What the test has said comes on standard input: its log, and then the verdict, unless it was cut off.
record_test() {
    local line inside=0 work name value
    trap end_test EXIT
    stop_on_signals
    subject=restore-test
    choose_dump
    work=$backup_restore_test_dir/.test.$(test_name_of "$file")
    while IFS= read -r line; do
        line=${line//"$work/dump"/"${file%/*}"}
        if [[ $line == "$verdict_mark" ]]; then
            inside=1
        elif (( ! inside )); then
            printf '%s\n' "$line" >&2
        else
            name=${line%% *} value=${line#* }
            case $name in
                verdict) if [[ $value == ok || $value == failed ]]; then verdict=$value; fi ;;
                message) said_why=$value ;;
                differences) differences=$value ;;
                step) step=$value ;;
                seconds) SECONDS=$(digits "$value") ;;
            esac
        fi
    done < <(plain_text)
    if [[ $verdict == ok && $test_result == success ]]; then return; fi
    if [[ $verdict == ok ]]; then verdict=''; fi
    if (( ! inside )); then said_why="the restore test was cut off ($test_result): see its lines above"; fi
    die "${said_why:-the restore test gave no reason}"
}

# --- The unit's side ------------------------------------------------------------------------------------

find_offered() {
    local path
    local -a found=()
    for path in "$test_dir"/dump/*.json; do
        [[ $path == *.properties.json ]] || found+=("$path")
    done
    file=${found[0]%.json}
    (( ${#found[@]} == 1 )) && [[ -e $file ]] || die "$test_dir/dump holds no dump with its manifest"
}

print_verdict() {
    printf '%s\n' "$verdict_mark" "verdict $verdict" "message ${said_why//$'\n'/ }" \
        "differences ${differences//$'\n'/ }" "step $step" "seconds $SECONDS"
}
