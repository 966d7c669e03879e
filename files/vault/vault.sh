#!/bin/bash
# Fetch the encrypted backups of $app_name from the hosts that make them, and prove that they restore.
#
#   vault.sh                       fetch from every backup host, prove what is new, remove what is old
#   vault.sh --check               one line for a monitoring system
#   vault.sh --due                 why a run is needed, a line each: what a deploy asks
#   vault.sh --report              each database's newest copies, as JSON, a line each
#   vault.sh --metrics             the same for Prometheus: what each run writes into backup_metrics_dir
#   vault.sh --list [HOST]         what is here, the newest first
#   vault.sh --offer HOST          the same as JSON, a line each: what `make recover` chooses from
#   vault.sh --keys                the names of stored files that no key of this vault opens
#   vault.sh --accept HOST COPY    what this copy lacks, as --check says, was meant to go
#   vault.sh --export HOST FILE    a stored file, decrypted, on standard output: what `make recover` calls
#   vault.sh --help                this text
#
# Run as root, which its timer does. What is stored lies in $vault_dir/store, root's, HOST/TIER/DUMP...age
# with HOST/TIER/DUMP.manifest.json as its backup host wrote it, DUMP.proof.json (what a restore said) and,
# where that was good, DUMP.manifest.json.sig, this vault's signature. Nothing that a backup host does
# afterwards changes any of it. Age is counted from when a copy was fetched, by this vault's clock.
#
# Exit codes: 0 done; 1 something was wrong, see --check; 2 wrong arguments or set-up; 75 another run is at
# work. --check: 0 OK, 1 WARNING, 2 CRITICAL. A copy that is signed restores; it is suspect when its host says
# so, or when rows or tables are gone that were in the one before it.
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.

# shellcheck disable=SC2034  # the backup's parts hold more than is used here
set -Eeuo pipefail
umask 077
export LC_ALL=C.UTF-8
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

here=$(dirname "$(readlink --canonicalize "$0")")
# shellcheck source=/dev/null  # rendered from the settings of the project: vault/vault-settings.sh.j2
. "$here/vault-settings.sh"
: "${vault_dir?}" "${vault_user?}" "${vault_config_dir?}" "${vault_proof_dir?}" "${vault_prove?}"
: "${vault_maximum_age_hours?}" "${vault_bandwidth_kbit?}" "${vault_reserve_mb?}" "${vault_sources[@]?}"
: "${vault_metrics_dir?}"
# shellcheck source=../backup/lib/base.sh
. "$here/lib/base.sh"
# shellcheck source=../backup/lib/store.sh
. "$here/lib/store.sh"
# shellcheck source=../backup/lib/loss-rules.sh
. "$here/lib/loss-rules.sh"
# shellcheck source=lib/fetch.sh
. "$here/lib/fetch.sh"
# shellcheck source=lib/prove.sh
. "$here/lib/prove.sh"
# shellcheck source=lib/keep.sh
. "$here/lib/keep.sh"
# shellcheck source=lib/tell.sh
. "$here/lib/tell.sh"

readonly store=$vault_dir/store incoming=$vault_dir/incoming state=$vault_dir/state
readonly identity=$vault_config_dir/age signing_key=$vault_config_dir/sign ssh_key=$vault_config_dir/ssh

subject=vault
action=run
wanted_host=''
wanted_file=''
work=''
source_name=''
alarms=0

read_arguments() {
    case ${1:-} in
        --help) usage; exit 0 ;;
        --check) action=check ;;
        --due) action=due ;;
        --report) action=report ;;
        --metrics) action=metrics ;;
        --keys) action=keys ;;
        --list) action=list; wanted_host=${2:-} ;;
        --offer) action=offer; wanted_host=${2:-} ;;
        --accept | --export)
            action=${1#--}
            wanted_host=${2:-} wanted_file=${3:-}
            [[ -n $wanted_file ]] || die "say which: $1 HOST TIER/FILE" "$EXIT_USAGE" ;;
        '') ;;
        *) die "unknown argument: $1; --help lists them" "$EXIT_USAGE" ;;
    esac
    (( EUID == 0 )) || die "you are $(id -un): run this as root" "$EXIT_USAGE"
    cd /    # the users that root becomes here may not enter its directories
}

clean_up() {
    local status=$?
    set +e
    trap '' HUP INT TERM
    explain_exit "$status"
    end_fetch
    clear_proofs
    if [[ -n $work ]]; then rm -rf -- "$work"; fi
    exit "$status"
}

# What somebody has to look at: it stays in --check for a week.
alarm() { # MESSAGE
    alarms=$(( alarms + 1 ))
    set -- "$(plain_text <<<"${1:0:1000}")"    # names and errors of others are in it, and a terminal obeys
    log ERROR "$source_name: $1"
    printf '%s %s %s\n' "$(date +%s)" "$source_name" "${1//[[:cntrl:]]/ }" >>"$state/alarms"
}

each_source() { # FUNCTION
    local line name address port account
    for line in "${vault_sources[@]}"; do
        read -r name address port account <<<"$line"
        source_name=$name
        "$1" "$name" "$address" "$port" "$account"
    done
}

one_source() { # NAME ADDRESS PORT ACCOUNT
    mkdir -p "$store/$1"/{daily,weekly}
    fetch_from "$@" || return 0    # it has said why; nothing is proven anew, nothing removed
    prove_newest "$1"
    remove_old "$1"
}

run() {
    trap clean_up EXIT
    take_lock "$state/.lock"
    end_fetch
    clear_proofs
    rm -rf -- "$state"/.run.*
    work=$(mktemp --directory "$state/.run.XXXXXX")
    note_this_run
    each_source one_source
    note_end_of_run
    write_metrics
    (( alarms == 0 )) || die "$alarms alarm(s): see vault.sh --check"
}

main() {
    read_arguments "$@"
    case $action in
        run) run ;;
        check) check ;;
        due) each_source due_of ;;
        report) report ;;
        list) list_stored ;;
        offer) offer ;;
        keys) list_unopenable ;;
        metrics) print_metrics ;;
        accept) accept_copy ;;
        export) export_file ;;
    esac
}

main "$@"
