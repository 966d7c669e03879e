#!/bin/sh
# Given a path: what comes on standard input, private from its first byte, whole under that name or not there at all.
set -eu
umask 077
trap 'rm -f -- "$1.part"' EXIT    # what a full disk has no room for takes none
cat >"$1.part"
sync "$1.part"
mv -fT "$1.part" "$1"
