#!/bin/bash
# fetch-files.sh KBIT SSH-OPTION... ACCOUNT@ADDRESS: what the vault's fetching user runs, with lines "HOW BYTES PATH
# PLACE" on standard input: fetch each PATH to PLACE by sftp's command HOW (get, or reget, which goes on with what is
# there), none beyond its BYTES, all of them together at KBIT a second at most (0: no limit).
#
# One connection for all, since making it takes longer than a small file; for each a client and a limit of its own.
# It ends at the first that fails.
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.
set -euo pipefail
umask 077

limit=()
if (( $1 > 0 )); then limit=(-l "$1"); fi
shift
socket=$(mktemp --directory)/master    # in this unit's own /tmp, which goes with it

ssh -f -N -M -S "$socket" "$@" </dev/null
while read -r how bytes path place; do
    # Where the other side allows one session a connection, the client makes one of its own. How it was ended bash
    # would tell in its own words, with all of this line.
    ended=0
    { printf '%s "%s" "%s"\n' "$how" "$path" "$place" |
        prlimit --fsize="$bytes" sftp -b - "${limit[@]}" -o ControlMaster=no -o ControlPath="$socket" "$@" 2>&3
    } 3>&2 2>/dev/null || ended=$?
    if (( ended == 128 + $(kill -l XFSZ) )); then printf '%s is longer there than its manifest says\n' "$path" >&2; fi
    (( ended == 0 )) || exit "$ended"
done
