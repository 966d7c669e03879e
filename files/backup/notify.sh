#!/bin/bash
# Tell people how the backups are, by Apprise: when their state changes, and once a day as long as it is not well.
#
#   notify.sh          look, and tell what is to be told: what cron does every ten minutes
#   notify.sh --test   tell that this works
#
# What is told is the line of backup-database.sh --check. The addresses stand in the file notify, beside the password
# file, one a line; what each was told last, in notified.1 and so on, where runs write about themselves. Run as
# $backup_user. Exit codes: 0 told, or nothing to tell; 1 somebody was not told: the next run tries again.
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.

set -uo pipefail
umask 077
export LC_ALL=C.UTF-8

readonly words=(OK WARNING CRITICAL) day=86400 longest=4000
here=$(dirname "$(readlink --canonicalize "$0")")
# shellcheck source=/dev/null  # rendered from the settings of the project: settings.sh.j2
. "$here/settings.sh"

# Apprise keeps things in its user's home, which is the directory of the dumps.
HOME=$(mktemp --directory) || exit 1
export HOME
trap 'rm -rf -- "$HOME"' EXIT

# An address holds a password: Apprise reads it from a file, and what it says of it is not shown.
tell() { # NUMBER ADDRESS STATE TEXT
    printf '%s\n' "$2" >"$HOME/address"
    # shellcheck disable=SC2154  # in settings.sh
    head -c "$longest" <<<"$4" | timeout 60 apprise --config "file://$HOME/address?format=text" \
        --title "$app_name on $HOSTNAME: backups $3" >/dev/null 2>&1 && return
    printf '%(%Y-%m-%dT%H:%M:%S%z)T WARN  notify: address %s was not told of %s: see that it is reached from here\n' \
        -1 "$1" "$3" >&2
    return 1
}

is_told() { # NUMBER STATE
    local last=OK at=0
    # shellcheck disable=SC2154  # in settings.sh
    read -r last at 2>/dev/null <"$backup_state_dir/notified.$1"
    [[ $at =~ ^[0-9]{1,12}$ ]] || at=0
    [[ $2 == "$last" ]] && { [[ $2 == OK ]] || (( now >= at && now - at < day )); }
}

printf -v now '%(%s)T' -1
state='are watched' text='This is a test: whoever reads it is told when the backups are not well.'
if [[ ${1:-} != --test ]]; then
    text=$("$here/backup-database.sh" --check 2>/dev/null)
    code=$?
    state=${words[code]:-UNKNOWN}
    text=${text:-backup-database.sh --check ended with exit code $code and said nothing}
fi

# shellcheck disable=SC2154  # in settings.sh
mapfile -t addresses <"${backup_pgpass_file%/*}/notify" || exit 1
failed=0
for number in "${!addresses[@]}"; do
    if [[ ${1:-} != --test ]] && is_told "$(( number + 1 ))" "$state"; then continue; fi
    tell "$(( number + 1 ))" "${addresses[number]}" "$state" "$text" || { failed=1; continue; }
    [[ ${1:-} != --test ]] || continue
    noted=$backup_state_dir/notified.$(( number + 1 ))
    printf '%s %s\n' "$state" "$now" >"$noted.part" && mv -f "$noted.part" "$noted"
done
exit "$failed"
