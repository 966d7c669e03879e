#!/bin/bash
# What the unit of a restore test runs: DIRECTORY/dump holds a dump with its manifest and roles. Restores it
# into a server of its own in DIRECTORY, compares it with the manifest, and ends its output with the verdict.
# Nothing that it says is to be trusted more than the dump itself: see lib/isolation.sh.
#
#   restore-test.sh DIRECTORY
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.

set -Eeuo pipefail
umask 077
export LC_ALL=C.UTF-8
PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin

here=$(dirname "$(readlink --canonicalize "$0")")
# shellcheck source=lib/base.sh disable=SC2034  # nor many files
. "$here/lib/base.sh"
# shellcheck source=lib/process.sh
. "$here/lib/process.sh"
# shellcheck source=lib/postgres.sh
. "$here/lib/postgres.sh"
# shellcheck source=lib/store.sh disable=SC2034  # it knows no tiers: it has one dump
. "$here/lib/store.sh"
# shellcheck source=lib/objects.sh
. "$here/lib/objects.sh"
# shellcheck source=lib/contents.sh
. "$here/lib/contents.sh"
# shellcheck source=lib/verify.sh
. "$here/lib/verify.sh"
# shellcheck source=lib/sift.sh
. "$here/lib/sift.sh"
# shellcheck source=lib/target.sh
. "$here/lib/target.sh"
# shellcheck source=lib/properties.sh
. "$here/lib/properties.sh"
# shellcheck source=lib/administrator.sh
. "$here/lib/administrator.sh"
# shellcheck source=lib/progress.sh
. "$here/lib/progress.sh"
# shellcheck source=lib/said.sh
. "$here/lib/said.sh"
# shellcheck source=lib/load.sh
. "$here/lib/load.sh"
# shellcheck source=lib/compare.sh
. "$here/lib/compare.sh"
# shellcheck source=lib/documented.sh
. "$here/lib/documented.sh"
# shellcheck source=lib/test-a-dump.sh
. "$here/lib/test-a-dump.sh"
# shellcheck source=lib/isolation.sh
. "$here/lib/isolation.sh"

# What restore-database.sh takes from its arguments, and a test decides by itself.
subject=restore-test
target=''
with_roles=0
trust_dump=0
file=''
run_dir=''

tell_verdict() {
    local status=$?
    set +e    # whatever fails here, the rest is done all the same
    trap '' HUP INT TERM
    explain_exit "$status"
    if (( status > 128 )); then verdict=''; fi
    end_server
    if [[ -n $run_dir ]]; then rm -rf -- "$run_dir"; fi
    print_verdict
    exit "$status"
}

main() {
    test_dir=$1
    trap tell_verdict EXIT
    stop_on_signals
    server_mode=direct    # whatever the real one's is
    if [[ $postgres_mode != direct ]]; then programs_in_container; fi
    run_dir=$(mktemp --directory)
    find_offered
    test_dump
}

main "$@"
