#!/bin/bash
# Write what the backups of $app_name are as metrics, for the textfile collector of Prometheus' node_exporter.
#
#   write-metrics.sh           replace $app_name-backup.prom in $backup_metrics_dir: what cron does, as root
#   write-metrics.sh --print   print them, as $backup_user or as root
#   write-metrics.sh --help    this text
#
# Exit codes: 0 done; 1 failed, and the old file is left, whose age is an alert of its own; 2 wrong arguments.
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.

set -Eeuo pipefail
umask 022    # node_exporter reads the file as a user of its own; it holds names, times and sizes
export LC_ALL=C.UTF-8
PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin

here=$(dirname "$(readlink --canonicalize "$0")")
# shellcheck source=lib/base.sh disable=SC2034  # of which the words alone are used here
. "$here/lib/base.sh"

subject=metrics    # what `log` says of whom: lib/base.sh
export subject
readonly LARGEST_BYTES=1000000    # what the backup user says is bounded before root writes it down
readonly LARGEST_FILE_BYTES=67108864    # a manifest names every column of every table
readonly TIERS=(daily weekly monthly yearly)

# A file a line, so that one that is damaged costs no other: its kind, its tier, its text.
told() {
    local tier directory file kind
    for file in "$backup_state_dir"/status*.json; do one status - "$file"; done
    # Dumps that are encrypted here are restored by a vault: what an earlier test found would grow old.
    if (( ! backup_encrypt_local )); then
        for file in "$backup_state_dir"/restore-test*.json; do one restore-test - "$file"; done
    fi
    for tier in "${TIERS[@]}"; do
        directory=$backup_dir
        if [[ $tier != daily ]]; then directory+=/$tier; fi
        for file in "$directory"/*.json; do
            [[ -e ${file%.json} ]] || continue    # of a dump that is there
            kind=manifest
            if [[ -e ${file%.json}.accepted.json ]]; then kind=accepted; fi
            one "$kind" "$tier" "$file"
        done
    done
}

one() { # KIND TIER FILE
    [[ -f $3 && -r $3 ]] || return 0
    printf '%s\t%s\t' "$1" "$2"
    head -c "$LARGEST_FILE_BYTES" -- "$3" | tr -d '\n\t'
    printf '\n'
}

print_metrics() {
    told | jq --raw-input --null-input --raw-output --arg app "$app_name" --from-file "$here/metrics.jq"
}

# The collector reads a file whole or not at all: it is put in place in one step, and ends with a line break.
write_file() {
    local aside
    [[ -d $backup_metrics_dir && -O $backup_metrics_dir ]] ||
        die "there is no $backup_metrics_dir that is root's: install prometheus-node-exporter"
    aside=$(mktemp "$backup_metrics_dir/.$app_name.XXXXXX")
    # shellcheck disable=SC2064  # this very file
    trap "rm -f -- '$aside'" EXIT
    as_backup_user "$0" --print | head -c "$LARGEST_BYTES" >"$aside"
    chmod 0644 "$aside"
    mv -fT "$aside" "$backup_metrics_dir/$app_name-backup.prom"
}

as_backup_user() { # COMMAND...
    setpriv --reuid "$backup_user" --regid "$(id -g "$backup_user")" --init-groups --no-new-privs -- "$@"
}

main() {
    case ${1:-} in
        --help) usage ;;
        --print) print_metrics ;;
        '') write_file ;;
        *) die "unknown argument: $1; --help lists them" "$EXIT_USAGE" ;;
    esac
}

main "$@"
