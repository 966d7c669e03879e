#!/bin/bash
# Keeps when Redis last ran a script for anybody: Redis itself counts from its last start alone.
# Usage: count-scripts.sh PORT LOGIN STATE; LOGIN is a file with redis-cli's line that logs in, root's alone.
# STATE is one line: watched since, last seen used, asked last (seconds since 1970), Redis' run, its count of scripts.
set -euo pipefail
umask 077

main() {
  local port=$1 login=$2 state=$3 said run calls now since used _ last_run last_calls
  said=$({ cat "$login"; printf 'INFO server\nINFO commandstats\n'; } | redis-cli -h 127.0.0.1 -p "$port" | tr -d '\r')
  run=$(sed -n 's/^run_id://p' <<<"$said")
  [[ $run ]] || { echo "Redis on port $port does not say what it ran" >&2; return 1; }
  calls=$(sed -nE 's/^cmdstat_eval(sha)?(_ro)?:calls=([0-9]+),.*/\3/p' <<<"$said" | awk '{ n += $1 } END { print n + 0 }')
  now=$(date +%s)
  since=$now used=0 last_run='' last_calls=0
  if [[ -s $state ]]; then read -r since used _ last_run last_calls <"$state"; fi
  [[ $run == "$last_run" ]] || last_calls=0
  ((calls <= last_calls)) || used=$now
  echo "$since $used $now $run $calls" >"$state.part"
  sync "$state.part"
  mv -f "$state.part" "$state"
}

main "$@"
