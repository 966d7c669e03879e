#!/bin/bash
# The answers of files/backup/lib: `ask.sh LIBRARY PLACE`, one case a line of standard input, one answer a line.
#   name NAME
#   losses CASE                              (as JSON without blanks)
#   prune TIER NOW DAYS MINIMUM STAMP...     (! before a stamp: without a manifest; ?: suspect)
set -Eeuo pipefail
library=$1 backup_dir=$2/store
app_name=medaction postgres_database=medaction prefix=medaction published= backup_encrypt_local=0
# shellcheck source=/dev/null
. "$library/store.sh"
# shellcheck source=/dev/null
. "$library/prune.sh"
# shellcheck source=/dev/null
. "$library/loss-rules.sh"

# No manifest of these stores says anything: nothing was tested.
declare -A json=() suspects=()
warn() { :; }
info() { :; }
load_verdicts() { :; }
load_suspicions() { :; }
is_suspect() { [[ -n ${suspects[$1]:-} ]]; }
wall_clock() { printf '%s' "$clock"; }

lay_out() { # TIER STAMP...
    local stamp directory
    rm -rf -- "$backup_dir"
    mkdir -p "$backup_dir/weekly"
    suspects=()
    directory=$(tier_dir "$1")
    for stamp in "${@:2}"; do
        : > "$directory/medaction_${stamp#[?!]}.sql.gz"
        [[ $stamp == !* ]] || : > "$directory/medaction_${stamp#'?'}.sql.gz.json"
        [[ $stamp != '?'* ]] || suspects[$directory/medaction_${stamp#'?'}.sql.gz]=1
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
        [[ -e $(tier_dir "$kind")/medaction_${stamp#[?!]}.sql.gz ]] || printf '%s ' "${stamp#[?!]}"
    done
    echo
}

# A manifest of before beside the contents of now; what is left of a database without tables is another object.
answer_losses() { # CASE
    local backup_volatile_tables=()
    mapfile -t backup_volatile_tables < <(jq --raw-output '.volatile // [] | .[]' <<<"$1")
    jq '{content: {tables: .had}}' <<<"$1" |
        jq --compact-output --raw-output --argjson few "$few_rows" --argjson percent "$(jq .percent <<<"$1")" \
            --arg explained "$(volatile_ones)" --slurpfile now <(jq '{tables: .has,
                objects: ([.has | keys[] | {"table \(.)": ""}] + [{"schema public": ""}] | add)}' <<<"$1") \
            "[$losses_program]"
}

while read -ra asked; do
    "answer_${asked[0]}" "${asked[@]:1}"
done
