#!/bin/bash
# The answers of files/backup/lib: `ask.sh LIBRARY PLACE`, one case a line of standard input, one answer a line.
#   name NAME
#   prune TIER NOW DAYS MINIMUM STAMP...     (! before a stamp: without a manifest)
#   suspect PERCENT BYTES SIZE...
set -Eeuo pipefail
library=$1 backup_dir=$2/store
app_name=medaction postgres_database=medaction prefix=medaction published=
# shellcheck source=/dev/null
. "$library/store.sh"
# shellcheck source=/dev/null
. "$library/prune.sh"
# shellcheck source=/dev/null
. "$library/manifest.sh"

warn() { [[ $1 == 'the dump has'* ]] && said=$1; true; }
info() { :; }
json_value() { if [[ $1 == size-* ]]; then local size=${1#size-}; printf '%s' "${size%%.*}"; fi; }
human_size() { printf '%s' "$1"; }
wall_clock() { printf '%s' "$clock"; }

lay_out() { # TIER STAMP...
    local stamp directory
    rm -rf -- "$backup_dir"
    mkdir -p "$backup_dir/weekly"
    directory=$(tier_dir "$1")
    for stamp in "${@:2}"; do
        : > "$directory/medaction_${stamp#!}.sql.gz"
        [[ $stamp == !* ]] || : > "$directory/medaction_$stamp.sql.gz.json"
    done
}

answer_name() {
    lay_out daily
    : > "$backup_dir/$1"
    if [[ -n $(dumps_in daily medaction) ]]; then echo true; else echo false; fi
}

answer_prune() { # TIER NOW DAYS MINIMUM STAMP...
    local kind=$1 days=$3 stamp
    clock=$2
    declare -g "backup_${1}_minimum_kept=$4"
    shift 4
    lay_out "$kind" "$@"
    prune "$kind" "$days"
    for stamp in "$@"; do
        [[ -e $(tier_dir "$kind")/medaction_${stamp#!}.sql.gz ]] || printf '%s ' "${stamp#!}"
    done
    echo
}

answer_suspect() { # PERCENT BYTES SIZE...
    local size sizes=("${@:3}")
    backup_size_change_percent=$1 dump_bytes=$2 said=
    all_dumps() { for size in "${sizes[@]}"; do printf 'size-%s\n' "$size"; done; }
    compare_size
    if [[ $said =~ \((-?[0-9]+)\ %\) ]]; then echo "${BASH_REMATCH[1]}"; else echo none; fi
}

while read -ra asked; do
    "answer_${asked[0]}" "${asked[@]:1}"
done
