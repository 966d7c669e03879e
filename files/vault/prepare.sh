#!/bin/sh
# Given the directory of dumps and the backup user, on a host that has nothing yet: make both, as a deploy would.
set -eu
getent group "$2" >/dev/null || groupadd --system -- "$2"
id -u "$2" >/dev/null 2>&1 ||
  useradd --system --gid "$2" --no-create-home --shell /usr/sbin/nologin --home-dir "$1" -- "$2"
[ -d "$(dirname "$1")" ] || install -d -m 0755 "$(dirname "$1")"
for each in "$1" "$1/weekly"; do
  [ -d "$each" ] || install -d -m 0750 -o "$2" -g "$2" "$each"
done
