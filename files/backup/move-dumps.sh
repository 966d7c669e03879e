#!/bin/bash
# Move the dumps of $app_name to $backup_dir, from the directory that backup_dir named before.
#
#   move-dumps.sh DIRECTORY
#
# Run as $backup_user or as root. Each dump goes into the tier that it had, with its manifest and what else lies beside
# it: it is whole there, and on the disk, before it goes here, so run this again where it was interrupted. Nothing that
# lies there is overwritten: where it is the same dump it only goes here, and of another one of that name both stay.
#
# Exit codes: 0 done, the directory is empty; 1 failed, run it again; 2 wrong arguments or set-up; 3 done, but what is
# told stays; 75 a backup is at work.
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.

set -Eeuo pipefail
umask 077    # a dump holds every patient's data: private from its first byte
export LC_ALL=C.UTF-8
PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin

here=$(dirname "$(readlink --canonicalize "$0")")
# shellcheck source=lib/base.sh disable=SC2034  # nor many files
. "$here/lib/base.sh"
# shellcheck source=lib/store.sh
. "$here/lib/store.sh"

readonly EXIT_LEFT_UNDONE=3
subject=move
step=look
old=''
staying=()
moved=0
bytes=0

leave() { # PATH REASON
    warn "$1 stays: $2"
    staying+=("$1")
}

