#!/bin/sh
# Given the path of a dump of the directory format, which travels as one tar: unpack it beside, and remove the tar.
set -eu
umask 077
cd "$(dirname "$1")"
rm -rf -- "${1%.tar}"
tar --extract --no-same-owner --file "$1"
rm -f -- "$1"
