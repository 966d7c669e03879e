#!/bin/bash
# Whether redis_exporter tells of a Redis that is up. Usage: exporter-answers.sh ADDRESS PORT [SECONDS]
# Prints "yes", or what is wrong, when it still is after so many seconds.
export LC_ALL=C
address=$1 port=$2 until=$((SECONDS + ${3:-0}))
# shellcheck disable=SC2016  # the inner shell's arguments
ask='exec 3<>"/dev/tcp/$1/$2" && printf "GET /metrics HTTP/1.0\r\n\r\n" >&3 && cat <&3'

page() { # what it tells; minimal hosts have no curl
  timeout 5 bash -c "$ask" page "$@" 2>/dev/null
}

while :; do
  told=$(page "$address" "$port")
  case $told in
    *"redis_up 1"*) echo yes; exit 0 ;;
    *"redis_up 0"*)
      wrong="it does not reach Redis: $(sed -n 's/.*last_scrape_error{err="\([^"]*\)".*/\1/p' <<<"$told")"
      ;;
    *) wrong="nothing answers at $address:$port" ;;
  esac
  [ "$SECONDS" -lt "$until" ] || break
  sleep 0.2
done
echo "$wrong"
