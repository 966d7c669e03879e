#!/bin/sh
# Given a path, a size in bytes, an owner, a mode and keep or replace: put what comes on standard input in
# that place in one step, and keep the file that was there as PATH.previous if that is asked for.
set -eu; umask 077
part=$(mktemp "$(dirname "$1")/.$(basename "$1").XXXXXX")
trap 'rm -f "$part"' EXIT
cat >"$part"
[ "$(stat -c %s "$part")" = "$2" ] || { echo "$1: the connection was cut, nothing was changed" >&2; exit 1; }
chown "$3" "$part"; chmod "$4" "$part"; sync "$part"
if [ "$5" = keep ] && [ -e "$1" ]; then
  # For the same readers as the new one: what a person made readable by all may hold secrets.
  cp "$1" "$part.previous"; chown "$3" "$part.previous"; chmod "$4" "$part.previous"
  mv -fT "$part.previous" "$1.previous"
fi
mv -fT "$part" "$1"; sync "$(dirname "$1")"
