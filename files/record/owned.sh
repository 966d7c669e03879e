#!/bin/sh
# owned.sh user|group NAME WHERE...: nothing when the host does not know that name. Else "free", or what keeps it: a
# process, or the first file that is found to be its own on the root's file system or below WHERE.
# A user goes with the group of that name, so what is that group's keeps the user too.

kind=$1 name=$2
shift 2
case $kind in
    user) getent passwd "$name" ;;
    group) getent group "$name" ;;
esac >/dev/null || exit 0
of=group
if [ "$kind" = user ]; then
    process=$(find /proc -maxdepth 1 -name '[0-9]*' -user "$name" -printf '%f\n' -quit 2>/dev/null)
    [ -z "$process" ] || { echo "process $process"; exit 0; }
    getent group "$name" >/dev/null || of=user
fi
for where in / "$@"; do
    file=$(find "$where" -xdev \( -path /proc -o -path /sys \) -prune -o \
        \( "-$kind" "$name" -o "-$of" "$name" \) -print -quit 2>/dev/null | head -n 1)
    [ -z "$file" ] || { printf 'file %s\n' "$file"; exit 0; }
done
echo free
