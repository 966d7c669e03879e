#!/bin/sh
# Given a path, a size in bytes, an owner, a mode, keep or replace, and maybe a command: put what comes on
# standard input in that place in one step, and keep the file that was there as PATH.previous if that is asked
# for. The command must accept the new file, by its path aside, before it is put in place.
# All by descriptor: whoever may write in the directory could put a link in the place of a name.
set -eu; umask 077
part=$(mktemp -u "$(dirname "$1")/.$(basename "$1").XXXXXX")
trap 'rm -f "$part" "$part.previous"' EXIT
set -C; exec 3>"$part"; set +C    # O_EXCL: it is new, and ours
cat >&3
size=$(stat -L -c %s /proc/self/fd/3)
[ "$size" = "$2" ] || { echo "$1: the connection was cut, nothing was changed" >&2; exit 1; }
chown "$3" /proc/self/fd/3; chmod "$4" /proc/self/fd/3; sync /proc/self/fd/3
# shellcheck disable=SC2086  # a command and its options
[ -z "${6-}" ] || $6 "$part" >&2 || { echo "$1: $6 does not accept it, nothing was changed" >&2; exit 1; }
if [ "$5" = keep ] && [ -e "$1" ]; then
  # For the same readers as the new one: what a person made readable by all may hold secrets.
  set -C; exec 4>"$part.previous"; set +C
  dd if="$1" iflag=nofollow,nonblock status=none >&4
  chown "$3" /proc/self/fd/4; chmod "$4" /proc/self/fd/4
  mv -fT "$part.previous" "$1.previous"
fi
mv -fT "$part" "$1"; sync "$(dirname "$1")"
