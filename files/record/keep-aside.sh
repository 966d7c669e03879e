#!/bin/sh
# keep-aside.sh FILE DIRECTORY: keep a copy of a file below a directory of root's.
set -eu
umask 077
[ -f "$1" ] && [ ! -L "$1" ] || exit 0
mkdir -p -- "$2$(dirname "$1")"
cp -- "$1" "$2$1"
