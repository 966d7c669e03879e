#!/bin/bash
# fetch-files.sh KBIT SSH-OPTION... ACCOUNT@ADDRESS: what the vault's fetching user runs, with lines "HOW BYTES PATH
# PLACE" on standard input: fetch each PATH to PLACE by sftp's command HOW (get, or reget, which goes on with what is
# there), none beyond its BYTES, at KBIT a second at most (0: no limit).
#
# One client for all, since a connection takes longer than a small file; before each file it is given that file's limit.
# It ends at the first that fails.
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.
set -euo pipefail
umask 077
export SHELL=/bin/sh    # the client's, for the lines that begin with "!": this user has none

limit=()
if (( $1 > 0 )); then limit=(-l "$1"); fi
shift
wanted=$(cat)

commands() {
    while read -r how bytes path place; do
        # shellcheck disable=SC2016  # its shell's parent is the client
        printf '!prlimit --pid $PPID --fsize=%s:\n%s "%s" "%s"\n' "$bytes" "$how" "$path" "$place"
    done <<<"$wanted"
}

# The last of which all that there should be is here: the client was writing it.
longer_than_told() {
    local bytes path place last=''
    while read -r _ bytes path place; do
        if [[ -f $place && $(stat -c %s -- "$place") == "$bytes" ]]; then last=$path; fi
    done <<<"$wanted"
    printf '%s is longer there than its manifest says\n' "$last"
}

# How it was ended bash would tell in its own words, with all of this line.
ended=0
{ commands | sftp -b - "${limit[@]}" "$@" 2>&3; } 3>&2 2>/dev/null || ended=$?
if (( ended == 128 + $(kill -l XFSZ) )); then longer_than_told >&2; fi
exit "$ended"
