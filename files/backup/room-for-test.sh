#!/bin/sh
# Given a directory of dumps, the directory of restore tests and how many bytes are to stay free: for the
# newest dump of each database the bytes that are free there, those that its restore test needs, and its name.
there=$2
while [ ! -d "$there" ]; do there=$(dirname "$there"); done    # it may be yet to be made
free=$(df --output=avail --block-size=1 "$there" | tail -n 1)
for link in "$1"/*_latest.*; do
  dump=$(readlink -f "$link") || continue
  [ -f "$dump.json" ] || continue
  bytes=$(jq --raw-output '.database_bytes // "" | tostring' "$dump.json")
  case $bytes in '' | *[!0-9]* | ????????????????*) continue ;; esac
  size=$(du --apparent-size --bytes --summarize "$dump" | cut -f 1)
  echo $((free)) $((bytes * 6 / 5 + size + $3)) "${dump##*/}"
done
