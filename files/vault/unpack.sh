#!/bin/sh
# Given the path of a dump of the directory format, which travels as one tar: unpack it beside, and remove the tar. It
# has its name when all of it is there.
set -eu
umask 077
cd "$(dirname "$1")"
name=$(basename "$1" .tar)
rm -rf -- .unpacking
mkdir .unpacking
tar --extract --no-same-owner --directory .unpacking --file - <"$1"
rm -rf -- "$name"
mv -T -- ".unpacking/$name" "$name"
rm -rf -- .unpacking "$1"
