# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- Is a dump whole? -----------------------------------------------------------------------------------

# What pg_dump writes last. Newer ones add a line after it: look in the last 4 KB.
readonly trailer='-- PostgreSQL database dump complete'

unpacker=()

choose_unpacker() { # FILE
    case $1 in
        *.sql) unpacker=(cat) ;;
        *.zst) unpacker=(zstd --decompress --quiet --stdout) ;;
        *) if command -v igzip >/dev/null; then unpacker=(igzip -d -c); else unpacker=(gzip -d -c); fi ;;
    esac
}

# The sum of a file, or of all files of a directory with their names.
sha256_of() { # PATH
    if [[ -d $1 ]]; then
        (cd "$1" && find . -type f -print0 | sort --zero-terminated | xargs -0 sha256sum | sha256sum)
    else
        sha256sum <"$1"
    fi | cut -d ' ' -f 1
}

list_rows() { # PATH
    use_tool pg_restore
    if [[ -d $1 ]]; then
        "${tool[@]}" --file=/dev/null "$1"
    else
        "${tool[@]}" --file=/dev/null <"$1"
    fi
}

# Reads all of it. pg_restore finds a cut dump only when it reads the rows too, so they go to /dev/null.
read_through() { # PATH
    local end    # it may hold rows: of an encrypted dump none is written elsewhere
    case $1 in
        *.sql.* | *.sql)
            choose_unpacker "$1"
            end=$("${unpacker[@]}" <"$1" | tail -c 4096 | tr -d '\0') ||
                die "$1 is damaged: take another one, see --list"
            [[ $end == *"$trailer"* ]] ||
                die "$1 is cut short, its last line is missing: take another one, see --list"
            ;;
        *)
            list_rows "$1" 2>"$run_dir/pg_restore.err" ||
                die "$1 is damaged ($(tail -n 1 "$run_dir/pg_restore.err")): take another one, see --list"
            ;;
    esac
}

# A stored dump against its manifest, then as a whole.
verify_dump() { # PATH
    local recorded found
    if is_encrypted "$1"; then
        verify_encrypted "$1"
        return
    fi
    if [[ -e $1.json ]]; then
        recorded=$(json_value "$1.json" sha256)
        found=$(sha256_of "$1")
        [[ $found == "$recorded" ]] ||
            die "$1 is not what was written: its sum is $found, the manifest says $recorded: take another one"
    else
        warn "$1 has no manifest: only its form can be checked"
    fi
    read_through "$1"
}

missing_beside=''    # files beside an encrypted dump that a restore does without, a line each

# One that is encrypted, with what lies beside it: only somebody's identity shows what is in it. A restore does without
# what it need not have, as beside a dump in plain.
verify_encrypted() { # PATH
    local name called
    [[ -e $1.json ]] ||
        die "$1 has no manifest to check it by: age --decrypt opens it by hand, and what comes of it can be restored"
    called=$(json_value "$1.json" dump)
    [[ -z $called || $called == "${1##*/}" ]] ||
        die "$1 has another name than its manifest says: call it $called again, and so what lies beside it"
    while read -r name; do
        if [[ $name == "${1##*/}" || $subject != restore ]] ||
            { (( ${with_roles:-0} )) && [[ $name == *.globals.gz.age ]]; }; then
            die "$name is not what was written, by the sum in its manifest: take another one, see --list"
        fi
        warn "$name is not what was written, by the sum in the manifest: this restore does without it"
        missing_beside+=$name$'\n'
    done < <(damaged_files_of "$1" "$1.json")
}

# Of an encrypted dump's files those that are gone or something else, a name a line.
damaged_files_of() { # DUMP MANIFEST
    local name recorded
    while read -r name recorded _; do
        [[ -f ${1%/*}/$name && $(sha256_of "${1%/*}/$name") == "$recorded" ]] || printf '%s\n' "$name"
    done < <(encrypted_files_of "$1" "$2")
}
