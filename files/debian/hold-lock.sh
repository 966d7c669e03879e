#!/bin/bash
# Given a file in a directory of root's, who asks, and a number of seconds: hold the file's lock for as long as
# lines keep coming on standard input, each within that time, and say so; where somebody else holds it, say who.
# The lock is the kernel's and this process' alone: it ends with the connection, however that ends.
set -u
umask 077
exec 9<>"$1"
if ! flock --nonblock 9; then
    printf '==lock==held\t%s\n' "$(head -c 300 <"$1" | tr '\n' ' ')"
    exit 0
fi
printf '%s since %s\n' "$2" "$(date '+%F %T %Z')" >"$1"
echo '==lock==ours'
while read -r -t "$3"; do :; done
: >"$1"
