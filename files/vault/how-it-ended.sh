#!/bin/bash
# End as the run has ended that systemd started this unit for (OnSuccess=, OnFailure=), after its last words:
# what ping.sh tells a dead man's switch. See "MONITOR_" in systemd.exec(5).
#
# Managed by the project that deploys this host: what is changed here is overwritten by the next deploy.
set -uo pipefail

journalctl --sync 2>/dev/null
journalctl --quiet --no-pager --lines=20 --output=cat "_SYSTEMD_INVOCATION_ID=${MONITOR_INVOCATION_ID:-none}" >&2
[[ ${MONITOR_SERVICE_RESULT:-} != success ]] || exit 0
if [[ ${MONITOR_EXIT_STATUS:-} =~ ^[1-9][0-9]*$ ]]; then exit "$MONITOR_EXIT_STATUS"; fi
exit 1
