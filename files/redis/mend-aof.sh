#!/bin/sh
# Whether the append-only file of a Redis that is not running can be read to its end; mends it on request.
# Usage: mend-aof.sh DATA CHECK [mend]; DATA is Redis' directory, CHECK its program. As the user whose file it is.
# Prints "broken BYTES SIZE", or "broken" alone where CHECK says no more; nothing where all is well.
set -eu
data=$1 check=$2 manifest="$1/appendonlydir/appendonly.aof.manifest"
if [ ! -e "$manifest" ] || ! command -v "$check" >/dev/null; then exit 0; fi
if said=$("$check" "$manifest" 2>&1 </dev/null); then exit 0; fi
echo "$said" | sed -n 's/.*size=\([0-9]*\), ok_up_to=.*diff=\([1-9][0-9]*\).*/broken \2 \1/p' |
  grep . || echo broken
[ "${3:-}" = mend ] || exit 0
# All of it, before a byte is cut off: what is lost there may be wanted yet.
kept="$data/appendonlydir.broken-$(date +%Y-%m-%dT%H-%M-%S)"
cp -a "$data/appendonlydir" "$kept.part"
sync "$kept.part"/*
mv -T "$kept.part" "$kept"
echo y | "$check" --fix "$manifest" >/dev/null 2>&1
"$check" "$manifest" >/dev/null 2>&1 </dev/null || {
  echo "$check cannot mend $manifest; a copy is in $kept" >&2
  exit 1
}
