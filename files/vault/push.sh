#!/bin/bash
# Keep another copy of what is encrypted here where rclone reaches: object storage, or whatever else it knows.
#
#   push.sh            copy what is new to each target, and have each say what it holds
#   push.sh --check    a line for each target, for a monitoring system
#   push.sh --due      why a run is needed, a line each: what a deploy asks
#   push.sh --warn     what only a person can change at a target, a line each: what a plan shows
#   push.sh --help     this text
#
# Run as root, which its timer does. Nothing is ever removed at a target, and a copy that is there is never
# replaced: how long it keeps what it has, and whether this host's key could delete it, is the target's to say
# (lifecycle rules, versions, Object Lock). What is asked for there, with one small file, stands in --check.
#
# Exit codes: 0 done; 1 at least one target has not everything; 2 wrong arguments or set-up; 75 another run is
# at work. --check: 0 OK, 1 WARNING, 2 CRITICAL.
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.

# shellcheck disable=SC2034  # the backup's parts hold more than is used here
set -Eeuo pipefail
umask 077
export LC_ALL=C.UTF-8
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

here=$(dirname "$(readlink --canonicalize "$0")")
# shellcheck source=/dev/null  # rendered from the settings of the project: vault/push-settings.sh.j2
. "$here/push-settings.sh"
# shellcheck source=../backup/lib/base.sh
. "$here/lib/base.sh"

: "${push_from?}" "${push_parts[@]?}" "${push_below?}" "${push_targets[@]?}" "${push_config?}" "${push_state?}"
: "${push_root_certificate?}"
: "${push_bandwidth_kbit?}" "${push_maximum_age_hours?}"

readonly push_unit=$app_name-push-rclone
# A cut is tried again by rclone, then by the next run; a target that never answers has its turn and no more.
readonly list_limit=268435456    # of bytes: a place that lists without end fills no disk
readonly turn_seconds=21600 look_again_seconds=86400 probe_again_seconds=2592000

subject=push
action=push
work=''
failures=0
target='' place='' key=''    # the one whose turn it is: as it is written, below which directory, its files here

read_arguments() {
    case ${1:-} in
        --help) usage; exit 0 ;;
        --check | --due | --warn) action=${1#--} ;;
        '') ;;
        *) die "unknown argument: $1; --help lists them" "$EXIT_USAGE" ;;
    esac
    (( EUID == 0 )) || die "you are $(id -un): run this as root" "$EXIT_USAGE"
    cd /
}

end_rclone() {
    systemctl stop "$push_unit-*.service" 2>/dev/null || true
    systemctl reset-failed "$push_unit-*.service" 2>/dev/null || true
}

clean_up() {
    local status=$?
    set +e
    trap '' HUP INT TERM
    explain_exit "$status"
    end_rclone
    if [[ -n $work ]]; then rm -rf -- "$work"; fi
    exit "$status"
}

# rclone sees this host read-only, holds no right of root's but to be its files' owner, and ends with its time.
# What it says goes to the journal; the last words are kept.
rclone_() { # ARGUMENTS...
    local -a trust=()
    if [[ -n $push_root_certificate ]]; then trust=(--ca-cert "$push_root_certificate"); fi
    # By a name of its own: systemd may still know the one that has just ended.
    systemd-run --quiet --pipe --wait --collect --unit="$push_unit-$BASHPID-$RANDOM" --service-type=exec \
        --property=ProtectSystem=strict --property=ProtectHome=yes --property=PrivateTmp=yes \
        --property=PrivateDevices=yes --property=NoNewPrivileges=yes --property=CapabilityBoundingSet= \
        --property=MemoryMax=256M --property=RuntimeMaxSec="$turn_seconds" --property=UMask=0077 \
        --setenv=RCLONE_CONFIG="$push_config" --setenv=HOME=/nonexistent --setenv=GOGC=20 -- \
        rclone "${trust[@]}" --contimeout 30s --timeout 5m --retries 3 --low-level-retries 5 --transfers 1 \
        --checkers 4 --buffer-size 0 --use-mmap --s3-upload-concurrency 1 "$@" </dev/null 2>"$work/rclone.err"
}

# Its last error, with its cause, which stands in a line of its own.
said_by_rclone() {
    awk '/^([0-9\/]+ [0-9:]+|<[0-7]>)/ { text = $0
                                sub(/^([0-9\/]+ [0-9:]+ +|<[0-7]>)((ERROR|CRITICAL|NOTICE) *: )?/, "", text)
                                if (text !~ /^Attempt |^ *[0-9.]+ [kMGTP]?i?B \/ /) said = text; next }
         /^caused by: / { said = said " (" $0 ")"; next }
         /./ && said == "" { said = $0 }
         END { print said == "" ? "rclone gave no reason" : said }' "$work/rclone.err" | plain_text | cut -c 1-400
}

# --- What is here, and what of it a target has -------------------------------------------------------------

