# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- Publication: all or nothing ----------------------------------------------------------------------

# In the hour that autumn repeats, or twice in one second, a name is taken already: then the next free one.
free_stamp() { # DIRECTORY
    local stamp seconds
    stamp=$began_clock    # when the run began, however long it took until here
    seconds=$(seconds_of "$stamp")
    for _ in {1..600}; do
        if ! compgen -G "$1/${prefix}_$stamp*" >/dev/null; then
            printf '%s' "$stamp"
            return
        fi
        seconds=$(( seconds + 1 ))
        stamp=$(stamp_at "$seconds")
    done
    return 1
}

# Before it gets its name: the end that only a complete dump has, in the stream and in the file.
check_part() { # PART
    local bytes packed_bytes
    if (( backup_encrypt_local )); then note_encrypted "$1" "$run_dir/packed"; fi
    if [[ $backup_format == plain* ]]; then
        bytes=$(head -n 1 "$run_dir/noted")
        grep -qF -- "$trailer" "$run_dir/noted" ||
            die "the dump is cut short: its last line, \"$trailer\", is missing. Run this again"
    fi
    case $backup_format in
        plain)
            # The last four bytes of a .gz are the length of what is inside, modulo 2^32.
            packed_bytes=$(last_four "$1" | od -A n -t u4)
            (( packed_bytes == bytes % 4294967296 )) ||
                die "$1 has $packed_bytes bytes where pg_dump wrote $bytes: see the disk's health, then retry"
            ;;
        # What is encrypted has been read on its way: see `dump_to`.
        plain-zstd)
            (( backup_encrypt_local )) || zstd --test --quiet "$1" ||
                die "$1 is damaged: see the disk's health, then run this again" ;;
        custom)
            (( backup_encrypt_local )) || read_through "$1" ;;
        directory)
            # pg_dump itself flushed each file and wrote the table of contents last; reading all of them again
            # would take longer than the dump.
            use_tool pg_restore
            "${tool[@]}" --list "$1" >/dev/null || die "$1 has no table of contents: run this again" ;;
    esac
    # The sum was taken on the way: reading the file back now would only show the kernel's copy of it.
    # --verify and the restore test read it from the disk.
    if [[ -d $1 ]]; then sum=$(sha256_of "$1"); else sum=$(cut -d ' ' -f 1 "$run_dir/packed.plain_sum"); fi
}

last_four() { # PART
    if (( backup_encrypt_local )); then cat "$run_dir/looked"; else tail -c 4 "$1"; fi
}

# Gives the dump its final name, in an order that leaves all or nothing wherever the power is cut: first the
# contents are on the disk, then what accompanies the dump is there, then its own name, then the link.
publish() { # FINAL
    local final=$1 part
    local link=$backup_dir/${prefix}_latest$backup_suffix
    local -a parts
    mapfile -t parts < <(parts_beside "$final")
    find "$final.part" "${parts[@]}" -type f -print0 | xargs -0 sync ||
        die "cannot write $final.part to the disk: $(advice_for 'No space left')"
    ln -sfn "${final#"$backup_dir"/}" "$link.part" ||
        die "cannot prepare $link: $(advice_for 'No space left')"
    for part in "${parts[@]}"; do rename_anew "$part" "${part%.part}"; done
    rename_anew "$final.part" "$final"
    sync "${final%/*}" || die "cannot write ${final%/*} to the disk: see the disk's health"
    trap '' HUP INT TERM    # between these two a signal would take away what `latest` points to
    # What is suspect takes no good one's place.
    if [[ -n $suspicion ]]; then
        rm -f -- "$link.part"
    elif [[ -e $link && ! -L $link ]]; then
        rm -f -- "$link.part"
        leave_undone "$link is no link of ours and stays: move it away, then run this again"
    else
        mv --no-target-directory "$link.part" "$link" ||
            die "cannot point $link to the new dump: see who else writes in $backup_dir"
    fi
    published=$final
    stop_on_signals
    if [[ -z $suspicion ]]; then remove_other_links "$backup_suffix"; fi
    sync "$backup_dir" || warn "cannot write $backup_dir to the disk: see the disk's health"
}

# To dumps of another format, or from before they were encrypted: the newest one is one alone.
remove_other_links() { # SUFFIX
    local kind
    for kind in "${suffixes[@]}"; do
        if [[ $kind != "$1" && -L $backup_dir/${prefix}_latest$kind ]]; then
            rm -f -- "$backup_dir/${prefix}_latest$kind"
        fi
    done
}