# Whose directory it is decides who can have put a link into it: what others may write is not gone through.
require_directory() {
    local place kind
    [[ $old == /* && -d $old && ! -L $old ]] || die "$old is no directory: name it by its whole path" "$EXIT_USAGE"
    [[ -O $old && -z $(find "$old" -maxdepth 0 -perm /022) ]] ||
        die "$old is not $backup_user's alone: no backup of $app_name has made it" "$EXIT_USAGE"
    [[ -d $backup_dir && -w $backup_dir ]] || die "$backup_dir is missing or not ours: deploy again" "$EXIT_USAGE"
    for place in "$old" "$old"/{weekly,monthly,yearly}; do
        for kind in "${tiers[@]}"; do
            [[ ! $place -ef $(tier_dir "$kind") ]] ||
                die "$place is where the $kind dumps are kept now: nothing is to be moved" "$EXIT_USAGE"
        done
    done
}

# A run of before the last deploy may still be at work in the old place.
lock_both() {
    take_lock "$backup_dir/.lock"
    [[ ! -L $old/.lock ]] || die "$old/.lock is a link: see who made it"
    exec 8>>"$old/.lock"
    flock --timeout 2 8 || die "a backup is at work in $old: this one stops" "$EXIT_BUSY"
}

dumps_below() { # DIRECTORY
    local path kind
    for kind in "${suffixes[@]}"; do
        for path in "$1/$app_name"*"$kind"; do
            if is_a_dump "$path" && is_our_name "${path##*/}"; then printf '%s\n' "$path"; fi
        done
    done
}

move_tier() { # TIER
    local from=$old path
    if [[ $1 != daily ]]; then from+=/$1; fi
    [[ -d $from && ! -L $from ]] || return 0
    while IFS= read -r path; do
        mkdir -p "$(tier_dir "$1")"
        move_dump "$path" "$(tier_dir "$1")"
    done < <(dumps_below "$from")
}

# The dump itself comes last and goes last: where it lies, all that belongs to it lies, too.
move_dump() { # DUMP DIRECTORY
    local to=$2/${1##*/} size companion
    if [[ ! -O $1 ]]; then leave "$1" 'somebody else has put it there'; return; fi
    if [[ -e $to || -L $to ]] && ! are_same "$1" "$to"; then leave "$1" "another one lies at $to"; return; fi
    for companion in "${companions[@]}"; do
        if [[ ! -e $to && -e $1$companion && -e $to$companion ]] && ! are_same "$1$companion" "$to$companion"; then
            leave "$1" "another one's $to$companion lies there"
            return
        fi
    done
    size=$(size_of "$1")
    for companion in "${companions[@]}" ''; do copy_anew "$1$companion" "$to$companion"; done
    sync "$2"
    for companion in "${companions[@]}"; do rm -f -- "$1$companion"; done
    mv --no-target-directory "$1" "$1.part"    # a directory of which half is gone has no dump's name
    rm -rf -- "$1.part"
    moved=$(( moved + 1 )) bytes=$(( bytes + size ))
}

are_same() { # PATH PATH
    [[ ! -L $1 && ! -L $2 ]] || return 1
    [[ $1 -ef $2 ]] || diff --recursive --no-dereference --brief "$1" "$2" >/dev/null
}

# A second name of the same file where the file system can, else a copy that has been read again.
copy_anew() { # PATH NEW
    [[ -e $1 && ! -L $1 && ! -e $2 ]] || return 0
    rm -rf -- "$2.part"
    if ! cp --archive --link --no-target-directory -- "$(twin_of "$1")" "$2.part" 2>/dev/null; then
        rm -rf -- "$2.part"
        require_room "$1" "${2%/*}"
        cp --archive --no-target-directory -- "$1" "$2.part" ||
            die "$1 cannot be copied to ${2%/*}: see the reason above, then run this again"
        find "$2.part" -type f -print0 | xargs -0 sync
        are_same "$1" "$2.part" || die "$2.part is not what $1 is: see the disk's health, then run this again"
    fi
    # mv is silent when it leaves an existing file alone: then the old name is still there.
    if ! mv --no-clobber --no-target-directory "$2.part" "$2" || [[ -e $2.part ]]; then
        die "$2 cannot be written: see the reason above, then run this again"
    fi
}

# A monthly or yearly dump is a daily or weekly one by another name: on another disk it becomes that once more.
twin_of() { # DUMP
    local kind twin
    for kind in daily weekly monthly; do
        twin=$(tier_dir "$kind")/${1##*/}
        if [[ -e $twin && ! $1 -nt $twin && ! $1 -ot $twin ]] && are_same "$1" "$twin"; then
            printf '%s' "$twin"
            return
        fi
    done
    printf '%s' "$1"
}

require_room() { # PATH DIRECTORY
    local free needed
    free=$(free_bytes "$2")
    needed=$(( $(size_of "$1") + backup_reserve_mb * 1048576 ))
    (( free >= needed )) || die "$2 has $(human_size "$free") free, and ${1##*/} needs $(human_size "$needed") with \
backup_reserve_mb: make room there, then run this again"
}

# What runs that were killed have left there: the locks are ours, so nobody writes it.
sweep_old() {
    local path
    sweep_opened "$old"
    for path in "$old"/.run.?????? "$old"{,/weekly,/monthly,/yearly}/"$app_name"*.part; do
        [[ ! -L $path && -O $path ]] || continue
        if [[ $path == */.run.?????? ]] || is_our_name "${path##*/}"; then rm -rf -- "$path"; fi
    done
}

# What only we make, and means nothing without the dumps; then what is left is told, if anything.
tidy() {
    local path
    for path in "$old/$app_name"*_latest.*; do
        if [[ -L $path && ! -e $path ]]; then rm -f -- "$path"; fi
    done
    for path in "$old"/{weekly,monthly,yearly}; do
        if [[ -d $path && ! -L $path ]]; then rmdir --ignore-fail-on-non-empty "$path"; fi
    done
    rm -f -- "$old/.lock"
    while IFS= read -r path; do
        if ! is_told "$path"; then leave "$path" 'it is none of these dumps'; fi
    done < <(find "$old" -mindepth 1 \( -samefile "$backup_dir" -print -prune \) -o \
        \( ! -type d -o -empty \) -print | sort | head -n 50)
}

is_told() { # PATH
    local each
    for each in "${staying[@]}"; do
        if [[ $1 == "$each"* ]]; then return; fi
    done
    return 1
}

main() {
    if [[ ${1:-} == --help ]]; then usage; exit 0; fi
    (( $# == 1 )) && [[ $1 != -* ]] || die "one directory is to be named; --help shows it" "$EXIT_USAGE"
    become_backup_user "$@"
    trap 'explain_exit $?' EXIT
    old=$1
    while [[ $old == */ && $old != / ]]; do old=${old%/}; done
    require_directory
    lock_both
    step=move
    local kind
    sweep_old
    for kind in "${tiers[@]}"; do move_tier "$kind"; done
    sync "$old"
    tidy
    info "moved $moved dump(s), $(human_size "$bytes"), from $old to $backup_dir"
    note_done move "$postgres_database" "$old" 0
    (( ${#staying[@]} == 0 )) || exit "$EXIT_LEFT_UNDONE"
}

main "$@"
