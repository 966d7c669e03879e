# shellcheck shell=bash
# A part of the backup scripts. Managed by the project that deploys this host.
# --- Dumps that lie encrypted (backup_encrypt_local): to public keys alone, from their first byte --------------

recipients=()    # who is to open what is made from now on: public keys of age
to_be_encrypted=$backup_encrypt_local    # or a deploy is about to set it

use_recipients() {
    if (( backup_encrypt_local && ${#recipients[@]} == 0 )) && [[ -r $backup_recipients_file ]]; then
        mapfile -t recipients < <(grep '^age1' "$backup_recipients_file")
    fi
}

# Read once: a deploy may change them while a dump is made, and one key is to open all of it.
require_recipients() {
    (( backup_encrypt_local )) || return 0
    command -v age >/dev/null || die 'age is missing: install it, as a deploy does' "$EXIT_USAGE"
    use_recipients
    (( ${#recipients[@]} > 0 )) ||
        die "$backup_recipients_file names no key to encrypt dumps to: deploy again" "$EXIT_USAGE"
    printf '%s\n' "${recipients[@]}" >"$run_dir/recipients"
    : >"$run_dir/encrypted"
}

# How a file ends that holds secrets: beside the dump, whose own ending says it already.
encrypted_ending() {
    if (( backup_encrypt_local )); then printf .age; fi
}

encrypting() {
    printf '%s\n' age --encrypt --recipients-file "$run_dir/recipients"
}

# Between a pipe and the disk: stages that encrypt what comes, with both sums taken on the way. What "write" gets is the
# only thing that the disk does. A command after FILE looks at what passes, and its output lies in $run_dir/looked.
encrypt_stream() { # PIPE FILE.part [COMMAND...]
    local input=$1 file=$2 look=''
    local -a age
    mapfile -t age < <(encrypting)
    shift 2
    mkfifo "$input".{plain,copy,encrypting,sealed}
    if (( $# > 0 )); then
        look=$input.look
        mkfifo "$look"
    fi
    # It writes into pipes alone: where it loses a reader, that one is to blame.
    stages+=(spread)
    start_spreading spread "$input" "$input.plain" "$input.copy" "$look" perl -e "$spread_program" -- - 3 ${look:+4}
    stage age "$input.plain" "$input.encrypting" "${gently[@]}" "${age[@]}"
    stage write "$input.encrypting" "$input.sealed" perl -e "$spread_program" -- - "$file"
    # After those whose end would cut it short.
    if (( $# > 0 )); then stage look "$look" "$run_dir/looked" "${gently[@]}" "$@"; fi
    stage sha256sum "$input.copy" "$input.plain_sum" sha256sum
    stage sum "$input.sealed" "$input.own_sum" sha256sum
}

# What is read of a dump in plain after it was written is read here as it passes.
encrypt_dump() { # PART
    local -a look=(tail -c 4)
    case $backup_format in
        plain-zstd) look=(zstd --test --quiet) ;;
        custom) use_tool pg_restore; look=("${tool[@]}" --file=/dev/null) ;;
    esac
    encrypt_stream "$run_dir/packed" "$1" "${look[@]}"
}

# Standard input, a small one, as a file: in plain, or encrypted with both sums noted. What was said is in keep.err.
keep() { # FILE.part
    local -a age
    if (( ! backup_encrypt_local )); then
        cat >"$1" 2>"$run_dir/keep.err"
        return
    fi
    mapfile -t age < <(encrypting)
    { tee /dev/fd/3 | sha256sum >"$run_dir/keep.plain_sum"; } 3>&1 >/dev/null |
        "${age[@]}" 2>"$run_dir/keep.err" | tee --output-error=exit "$1" 2>>"$run_dir/keep.err" |
        sha256sum >"$run_dir/keep.own_sum" || return 1
    note_encrypted "$1" "$run_dir/keep"
}

# For the manifest: NAME, its own sum, the sum of what is in it. The last two were taken on its way.
note_encrypted() { # FILE.part, PIPE
    local name=${1##*/} own plain
    read -r own _ <"$2.own_sum" && read -r plain _ <"$2.plain_sum" || return 1
    printf '%s %s %s\n' "${name%.part}" "$own" "$plain" >>"$run_dir/encrypted"
}

# What the manifest says of it: which files, and for whom. Nothing where dumps lie in plain.
tell_encrypted() {
    (( backup_encrypt_local )) || return 0
    jq --null-input --rawfile files "$run_dir/encrypted" '{recipients: $ARGS.positional,
        encrypted: [$files | split("\n")[:-1][] | split(" ") | {name: .[0], sha256: .[1], plain_sha256: .[2]}]}' \
        --args "${recipients[@]}"
}

# Whether everybody who is to open the newest dump of a tier can: what was made before stays as it is, and another is
# made. A weekly one that is suspect lies among the daily ones.
check_recipients_of() { # PREFIX TIER
    local newest path
    (( ${#recipients[@]} > 0 )) || return 0
    newest=$(dumps_in "$2" "$1" | with_manifest | that_are_past | sed -n 1p)
    [[ -n $newest ]] || return 0
    if ! is_encrypted "$newest"; then
        if [[ $2 == daily ]] && (( to_be_encrypted )); then
            find_out 1 "$1: ${newest##*/} lies in plain, though dumps are to be encrypted" "$2"
        fi
    elif ! opens_to_all "$newest"; then
        if [[ $2 == weekly ]]; then
            while read -r path; do
                [[ $(stamp_of "$path") > $(stamp_of "$newest") ]] || break
                if [[ $(json_value "$path.json" tier) == weekly ]] && opens_to_all "$path"; then return 0; fi
            done < <(dumps_in daily "$1")
        fi
        find_out 1 "$1: ${newest##*/} is encrypted to other keys than it should be" "$2"
    fi
}

opens_to_all() { # ENCRYPTED DUMP
    # shellcheck disable=SC2016  # jq's own names
    jq --exit-status '$ARGS.positional - (.recipients // []) == []' "$1.json" \
        --args "${recipients[@]}" >/dev/null 2>&1
}