rename_anew() { # OLD NEW
    # mv is silent when it leaves an existing file alone: then the old name is still there.
    if ! mv --no-clobber --no-target-directory "$1" "$2" || [[ -e $1 ]]; then
        die "cannot publish $2: see the reason above, then run this again"
    fi
}

# What a run that failed has made, under whichever name.
unpublish() { # FINAL
    local companion
    if [[ -n $1 && $1 != "$published" ]]; then
        for companion in "${companions[@]}"; do rm -f -- "$1$companion" "$1$companion.part"; done
        rm -rf -- "$1" "$1.part"
    fi
    rm -f -- "$backup_dir/${prefix}_latest$backup_suffix.part"
}

# What lies beside a dump that is being made, one path a line.
parts_beside() { # FINAL
    local companion
    for companion in "${companions[@]}"; do
        if [[ -e $1$companion.part ]]; then printf '%s\n' "$1$companion.part"; fi
    done
}

# The first dump of a month and of a year is also one of those tiers: the same file, by a second name.
promote() { # DUMP
    local kind directory stamp period
    load_suspicions "$1"
    [[ ${json[$1.json empty]:-} != true ]] || return 0    # of no use to anybody in a year
    stamp=$(stamp_of "$1")
    for kind in monthly yearly; do
        (( $(days_of "$kind") > 0 )) || continue
        directory=$(tier_dir "$kind")
        period=${stamp%%-*}
        if [[ $kind == monthly ]]; then period=${stamp:0:7}; fi
        [[ $(dumps_in "$kind" "$prefix") != *"/${prefix}_$period-"* ]] || continue
        if ! mkdir -p "$directory" || ! copy_linked "$1" "$directory"; then
            rm -rf -- "$directory/${1##*/}".part
            leave_undone "it cannot be kept in $directory"
            continue
        fi
        info "also kept as the $kind dump"
    done
}

copy_linked() { # DUMP DIRECTORY
    local path
    for path in "${companions[@]/#/$1}" "$1"; do
        [[ -e $path && $path != *.restore-test.json ]] || continue
        # Where that directory is another disk, it is a copy.
        cp --archive --link "$path" "$2/${path##*/}.part" 2>/dev/null ||
            { rm -rf -- "$2/${path##*/}.part" && cp --archive "$path" "$2/${path##*/}.part" &&
                find "$2/${path##*/}.part" -type f -exec sync {} +; } || return 1
        mv --no-target-directory "$2/${path##*/}.part" "$2/${path##*/}" || return 1
    done
    sync "$2"
}

# Left behind by runs that were killed. The lock is ours, so nobody is writing them. A name is looked at as a
# whole, and so is the owner: what others have put there is theirs.
sweep() {
    local path kind
    for path in "$backup_dir"/.run.??????; do
        if [[ -d $path && ! -L $path && -O $path ]]; then sweep_away "$path"; fi
    done
    sweep_opened "$backup_dir"
    for path in "$backup_dir"/*_latest.*.part; do
        if [[ -L $path ]]; then sweep_away "$path"; fi
    done
    for kind in "${tiers[@]}"; do
        for path in "$(tier_dir "$kind")/$app_name"*.part; do
            if [[ ! -L $path && -O $path ]] && is_our_name "${path##*/}"; then sweep_away "$path"; fi
        done
        for path in "$(tier_dir "$kind")/$app_name"*{.json,.globals.gz,.age}; do
            if is_left_over "$path"; then
                rm -f -- "$path" || warn "cannot remove $path, whose dump is gone: remove it by hand"
            fi
        done
    done
}

sweep_away() { # PATH
    rm -rf -- "$1" || die "cannot remove $1: remove it by hand"
    info "removed ${1##*/}, left by an interrupted run"
}

# Whether it lay beside a dump that is gone.
is_left_over() { # PATH
    local companion
    [[ -f $1 && ! -L $1 && -O $1 ]] && is_our_name "${1##*/}" || return 1
    for companion in "${companions[@]}"; do
        if [[ $1 == *"$companion" ]]; then
            [[ ! -e ${1%"$companion"} && ! -L ${1%"$companion"} ]]    # a link's disk may only be away
            return
        fi
    done
    return 1
}
