# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- --identity FILE: a dump that lies encrypted is opened for one restore ------------------------------------

identity_file=''    # as it was named; "-": standard input, where root has opened it for the backup user
identity=''         # a secret key of age: it goes through pipes alone
opened=''           # where the dump lies in plain, for as long as this restore takes
sealed=''           # the dump that was named, where another file stands for it

# Root's own file is opened by root; the rest runs as the backup user, who may not read it.
hand_identity_on() { # ARGUMENTS of restore-database.sh...
    local argument before=''
    local -a again=()
    if [[ -z $identity_file || $identity_file == - || $(id -un) == "$backup_user" ]]; then return; fi
    require_identity_file
    for argument in "$@"; do
        if [[ $before == --identity ]]; then argument=-; fi
        again+=("$argument")
        before=$argument
    done
    handed_on=$identity_file
    become_backup_user "${again[@]}"
}

# A file, or a pipe such as <(ssh vault1 ...), by which a key comes to no disk.
require_identity_file() {
    [[ -f $identity_file || -p $identity_file ]] && [[ -r $identity_file ]] ||
        die "--identity $identity_file: there is no such file that $(id -un) can read" "$EXIT_USAGE"
}

read_identity() {
    [[ -n $identity_file ]] || return 0
    if [[ $identity_file == - ]]; then
        identity=$(cat)
        exec </dev/null    # root's file is nobody else's to read
    else
        require_identity_file
        identity=$(cat -- "$identity_file")
    fi
    grep -qE '^AGE-SECRET-KEY-1[0-9A-Z]+' <(printf '%s\n' "$identity") ||
        die "--identity: the file holds no secret key of age (AGE-SECRET-KEY-1...): name a vault's identity, or the \
offline key that make keys has made" "$EXIT_USAGE"
}

# Of a dump in plain there is nothing to open.
open_dump() {
    local free needed name plain to
    if ! is_encrypted "$file"; then
        [[ -z $identity_file ]] || warn "$file lies in plain: --identity is not needed"
        return 0
    fi
    [[ -n $identity ]] || die "$file is encrypted: name the file of a key that opens it, with --identity" "$EXIT_USAGE"
    command -v age >/dev/null || die 'age is missing: install it, as a deploy does' "$EXIT_USAGE"
    step=open
    sweep_opened "$backup_dir"
    free=$(free_bytes "$backup_dir")
    needed=$(( $(size_of "$file") + backup_reserve_mb * 1048576 ))
    (( free >= needed )) || die "$backup_dir has $(human_size "$free") free, and ${file##*/}, opened, needs \
$(human_size "$needed"): make room"
    opened=$(mktemp --directory "$backup_dir/.open.XXXXXX") || die "cannot write in $backup_dir"
    exec 4>"$opened/.lock"
    flock 4    # see sweep_opened
    while read -r name _ plain; do
        if [[ $missing_beside == *"$name"$'\n'* ]]; then continue; fi
        to=$opened/$(opened_name "$name")
        open_file "${file%/*}/$name" "$to"
        [[ $(sha256_of "$to") == "$plain" ]] ||
            die "$name does not hold what was dumped, by the sum in its manifest: take another one, see --list"
    done < <(encrypted_files_of "$file" "$file.json")
    sealed=$file
    file=$opened/$(opened_name "${file##*/}")
    jq "$as_opened" "$sealed.json" >"$file.json"
    step=check
    read_through "$file"
}

open_file() { # PATH NEW
    local why advice='name a key that it was encrypted to, or take another one, see --list'
    age --decrypt --identity <(printf '%s\n' "$identity") <"$1" >"$2" 2>"$run_dir/age.err" && return
    why=$(reason_in "$run_dir/age.err")
    if [[ $why =~ 'no space left'|'disk quota'|'file too large' ]]; then
        advice="make room on the disk of $backup_dir"
    fi
    die "${1##*/} cannot be opened: $why: $advice"
}
