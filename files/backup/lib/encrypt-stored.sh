# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- --encrypt-stored: dumps that lie in plain, from before backup_encrypt_local or brought back by a recovery --

work=''       # where one is being encrypted: beside it, so that it only gets its name in the end
in_plain=0    # how many stay so

encrypt_stored() {
    local kind path
    subject=encrypt
    step=encrypt
    (( backup_encrypt_local )) || die 'backup_encrypt_local is not set: dumps lie in plain here' "$EXIT_USAGE"
    require_jq
    trap end_encryption EXIT
    stop_on_signals
    await_lock    # nobody is at work: what was cut off is swept, and so is a dump that was about to go
    sweep
    exec 9>&-
    for kind in "${tiers[@]}"; do
        while read -r path; do
            if encrypt_one "$path"; then
                info "$path is encrypted: it is $path.age"
            elif [[ -e $path ]]; then
                in_plain=$(( in_plain + 1 ))
            fi
            leave_work
        done < <(plain_dumps_in "$kind")
    done
    (( in_plain == 0 )) || die "$in_plain dump(s) stay in plain: see the lines above" "$EXIT_LEFT_UNDONE"
}

end_encryption() {
    local status=$?
    set +e    # whatever fails here, the rest is done all the same
    trap '' HUP INT TERM
    explain_exit "$status"
    end_children
    leave_work
    exit "$status"
}

enter_work() { # DIRECTORY
    work=$(mktemp --directory "$1/.open.XXXXXX") || return 1
    run_dir=$work
    exec 4>"$work/.lock" && flock 4    # see sweep_opened
}

leave_work() {
    exec 4<&- 9>&-
    if [[ -n $work ]]; then rm -rf -- "$work"; fi
    work='' run_dir=''
}

# Ours, with a manifest: nobody knows what another one should be.
plain_dumps_in() { # TIER
    local path
    for path in "$(tier_dir "$1")/$app_name"*; do
        if [[ $path =~ _$stamp_regex(\.[a-z.]+)$ ]] && is_a_suffix "${BASH_REMATCH[1]}" && ! is_encrypted "$path" &&
            is_our_name "${path##*/}" && is_a_dump "$path"; then
            if has_manifest "$path"; then
                printf '%s\n' "$path"
            else
                info "$path has no manifest, is of unknown quality, and stays as it is"
            fi
        fi
    done
}

# A backup may run meanwhile, but for the moment in which names change. What is encrypted has been read again, and is on
# the disk, before what is in plain goes. No error is passed over: each is a reason to leave all as it is.
encrypt_one() { # DUMP
    local dump=$1 new=$1.age damaged lacking
    if [[ ! -O $dump ]]; then
        warn "$dump is somebody else's: chown $backup_user makes it ours"
        return 1
    elif [[ -d $dump ]]; then
        warn "$dump is many files, and stays in plain until it goes by its age"
        return 1
    fi
    enter_work "${dump%/*}" || { warn "cannot write in ${dump%/*}: make room on its disk"; return 1; }
    require_recipients
    if [[ -e $new ]]; then
        if [[ ! -e $new.json ]]; then
            warn "$dump stays in plain: $new has no manifest to compare it with: move that away, then run \
this again"
            return 1
        fi
        if [[ $(sum_in_plain "$new") != "$(json_value "$dump.json" sha256)" ]]; then
            warn "$dump stays in plain: $new is another dump"
            return 1
        fi
        to_the_disk "$new" || return 1
        lacking=$(lacking_beside "$dump" "$new")
        if [[ -n $lacking ]]; then
            warn "$dump stays in plain: $lacking lies beside it, and beside $new nothing that holds the same: move \
$new and what lies beside it away, then run this again"
            return 1
        fi
        damaged=$(damaged_files_of "$new" "$new.json") || return 1
        if [[ -n $damaged ]]; then
            warn "$dump stays in plain: ${damaged//$'\n'/, } beside it is not what was written: remove $new \
and what lies beside it, then run this again"
            return 1
        fi
    else
        link_twin "$dump" || encrypt_anew "$dump" "$work/${new##*/}" || return 1
        to_the_disk "$work/${new##*/}" || return 1
        damaged=$(damaged_files_of "$work/${new##*/}" "$work/${new##*/}.json") || return 1
        [[ -z $damaged ]] || { warn "$dump stays in plain: it cannot be encrypted, see the disk's health"; return 1; }
    fi
    give_names "$dump" "$new"
}

# What is read after this comes from there, and not from memory.
to_the_disk() { # DUMP
    local beside
    for beside in "${companions[@]}" ''; do
        if [[ -e $1$beside ]]; then
            sync "$1$beside" && dd if="$1$beside" iflag=nocache count=0 status=none || return 1
        fi
    done
}

# As long as it takes: what was encrypted here is worth that, and a backup has a moment only.
await_lock() {
    open_lock "$backup_dir/.lock" || return 1
    if ! flock --nonblock 9; then
        info 'another run is at work: this waits for its end'
        setpriv --pdeathsig TERM -- flock 9 &    # of which a signal is not kept waiting
        children["lock"]=$!
        all_ended_well lock || return 1
    fi
}

