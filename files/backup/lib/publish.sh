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
    if [[ $backup_format == plain* ]]; then
        bytes=$(head -n 1 "$run_dir/noted")
        grep -qF -- "$trailer" "$run_dir/noted" ||
            die "the dump is cut short: its last line, \"$trailer\", is missing. Run this again"
    fi
    case $backup_format in
        plain)
            # The last four bytes of a .gz are the length of what is inside, modulo 2^32.
            packed_bytes=$(tail -c 4 "$1" | od -A n -t u4)
            (( packed_bytes == bytes % 4294967296 )) ||
                die "$1 has $packed_bytes bytes where pg_dump wrote $bytes: see the disk's health, then retry"
            ;;
        plain-zstd)
            zstd --test --quiet "$1" || die "$1 is damaged: see the disk's health, then run this again" ;;
        custom)
            read_through "$1" ;;
        directory)
            # pg_dump itself flushed each file and wrote the table of contents last; reading all of them again
            # would take longer than the dump.
            use_tool pg_restore
            "${tool[@]}" --list "$1" >/dev/null || die "$1 has no table of contents: run this again" ;;
    esac
    # The sum was taken on the way: reading the file back now would only show the kernel's copy of it.
    # --verify and the restore test read it from the disk.
    if [[ -d $1 ]]; then sum=$(sha256_of "$1"); else sum=$(cut -d ' ' -f 1 "$run_dir/sha256"); fi
}

# Gives the dump its final name, in an order that leaves all or nothing wherever the power is cut: first the
# contents are on the disk, then what accompanies the dump is there, then its own name, then the link.
publish() { # FINAL
    local final=$1 companion kind
    local link=$backup_dir/${prefix}_latest$backup_suffix
    find "$final.part" "$final".*.part -type f -print0 | xargs -0 sync ||
        die "cannot write $final.part to the disk: $(advice_for 'No space left')"
    ln -sfn "${final#"$backup_dir"/}" "$link.part" ||
        die "cannot prepare $link: $(advice_for 'No space left')"
    for companion in "$final".*.part; do
        rename_anew "$companion" "${companion%.part}"
    done
    rename_anew "$final.part" "$final"
    sync "${final%/*}" || die "cannot write ${final%/*} to the disk: see the disk's health"
    trap '' HUP INT TERM    # between these two a signal would take away what `latest` points to
    # What is suspect takes no good one's place.
    if [[ -n $suspicion ]]; then
        rm -f -- "$link.part"
    else
        keep_others_latest "$link"
        mv --no-target-directory "$link.part" "$link" ||
            die "cannot point $link to the new dump: see who else writes in $backup_dir"
    fi
    published=$final
    stop_on_signals
    for kind in "${suffixes[@]}"; do
        if [[ $kind != "$backup_suffix" && -z $suspicion && -L $backup_dir/${prefix}_latest$kind ]]; then
            rm -f -- "$backup_dir/${prefix}_latest$kind"
        fi
    done
    sync "$backup_dir" || warn "cannot write $backup_dir to the disk: see the disk's health"
}

# Ours is a link. What is none is somebody's dump.
keep_others_latest() { # LINK
    if [[ -e $1 && ! -L $1 ]]; then
        rename_anew "$1" "$backup_dir/${prefix}_was_latest_${final##*_}"
        info "$1 was a file of somebody's, and is ${prefix}_was_latest_${final##*_} now"
    fi
}

rename_anew() { # OLD NEW
    # mv is silent when it leaves an existing file alone: then the old name is still there.
    if ! mv --no-clobber --no-target-directory "$1" "$2" || [[ -e $1 ]]; then
        die "cannot publish $2: see the reason above, then run this again"
    fi
}

# What a run that failed has made, under whichever name.
unpublish() { # FINAL
    if [[ -n $1 && $1 != "$published" ]]; then rm -rf -- "$1" "$1".*; fi
    rm -f -- "$backup_dir/${prefix}_latest$backup_suffix.part"
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
        if compgen -G "$directory/${prefix}_$period-*" >/dev/null; then continue; fi
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
    for path in "$1".json "$1".accepted.json "$1".properties.json "$1".globals.gz "$1"; do
        [[ -e $path ]] || continue
        # Where that directory is another disk, it is a copy.
        cp --archive --link "$path" "$2/${path##*/}.part" 2>/dev/null ||
            { rm -rf -- "$2/${path##*/}.part" && cp --archive "$path" "$2/${path##*/}.part"; } || return 1
        mv --no-target-directory "$2/${path##*/}.part" "$2/${path##*/}" || return 1
    done
    sync "$2"
}

# The longer ending first: a verdict's name ends like a manifest's.
readonly companions=(.restore-test.json .accepted.json .properties.json .globals.gz .json)

# Left behind by runs that were killed. The lock is ours, so nobody is writing them.
sweep() {
    local path companion
    for path in "$backup_dir"/.run.* "$backup_dir"/*.part "$backup_dir"/*/*.part; do
        [[ -e $path || -L $path ]] || continue
        [[ ${path##*/} == .run.* || ${path##*/} == "$app_name"* ]] || continue
        rm -rf -- "$path" || die "cannot remove $path: remove it by hand"
        info "removed ${path##*/}, left by an interrupted run"
    done
    for path in "$backup_dir"/{,*/}"$app_name"*{.json,.globals.gz}; do
        for companion in "${companions[@]}"; do
            [[ $path == *"$companion" ]] || continue
            if [[ $path =~ _$stamp_regex\. && ! -e ${path%"$companion"} ]]; then
                rm -f -- "$path" || warn "cannot remove $path, whose dump is gone: remove it by hand"
            fi
            break
        done
    done
}
