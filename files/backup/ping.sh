#!/bin/bash
# Run a command, and tell a dead man's switch when it begins and how it ends.
#
#   ping.sh NAME COMMAND [ARGUMENT...]
#
# The address stands in the file ping-url, beside the password file; {name} in it is NAME. As
# healthchecks.io has it: address/start, then address, or address/fail with the last lines that the command wrote.
# What cannot be told is a warning: the exit code is the command's. 75 (another run is at work) is told to nobody.
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.

set -uo pipefail
umask 077
export LC_ALL=C.UTF-8

readonly busy=75 told_lines=20
here=$(dirname "$(readlink --canonicalize "$0")")
# shellcheck source=/dev/null  # rendered from the settings of the project: settings.sh.j2
. "$here/settings.sh"

name=$1
shift
# shellcheck disable=SC2154  # in settings.sh
url=$(cat -- "${backup_pgpass_file%/*}/ping-url" 2>/dev/null)

# The address is a secret: it goes to curl on standard input, never among its arguments.
ping() { # ENDING FILE
    [[ -n $url ]] || return
    curl --silent --show-error --fail --max-time 10 --retry 2 --retry-max-time 20 --output /dev/null \
        --data-binary "@$2" --config - <<<"url = \"${url//'{name}'/$name}$1\"" 2>"$said" ||
        printf '%(%Y-%m-%dT%H:%M:%S%z)T WARN  %s ping: nobody was told: %s\n' -1 "$name" \
            "$(sed -n 's/^curl: ([0-9]*) //; s/:\/\/[^ ]*/:\/\/.../g; $p' "$said")" >&2
}

run_dir=$(mktemp --directory) || exec "$@"
said=$run_dir/said
trap 'rm -rf -- "$run_dir"' EXIT
: >"$run_dir/nothing"
[[ -n $url ]] || printf 'ping-url is missing or not readable: deploy again\n' >&2

# What was told of is told as ended: a signal, whenever it comes, ends the command or keeps it from beginning.
child='' stopped=0
stop() {
    stopped=143
    [[ -z $child ]] || kill -TERM "$child" 2>/dev/null
}
trap stop TERM INT HUP

ping /start "$run_dir/nothing"
# What it says goes on to where it goes anyway.
exec 3> >(tee -- "$run_dir/log" >&2)
copying=$!
status=$stopped
if (( stopped == 0 )); then
    setpriv --pdeathsig TERM -- "$@" 2>&3 3>&- &
    child=$!
    (( stopped == 0 )) || stop    # it came between these two lines
    while kill -0 "$child" 2>/dev/null; do    # a signal ends the waiting, not the command
        wait "$child"
    done
    wait "$child"
    status=$?
fi
exec 3>&-
# What it has left running, such as a hook's own, may hold the other end for hours: nobody waits for that.
for _ in {1..50}; do
    kill -0 "$copying" 2>/dev/null || break
    sleep 0.1
done
if (( status == 0 )); then
    ping '' "$run_dir/nothing"
elif (( status != busy )); then
    tail -n "$told_lines" -- "$run_dir/log" >"$run_dir/last" 2>/dev/null
    ping /fail "$run_dir/last"
fi
exit "$status"
