#!/bin/sh
# Given a path, an owner and a mode: that log exists, and is his. He makes it himself, since its directory
# may be his: a link that he has left there leads only where he may go anyway. One that root began is given
# to him.
set -eu
chown -h --from=root -- "$2" "$1" 2>/dev/null || true
# shellcheck disable=SC2016  # the names are those of the inner shell
exec setpriv --reuid "${2%:*}" --regid "${2#*:}" --init-groups -- sh -c '
  set -eu; umask 077
  [ ! -L "$1" ] || { echo "$1 is a link: remove it, and deploy again" >&2; exit 1; }
  touch -- "$1"; chmod -- "$2" "$1"' - "$1" "$3"