# A dump of two tiers is one file by two names, and stays one.
link_twin() { # DUMP
    local kind twin
    for kind in "${tiers[@]}"; do
        twin=$(tier_dir "$kind")/${1##*/}.age
        if [[ -e $twin.json && $(sum_in_plain "$twin") == "$(json_value "$1.json" sha256)" ]] &&
            [[ -z $(lacking_beside "$1" "$twin")$(damaged_files_of "$twin" "$twin.json") ]]; then
            copy_linked "$twin" "$work"
            return
        fi
    done
    return 1
}

# What lies beside a dump in plain, and not beside the encrypted one that has its rows.
lacking_beside() { # DUMP ENCRYPTED
    local beside
    for beside in .globals.gz .properties.json; do
        if [[ -e $1$beside && ! -e $2$beside.age ]]; then printf '%s' "${1##*/}$beside"; return; fi
    done
}

sum_in_plain() { # ENCRYPTED DUMP
    encrypted_files_of "$1" "$1.json" | awk 'NR == 1 { print $3 }'
}

encrypt_anew() { # DUMP, NEW FILE IN work
    local dump=$1 new=$2 free needed beside found
    rm -rf -- "${new:?}"*    # of a twin that could not be copied
    free=$(free_bytes "$work")
    needed=$(( $(size_of "$dump") + backup_reserve_mb * 1048576 ))
    if (( free < needed )); then
        warn "$dump: ${dump%/*} has $(human_size "$free") free, and this needs $(human_size "$needed"): make room"
        return 1
    fi
    encrypt_file "$dump" "$new" || return 1
    read -r _ _ found <"$run_dir/encrypted" || return 1
    if [[ $found != "$(json_value "$dump.json" sha256)" ]]; then
        warn "$dump is not what was written, by the sum in its manifest: it stays as it is, see the disk's health"
        return 1
    fi
    for beside in .globals.gz .properties.json; do
        [[ ! -e $dump$beside ]] || encrypt_file "$dump$beside" "$new$beside.age" || return 1
    done
    for beside in .accepted.json .restore-test.json; do
        [[ ! -e $dump$beside ]] || cp -- "$dump$beside" "$new$beside" || return 1
    done
    tell_encrypted >"$run_dir/encrypted.json" || return 1
    jq --slurpfile encrypted "$run_dir/encrypted.json" '.dump += ".age" |
        if .globals then .globals = .dump + ".globals.gz.age" else . end + $encrypted[0]' \
        "$dump.json" >"$new.json" || return 1
}

encrypt_file() { # FILE NEW
    local pipe=$run_dir/rows
    stages=()
    mkfifo "$pipe" || return 1
    stage read "$1" "$pipe" cat
    encrypt_stream "$pipe" "$2"
    if ! all_ended_well "${stages[@]}"; then
        warn "$1 cannot be encrypted: $(why_failed "${stages[@]}")"
        return 1
    fi
    note_encrypted "$2" "$pipe" && rm -f -- "$pipe" "$pipe".*
}

# With the lock that a backup holds: the dump itself comes last, as then it counts.
give_names() { # DUMP NEW
    local beside made=$work/${2##*/}
    await_lock || return 1
    if [[ ! -e $1 ]]; then
        info "$1 went meanwhile"
        return 1
    fi
    if [[ ! -e $2 ]]; then
        for beside in "${companions[@]}" ''; do
            # What lies there without a dump was left by a run that was killed here, and may be this very file.
            [[ ! -e $made$beside ]] ||
                { rm -f -- "$2$beside" && mv --no-target-directory "$made$beside" "$2$beside"; } || return 1
        done
    fi
    # It may have been accepted after the other one was made.
    if [[ -e $1.accepted.json && ! -e $2.accepted.json ]]; then
        cp -- "$1.accepted.json" "$2.accepted.json.part" && sync "$2.accepted.json.part" &&
            mv --no-target-directory "$2.accepted.json.part" "$2.accepted.json" || return 1
    fi
    sync "${2%/*}" || return 1
    move_latest "$1" "$2" || return 1
    forget_plain "$1" || { warn "cannot remove $1, which is encrypted: see its disk"; return 1; }
}

# First its name: without the dump what lies beside it is swept, should this be cut here.
forget_plain() { # DUMP
    mv --no-target-directory "$1" "$1.part" && rm -f -- "${companions[@]/#/$1}" "$1.part"
}

# The link to the newest one: a later dump that is encrypted has one of its own.
move_latest() { # DUMP NEW
    local link suffix
    [[ ${1##*/} =~ ^(.*)_$stamp_regex(\.[a-z.]+)$ ]] || return 1
    prefix=${BASH_REMATCH[1]} suffix=${BASH_REMATCH[2]}
    link=$backup_dir/${prefix}_latest$suffix
    [[ -L $link && $link -ef $1 ]] || return 0
    if [[ ! -e $link.age ]]; then point_latest_to "$2"; fi
    rm -f -- "$link"
}