# Every file by its path, size and time, a line each. Those that stay as they are come first in the order in
# which they count: the data, then what tells of them.
list_here() {
    local part
    for part in "${push_parts[@]}"; do
        [[ -d $push_from/$part ]] || continue
        find "$push_from/$part" -type f \( -name '*.age' -o -name '*.manifest.json' -o -name '*.manifest.json.sig' \
            -o -name '*.proof.json' -o -name '*.accepted.json' \) -printf "$part/%P\t%s\t%T@\n"
    done | LC_ALL=C sort
}

# A verdict may come to be another, and sealed secrets are sealed anew. Anything else is never replaced.
may_change='\.(proof|accepted)\.json$|^secrets/'
data='^(store|daily|weekly)/.*\.age$'

# Paths of this list that no run has brought to the target as they are now.
new_here() {
    LC_ALL=C comm -23 "$work/here" <(cat "$key.has" 2>/dev/null || true) | cut -f 1
}

bring() { # WHICH PATHS (grep's options), RCLONE'S OPTIONS...
    local -a which=()
    while [[ $1 != -- ]]; do which+=("$1"); shift; done
    shift
    grep -E "${which[@]}" "$work/new" >"$work/files" || true
    [[ -s $work/files ]] || return 0
    # One of them alone at first: a place that takes nothing says so of one, and not many times of each of thousands.
    head -n 1 "$work/files" >"$work/first"
    copy_listed "$work/first" "$@" && copy_listed "$work/files" "$@"
}

copy_listed() { # LIST, RCLONE'S OPTIONS...
    rclone_ copy "$push_from" "$place" --files-from-raw "$1" --no-traverse \
        --bwlimit "${push_bandwidth}" --stats 60s --stats-one-line --stats-log-level NOTICE "${@:2}"
}

# What the target says that it has is compared, by sum where it knows sums: an answer is no copy yet. Of what has lain
# there before, and is another file under the same name (encrypted anew here, or of a vault that was lost), FILLS
# $work/others.
is_there() {
    : >"$work/others"
    if rclone_ check "$push_from" "$place" --files-from-raw "$work/new" --one-way --combined - >"$work/compared"; then
        return
    fi
    sed -n 's/^[*] //p' "$work/compared" | LC_ALL=C sort >"$work/others"
    [[ -s $work/others ]] && ! grep -qv '^[=*] ' "$work/compared" && ! grep -qE "$may_change" "$work/others"
}

# Somebody may have removed at the target what was brought there.
still_there() {
    local last
    [[ -e $key.has ]] || return 0    # until all was there once, nothing of it can be gone
    last=$(stat -c %Y "$key.looked" 2>/dev/null || printf 0)
    (( $(date +%s) - last >= look_again_seconds )) || return 0
    cut -f 1 "$key.has" | LC_ALL=C sort >"$work/known"
    [[ -s $work/known ]] || return 0
    rclone_ lsf "$place" --recursive --files-only | head -c "$list_limit" >"$work/listed" || return 1
    LC_ALL=C sort "$work/listed" | LC_ALL=C comm -23 "$work/known" - |
        LC_ALL=C join -t $'\t' - <(cut -f 1 "$work/here" | LC_ALL=C sort) >"$work/gone" || true
    touch "$key.looked"
    [[ -s $work/gone ]] || return 0
    lost "$(wc -l <"$work/gone") copies that were there are gone, such as $(head -n 1 "$work/gone"): \
see who removed them; they are brought there again"
    cp -- "$key.failed.part" "$key.gone"    # the next run has them there again: this stays in --check for a week
    LC_ALL=C join -t $'\t' -v 1 "$key.has" "$work/gone" >"$key.has.part"
    mv -- "$key.has.part" "$key.has"
}

# --- One target ----------------------------------------------------------------------------------------------

lost() { # MESSAGE
    failures=$(( failures + 1 ))
    log ERROR "$target: $1"
    printf '%s\n' "${1//[[:cntrl:]]/ }" >>"$key.failed.part"
}

# What the run before has told stays until this one has an end: one that is at work has proven nothing yet.
push_in_turn() {
    rm -f -- "$key.failed.part"
    push_to
    if [[ -e $key.failed.part ]]; then mv -- "$key.failed.part" "$key.failed"; else rm -f -- "$key.failed"; fi
}

push_to() {
    list_here >"$work/here"
    : >"$work/others"
    step=look
    still_there || { lost "what it has cannot be listed: $(said_by_rclone)"; return 0; }
    new_here >"$work/new"
    step=copy
    if [[ -s $work/new ]]; then
        info "$target: $(wc -l <"$work/new") file(s) are new here"
        # What a vault has found wanting before its signature, without which it counts for nothing.
        if ! bring -e "$data" -- --ignore-existing || ! bring -e "$may_change" -- ||
            ! bring -v -e "$may_change|$data" -- --ignore-existing; then
            lost "not everything was copied: $(said_by_rclone)"
            return 0
        fi
        step=check
        if ! is_there; then
            lost "it has not what was copied there: $(said_by_rclone)"
            return 0
        fi
    fi
    write_has
    if [[ -s $work/others ]]; then
        lost "$(wc -l <"$work/others") file(s) there are others than here, such as $(head -n 1 "$work/others"), and \
were not replaced: to have all there, name another directory in backup_offsite"
    fi
    step=probe
    probe
    info "$target: has $(wc -l <"$key.has") of the $(wc -l <"$work/here") file(s) that are here"
}

