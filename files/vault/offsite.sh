#!/bin/bash
# Prepare what leaves this host: an encrypted copy of each good dump of $app_name, for the vaults to fetch.
#
#   offsite.sh             encrypt what is new into $outbox, remove what may go
#   offsite.sh --check     one line for a monitoring system
#   offsite.sh --due [KEY...]   why a run is needed, a line each: what a deploy asks, who is about to write
#                          these keys as the recipients
#   offsite.sh --help      this text
#
# Run as root, which its timer does. Nothing lies in $outbox in plain text but the manifests, which hold
# names, sizes and sums. Each dump is a few files, TIER/DUMP...age, and last of all TIER/DUMP.manifest.json:
# what has no manifest is not there yet. A copy goes $outbox_days days after every vault has read it to its
# end, at the latest with its dump; the newest of each database and tier stays, and is made anew when somebody
# new is to open it: a vault that was added proves it at once.
#
# Exit codes: 0 done; 1 at least one dump could not be copied; 2 wrong arguments or set-up; 75 another run
# is at work. --check: 0 OK, 2 CRITICAL.
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.

# shellcheck disable=SC2034  # the backup's parts hold more than is used here
set -Eeuo pipefail
umask 077
export LC_ALL=C.UTF-8
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

here=$(dirname "$(readlink --canonicalize "$0")")
# shellcheck source=/dev/null  # rendered from the settings of the project: vault/outbox-settings.sh.j2
. "$here/outbox-settings.sh"
# shellcheck source=../backup/lib/base.sh
. "$here/lib/base.sh"
# shellcheck source=../backup/lib/store.sh
. "$here/lib/store.sh"
# shellcheck source=../backup/lib/encrypted.sh
. "$here/lib/encrypted.sh"

subject=offsite
action=copy
work=''
failures=0
recipients=()

: "${source_name?}" "${outbox?}" "${outbox_work?}" "${outbox_group?}" "${outbox_days?}"
: "${recipients_file?}" "${vault_accounts[@]?}"

