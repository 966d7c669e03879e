#!/bin/sh
# Given a path, an owner, a mode and whose it may be now (names, blanks between): make that directory so. It
# is entered without following a link that is not root's, and changed from inside, so that no name is
# trusted twice.
set -eu; umask 022
mkdir -p -- "$(dirname "$1")"
[ -e "$1" ] || [ -L "$1" ] || mkdir -m 0700 -- "$1"
there=$(readlink -f -- "$(dirname "$1")"); there=${there%/}/$(basename "$1")
if [ -L "$1" ] && [ "$(stat -c %U -- "$1")" = root ]; then there=$(readlink -f -- "$1"); fi
cd -P -- "$1"
owner=$(stat -c %U .)
case "$(pwd -P): $4 " in
  "$there:"*" $owner "*) chown -- "$2" .; chmod -- "$3" . ;;
  *) echo "$1 belongs to $owner, or is not where it was a moment ago: nothing was changed" >&2; exit 1 ;;
esac