write_has() {
    LC_ALL=C join -t $'\t' -v 1 "$work/here" "$work/others" >"$key.has.part"
    sync "$key.has.part"
    mv -- "$key.has.part" "$key.has"
}

# --- Whether a copy there could be deleted with this host's key -----------------------------------------------

# A bucket with versions lets a name be deleted and keeps what it held: so the *version* is tried. What is tried
# on is one small file of its own, of which, when all is well, a version stays for ever.
probe() {
    local last
    last=$(stat -c %Y "$key.probe" 2>/dev/null || printf 0)
    (( $(date +%s) - last >= probe_again_seconds )) || return 0
    printf 'Tries whether this could be deleted with the key that brought it here.\n' >"$work/probe"
    if ! rclone_ copyto "$work/probe" "${place}probe"; then
        lost "a small file cannot be written there: $(said_by_rclone)"
    elif ! rclone_ deletefile "${place}probe"; then
        probe_refused 'nothing there can be deleted with the key of this host'
    elif ! rclone_ lsf --s3-versions --files-only --include '/probe-v*' "$place" >"$work/versions"; then
        lost "its versions cannot be listed: $(said_by_rclone)"
    elif [[ ! -s $work/versions ]]; then
        note_probe open 'it keeps no versions: whoever has the key of this host can delete every copy'
    elif rclone_ delete --s3-versions --include '/probe-v*' "$place"; then
        note_probe open 'versions there can be deleted with the key of this host: Object Lock is not on by default'
    else
        probe_refused 'versions there cannot be deleted with the key of this host'
    fi
}

# Any other failure says nothing about what the key may do.
probe_refused() { # MESSAGE
    if grep -qiE 'access ?denied|status code: 403|forbidden|permission denied' "$work/rclone.err"; then
        note_probe held "$1"
    else
        lost "whether it can be deleted there is not known: $(said_by_rclone)"
    fi
}

note_probe() { # held | open, MESSAGE
    printf '%s %s\n' "$1" "$2" >"$key.probe.part"
    mv -- "$key.probe.part" "$key.probe"
    info "$target: $2"
}

# --- What is told --------------------------------------------------------------------------------------------

check_one() {
    local code=0 word=OK what newest
    newest=$(stat -c %Y "$key.has" 2>/dev/null || printf 0)
    if (( newest == 0 )); then
        word=CRITICAL code=2 what="it has not had everything yet"
        if [[ -e $key.failed ]]; then what+=": $(paste --serial --delimiters ';' "$key.failed")"; fi
    elif (( $(date +%s) - newest > push_maximum_age_hours * 3600 )); then
        word=CRITICAL code=2 what="it has had everything last on $(date --date="@$newest" +'%F %H:%M')"
    elif [[ -e $key.failed ]]; then
        word=WARNING code=1 what=$(paste --serial --delimiters ';' "$key.failed")
    elif [[ -n $(find "$key.gone" -mtime -7 2>/dev/null) ]]; then
        word=WARNING code=1 what="$(date --reference="$key.gone" +%F): $(paste --serial --delimiters ';' "$key.gone")"
    else
        what="has all that is here, $(wc -l <"$key.has") file(s)"
    fi
    if [[ $word == OK && $(head -c 4 "$key.probe" 2>/dev/null) == open ]]; then word=WARNING code=1; fi
    what+=$(sed -nE '1s/^(held|open) /; /p' "$key.probe" 2>/dev/null || true)
    printf '%s: %s: %s\n' "$word" "$target" "$what"
    if (( code > worst )); then worst=$code; fi
}

worst=0

due_one() {
    if [[ ! -e $key.has ]]; then printf '%s has no copy of anything here yet\n' "$target"; fi
}

warn_one() {
    if [[ $(head -c 4 "$key.probe" 2>/dev/null) == open ]]; then
        printf '%s: %s\n' "$target" "$(sed -nE '1s/^open //p' "$key.probe")"
    fi
}

each_target() { # FUNCTION
    for target in "${push_targets[@]}"; do
        place=${target%/}
        if [[ $place != *: ]]; then place+=/; fi
        place+=$push_below
        key=$push_state/$(sha256sum <<<"$target" | head -c 16)
        "$1"
    done
}

push() {
    trap clean_up EXIT
    command -v rclone >/dev/null || die 'rclone is missing: deploy again' "$EXIT_USAGE"
    take_lock "$push_state/.lock"
    end_rclone
    rm -rf -- "$push_state"/.run.*
    work=$(mktemp --directory "$push_state/.run.XXXXXX")
    each_target push_in_turn
    (( failures == 0 )) || die "$failures failure(s): see push.sh --check"
}

main() {
    read_arguments "$@"
    push_bandwidth=off
    if (( push_bandwidth_kbit > 0 )); then push_bandwidth=$(( (push_bandwidth_kbit + 7) / 8 ))k; fi
    case $action in
        push) push ;;
        check) each_target check_one; return "$worst" ;;
        due) each_target due_one ;;
        warn) each_target warn_one ;;
    esac
}

main "$@"