read_arguments() {
    case ${1:-} in
        --help) usage; exit 0 ;;
        --check) action=check ;;
        --due) action=due; recipients=("${@:2}") ;;
        '') ;;
        *) die "unknown argument: $1; --help lists them" "$EXIT_USAGE" ;;
    esac
    (( EUID == 0 )) || die "you are $(id -un): run this as root" "$EXIT_USAGE"
    cd /    # the owner of the dumps may not enter root's directories
    if (( ${#recipients[@]} == 0 )); then mapfile -t recipients < <(grep '^age1' "$recipients_file"); fi
}

clean_up() {
    local status=$?
    trap '' HUP INT TERM
    explain_exit "$status"
    if [[ -n $work ]]; then rm -rf -- "$work"; fi
    exit "$status"
}

# The dumps are another user's, who may put anything in their place: root reads them with that user's rights.
as_owner() { # COMMAND...
    setpriv --reuid "$backup_user" --regid "$backup_user" --init-groups -- "$@"
}

# Every dump of ours with a manifest, as "TIER NAME", the newest first. Its name is checked letter by letter, and what
# is neither file nor directory is none: a pipe would be waited for.
local_dumps() {
    local kind path
    for kind in daily weekly; do
        while read -r path; do
            if [[ -f $path.json ]]; then
                path=${path##*/}
                printf '%s %s\n' "$kind" "${path%.age}"
            fi
        done < <(as_owner find "$(tier_dir "$kind")" -maxdepth 1 -type f,d -name "$app_name*" |
            grep -E "/$app_name(-[A-Za-z0-9.%-]+)?_$stamp_regex(\.sql\.gz|\.sql\.zst|\.dump|\.dir|\
\.sql\.gz\.age|\.sql\.zst\.age|\.dump\.age)\$")
    done | sort --reverse --key=2 | uniq
}

# Where it lies: a dump that is encrypted on this host has its name and .age, and goes to the vaults as it is.
path_of() { # TIER NAME
    local path
    path=$(tier_dir "$1")/$2
    if as_owner test -f "$path.age" -a -f "$path.age.json"; then path+=.age; fi
    printf '%s' "$path"
}

# One pass through pipes, however large the file: both sums are taken on the way. What came of it is a line of
# $work/files: its name, the copy's bytes and sum, its own sum.
seal() { # NAME, PATH
    local copy sum plain sealed well=0
    exec {copy}> >(exec sha256sum >"$work/plain.sum")
    sum=$!
    plain_stream "$2" 3>&"$copy" | age --encrypt --recipients-file "$recipients_file" |
        perl -e "$spread_program" -- - "$work/$1.age" | sha256sum >"$work/sealed.sum" || well=1
    exec {copy}>&-
    wait "$sum" && (( well == 0 )) || return 1
    read -r plain _ <"$work/plain.sum" && read -r sealed _ <"$work/sealed.sum" || return 1
    printf '%s %s %s %s\n' "$1" "$(stat -c %s "$work/$1.age")" "$sealed" "$plain" >>"$work/files" || return 1
    rm -f -- "$work"/{plain,sealed}.sum
}

# To standard output and to descriptor 3.
plain_stream() { # PATH
    if [[ $1 == *.dir ]]; then
        # The same files make the same archive, also on the host that they were recovered to.
        as_owner tar --create --sort=name --owner=0 --group=0 --numeric-owner \
            --directory "${1%/*}" -- "${1##*/}" | perl -e "$spread_program" -- - 3
    elif [[ $1 == "$work"/* ]]; then
        perl -e "$spread_program" -- "$1" 3    # made here
    else
        as_owner perl -e "$spread_program" -- "$1" 3
    fi
}

# All of a dump's files, then its manifest, and only then any of them in the outbox.
copy_dump() { # TIER NAME
    local kind=$1 name=$2 path companion sealed writing
    path=$(path_of "$kind" "$name")
    work=$(mktemp --directory "$outbox_work/.run.XXXXXX")
    as_owner perl -e "$spread_program" -- "$path.json" >"$work/local.json" || return 1
    sealed=$name
    if [[ $name == *.dir ]]; then sealed=$name.tar; fi
    enough_room "$path" || return 1
    if [[ $path == *.age ]]; then
        copy_encrypted "$kind" "$name" "$path"
        return
    fi
    seal "$sealed" "$path" || return 1
    is_what_was_dumped "$name" || return 1
    sync "$work/$sealed.age" &    # the disk is at work meanwhile
    writing=$!
    while read -r companion; do
        seal "$companion" "${path%/*}/$companion" || return 1
    done < <(as_owner find "$path"{.globals.gz,.properties.json,.json} -maxdepth 0 -type f -printf '%f\n' 2>/dev/null)
    # It may have been encrypted or removed meanwhile: then something of it is missing.
    as_owner test -e "$path" -a -e "$path.json" || return 1
    write_outbox_manifest "$kind" "$name" "$recipients_file" || return 1
    wait "$writing" || return 1    # an error of the disk is told once: the next sync would not hear of it
    publish_copy "$kind" "$name"
}

# One that lies encrypted: each file as it is, by the sums of its manifest; and that, as it is beside an opened dump.
copy_encrypted() { # TIER NAME PATH
    local name own plain to size whose="$work/recipients"
    while read -r name own plain; do
        to=$(opened_name "$name")
        # A pipe in its place would be waited for, and a link may lead to what has no end.
        size=$(as_owner find "${3%/*}/$name" -maxdepth 0 -type f -printf '%s' 2>/dev/null) || size=0
        as_owner dd if="${3%/*}/$name" iflag=nonblock,count_bytes,fullblock count="${size:-0}" bs=1M status=none |
            perl -e "$spread_program" -- - "$work/$to.age" | sha256sum >"$work/sum" || return 1
        if [[ $(cut -d ' ' -f 1 "$work/sum") != "$own" ]]; then
            log ERROR "$name is not what was dumped: its sum is not the manifest's: see the disk"
            # Rows are of use without their roles.
            if [[ $to == "$2" ]]; then return 1; fi
            rm -f -- "$work/$to.age"
            continue
        fi
        printf '%s %s %s %s\n' "$to" "$(stat -c %s "$work/$to.age")" "$own" "$plain" >>"$work/files" || return 1
    done < <(encrypted_files_of "$3" "$work/local.json")
    jq --raw-output '.recipients[] | strings' "$work/local.json" >"$whose" || return 1
    jq "$as_opened" "$work/local.json" >"$work/opened.json" || return 1
    seal "$2.json" "$work/opened.json" || return 1
    load_json 'database started server_version database_bytes' "$work/local.json"
    write_outbox_manifest "$1" "$2" "$whose" || return 1
    sync "$work"/*.age || return 1    # an error of the disk is told once
    rm -f -- "$work/sum" "$work/opened.json" "$whose"
    publish_copy "$1" "$2"
}

enough_room() { # PATH
    local free needed
    free=$(free_bytes "$outbox_work")
    needed=$(as_owner find "$1" "$1".*.age -type f -printf '%s\n' 2>/dev/null |
        awk '{ sum += $1 } END { printf "%.0f", sum }') || true
    needed=$(( needed + backup_reserve_mb * 1048576 ))
    if (( free < needed )); then
        log ERROR "$outbox has $(human_size "$free") free, a copy of ${1##*/} needs \
$(human_size "$needed"): make room"
        return 1
    fi
}

# What changed on the disk since it was dumped is no copy of the database.
is_what_was_dumped() { # NAME
    local plain
    read -r _ _ _ plain <"$work/files"
    load_json 'sha256 database started server_version database_bytes' "$work/local.json"
    if [[ $1 != *.dir && $plain != "${json[$work/local.json sha256]:-}" ]]; then
        log ERROR "$1 is not what was dumped: its sum is not the manifest's: see the disk"
        return 1
    fi
}

write_outbox_manifest() { # TIER NAME, FILE OF RECIPIENTS
    local told=$work/local.json
    jq --null-input --arg source "$source_name" --arg app "$app_name" --arg dump "$2" --arg tier "$1" \
        --arg database "${json[$told database]:-}" --arg started "${json[$told started]:-}" \
        --arg server_version "${json[$told server_version]:-}" \
        --arg database_bytes "${json[$told database_bytes]:-}" \
        --rawfile recipients "$3" --rawfile files "$work/files" '
        {version: 1, source: $source, app: $app, dump: $dump, tier: $tier, database: $database,
         started: $started, server_version: $server_version,
         database_bytes: ($database_bytes | tonumber? // 0),
         recipients: ($recipients | split("\n") | map(select(startswith("age1")))),
         files: [$files | split("\n")[:-1][] | split(" ") | {name: "\(.[0]).age", bytes: (.[1] | tonumber),
             sha256: .[2], plain_name: .[0], plain_sha256: .[3]}]}' >"$work/$2.manifest.json"
}

publish_copy() { # TIER NAME
    local file
    rm -f -- "$work/files" "$work/local.json"
    chgrp -- "$outbox_group" "$work"/*
    chmod 0640 -- "$work"/*
    sync "$work"/*
    for file in "$work"/*.age "$work/$2.manifest.json"; do    # the manifest last
        mv --no-target-directory -- "$file" "$outbox/$1/${file##*/}" || return 1
    done
    sync "$outbox/$1"
    printf '%s %s\n' "$1" "$2" >>"$outbox_work/published"
    rmdir -- "$work"
    work=''
    info "$2: an encrypted copy is ready for the vaults"
}

# Of each database and tier the one that stands last by its name.
newest_copies() {
    find "$outbox"/{daily,weekly} -name '*.manifest.json' -printf '%P %h %f\n' | sort |
        awk '{ name = $3; sub(/_[0-9]{4}-[0-9]{2}-[0-9]{2}_.*/, "", name); last[$2 name] = $2 "/" $3 }
             END { for (each in last) print last[each] }'
}

not_open_to_all() {
    local manifest
    while read -r manifest; do
        jq --exit-status '$ARGS.positional - .recipients == []' "$manifest" --args "${recipients[@]}" >/dev/null ||
            printf '%s %s\n' "$(basename "${manifest%/*}")" "$(dump_of "${manifest##*/}")"
    done < <(newest_copies)
}

# So that it is made anew: but of a dump that lies encrypted to those of before, which a deploy makes another of.
forget_what_somebody_cannot_open() {
    local kind name
    while read -r kind name; do
        if opens_to_all "$(path_of "$kind" "$name")"; then printf '%s %s\n' "$kind" "$name"; fi
    done < <(not_open_to_all) >"$outbox_work/.run.closed"
    forget "$outbox_work/.run.closed"
}

# The inventory has given this host another name: to a vault they would be no copies of ours.
of_another_name() {
    find "$outbox"/{daily,weekly} -name '*.manifest.json' \
        -exec grep -LF -- "\"source\": \"$source_name\"," {} + || true
}

forget_what_has_another_name() {
    local manifest
    while read -r manifest; do
        printf '%s %s\n' "$(basename "${manifest%/*}")" "$(dump_of "${manifest##*/}")"
        rm -f -- "$manifest"
    done < <(of_another_name) >"$outbox_work/.run.renamed"
    forget "$outbox_work/.run.renamed"
}

forget() { # FILE WITH "TIER NAME" LINES
    grep -vxF --file="$1" "$outbox_work/published" >"$outbox_work/.run.published" || true
    mv -- "$outbox_work/.run.published" "$outbox_work/published"
}

copy_what_is_new() {
    local kind name path
    while read -r kind name; do
        if grep -qxF -- "$kind $name" "$outbox_work/published"; then continue; fi
        step=encrypt
        path=$(path_of "$kind" "$name")
        if ! copy_dump "$kind" "$name"; then
            if as_owner test -e "$path"; then
                log ERROR "$name: no copy of it was made; the next run tries again"
                failures=$(( failures + 1 ))
            else
                info "$name went meanwhile, or was encrypted: the next run looks again"
            fi
            if [[ -n $work ]]; then rm -rf -- "$work"; fi
        fi
    done <"$outbox_work/.run.here"
}

# What a run that was killed has left: files without a manifest, copies half made, lines of dumps that went.
sweep() {
    local path name kind
    rm -rf -- "$outbox_work"/.run.*
    touch "$outbox_work/published"
    forget_what_has_another_name
    for path in "$outbox"/{daily,weekly}/*.age; do
        [[ -e $path ]] || continue
        name=$(dump_of "${path##*/}")
        if [[ ! -e ${path%/*}/$name.manifest.json ]]; then rm -f -- "$path"; fi
    done
    local_dumps >"$outbox_work/.run.here"
    while read -r kind name; do
        if grep -qxF -- "$kind $name" "$outbox_work/.run.here"; then printf '%s %s\n' "$kind" "$name"; fi
    done <"$outbox_work/published" >"$outbox_work/.run.published"
    mv -- "$outbox_work/.run.published" "$outbox_work/published"
}

dump_of() { # FILE OF A COPY
    local name=${1%.manifest.json} ending
    for ending in .age .tar .globals.gz .properties.json .json; do name=${name%"$ending"}; done
    printf '%s' "$name"
}

# For each account, the files that it has read from end to end in one go, with the time: what this host's
# own SFTP server wrote to the journal under that account's number.
note_readings() {
    local account
    for account in "${vault_accounts[@]}"; do
        journalctl _UID="$(id -u "$account")" --identifier=internal-sftp --quiet --no-pager \
            --output=short-unix --since=-14days |
            sed -nE 's|^([0-9]+)\.[0-9]* .*: close "/([^"]*)" bytes read ([0-9]+) written 0$|\1 \2 \3|p' \
            >"$outbox_work/.run.$account"
    done
}

was_read_by_all() { # RELATIVE PATH, BYTES
    local account until
    until=$(( $(date +%s) - outbox_days * 86400 ))
    for account in "${vault_accounts[@]}"; do
        awk -v path="$1" -v bytes="$2" -v until="$until" \
            '$2 == path && $3 >= bytes && $1 <= until { found = 1 } END { exit !found }' \
            "$outbox_work/.run.$account" || return 1
    done
}

remove_what_may_go() {
    local manifest name kind newest
    step=remove
    note_readings
    newest=$(newest_copies)
    for manifest in "$outbox"/{daily,weekly}/*.manifest.json; do
        [[ -e $manifest ]] || continue
        name=$(dump_of "${manifest##*/}")
        kind=$(basename "${manifest%/*}")
        if grep -qxF -- "$manifest" <<<"$newest"; then continue; fi
        if ! grep -qxF -- "$kind $name" "$outbox_work/.run.here" ||
            all_files_were_read "$manifest" "$kind"; then
            # First the manifest: without it the rest counts for nothing.
            rm -f -- "$manifest"
            rm -f -- "${manifest%.manifest.json}"{,.tar,.globals.gz,.properties.json,.json}.age
            info "$name: its copy was removed, $(why_it_went "$kind" "$name")"
        fi
    done
}

why_it_went() { # TIER NAME
    if grep -qxF -- "$1 $2" "$outbox_work/.run.here"; then
        printf 'every vault has read it'
    else
        printf 'as its dump was'
    fi
}

all_files_were_read() { # MANIFEST TIER
    local file bytes
    (( ${#vault_accounts[@]} > 0 )) || return 1
    while read -r file bytes; do
        was_read_by_all "$2/$file" "$bytes" || return 1
    done < <(jq --raw-output '.files[] | "\(.name) \(.bytes)"' "$1")
}

check() {
    local name newest
    newest=$(local_dumps | sed -n 1p)
    name=${newest#* }
    if [[ -z $newest ]]; then
        printf 'OK: there is no dump yet\n'
    elif is_copied "$newest"; then
        printf 'OK: %s is encrypted for the vaults\n' "$name"
    elif (( $(seconds_since "$newest") > 7200 )); then
        printf 'CRITICAL: %s was not encrypted: see journalctl -u %s-offsite\n' "$name" "$app_name"
        return 2
    else
        printf 'OK: %s is about to be encrypted for the vaults\n' "$name"
    fi
}

due() {
    local newest kind name
    of_another_name | sed -E 's|.*/(.*)\.manifest\.json$|\1 has another name of this host than the inventory|'
    while read -r kind name; do
        if is_here "$kind" "$name" && may_be_mended "$kind" "$name"; then
            printf '%s is encrypted to other keys than it should be\n' "$name"
        fi
    done < <(not_open_to_all)
    newest=$(local_dumps | sed -n 1p)
    [[ -n $newest ]] && ! is_copied "$newest" || return 0
    # The timer comes every ten minutes: what it is about to do is no reason to deploy.
    if [[ ! -s $outbox_work/published ]] || (( $(seconds_since "$newest") > 1800 )); then
        printf '%s has no encrypted copy yet\n' "${newest#* }"
    fi
}

# What lies encrypted to other keys is not encrypted anew: a new dump takes its place, where one is still made of that
# database. A weekly one that is suspect lies among the daily ones: that was all that could be done.
may_be_mended() { # TIER NAME
    local path kind name
    path=$(path_of "$1" "$2")
    if opens_to_all "$path"; then return 0; fi
    (( $(seconds_since "$1 $2") < 7 * 86400 + backup_maximum_age_hours * 3600 )) || return 1
    if [[ $1 == weekly ]]; then
        while read -r kind name; do
            [[ $kind == daily && ${name%_????-??-??_*} == "${2%_????-??-??_*}" && $name > $2 ]] || continue
            path=$(path_of daily "$name")
            if [[ $(as_owner jq --raw-output .tier "$path.json" 2>/dev/null) == weekly ]]; then return 1; fi
        done < <(local_dumps)
    fi
}

# In plain it can be encrypted to anybody.
opens_to_all() { # PATH
    # shellcheck disable=SC2016  # jq's own names
    [[ $1 != *.age ]] || as_owner jq --exit-status '$ARGS.positional - (.recipients // []) == []' "$1.json" \
        --args "${recipients[@]}" >/dev/null 2>&1
}

is_here() { # TIER NAME
    as_owner test -e "$(path_of "$1" "$2").json"
}

is_copied() { # "TIER NAME"
    grep -qxF -- "$1" "$outbox_work/published" 2>/dev/null
}

seconds_since() { # "TIER NAME"
    printf '%s' $(( $(date +%s) - $(as_owner stat -c %Y "$(path_of "${1%% *}" "${1#* }").json") ))
}

main() {
    read_arguments "$@"
    case $action in
        check) check; return ;;
        due) due; return ;;
    esac
    trap clean_up EXIT
    take_lock "$outbox_work/.lock"
    sweep
    forget_what_somebody_cannot_open
    copy_what_is_new
    remove_what_may_go
    (( failures == 0 )) || die "$failures dump(s) have no copy: see the lines above"
}

main "$@"
