#!/bin/sh
# Given redis.conf and users.acl on standard input, with ==users== between them, whose server it is (redis, valkey) and,
# where that is another than the package's, its user:
# start one of its own on them, out of everybody's way, and wait until it answers; else say what it said, and fail.
set -eu; umask 077
package=$1 user=${2:-$1}
dir=$(mktemp -d); pid='' as_redis=''
# It is waited for: a server that still ends its files makes them come back under rm. (setpriv becomes the
# server; runuser would stay in between, and take two seconds to end.)
trap 'if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; wait "$pid" || true; fi; rm -rf "$dir"' EXIT
awk -v dir="$dir" '/^==users==$/ { acl = 1; next } { print > (dir (acl ? "/users.acl" : "/redis.conf")) }'
if [ "$(id -u)" = 0 ]; then
  chown -R "$user" "$dir"
  as_redis="setpriv --reuid=$user --regid=$user --init-groups"
fi
# shellcheck disable=SC2086  # several words, or none
$as_redis "$package-server" "$dir/redis.conf" --port 0 --unixsocket "$dir/socket" --dir "$dir" \
  --aclfile "$dir/users.acl" --logfile "" --pidfile "$dir/pid" --daemonize no >"$dir/log" 2>&1 &
pid=$!
for _ in $(seq 100); do
  if redis-cli -s "$dir/socket" PING 2>/dev/null | grep -q -e PONG -e NOAUTH; then exit 0; fi
  kill -0 "$pid" 2>/dev/null || break
  sleep 0.1
done
echo "Redis does not accept its new configuration, so the running one was left alone:" >&2
sed -n '/FATAL\|>>>\|rror\|#.*/p' "$dir/log" | sed 's/#[0-9a-f]\{64\}/#(hash)/g' | tail -n 8 >&2
exit 1
