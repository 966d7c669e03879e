#!/bin/bash
# Runs the program that it is called by the name of in the container of a restore test: see serve-test-container.sh,
# which does it. $test_calls is the directory that both know.
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.

set -Eeuo pipefail
umask 077
: "${test_calls:?}"

call=$(mktemp --directory "$test_calls/XXXXXXXX")
{
    printf 'exec %s' "${0##*/}"
    for word in "$@"; do printf " '%s'" "${word//\'/\'\\\'\'}"; done
} >"$call/run"
mkfifo "$call"/{in,out,err,end}
printf '%s\n' "${call##*/}" >"$test_calls/bell"

exec 5<&0
cat <&5 >"$call/in" &
feeder=$!
cat <"$call/out" 5<&- &
out=$!
cat <"$call/err" >&2 5<&- &
err=$!
exec 5<&- 0</dev/null
read -r status <"$call/end"
kill "$feeder" 2>/dev/null || true    # the program may not have read all that there is
wait "$out" "$err" || true
rm -rf -- "$call"
exit "$status"
