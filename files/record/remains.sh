#!/bin/sh
# remains.sh PATH...: of those that are there, how many files there are, how many bytes these have, and the first names.

export LC_ALL=C
for path; do
    [ -e "$path" ] || [ -L "$path" ] || continue
    files=$(find "$path" -xdev ! -type d -printf '%s\n' | awk '{n++; b+=$1} END {printf "%d\t%.0f", n, b}')
    first=$(find "$path" -xdev ! -type d -printf '%P ' -quit | tr '\n\t' '??')
    printf '%s\t%s\t%s\n' "$path" "$files" "$first"
done
