#!/bin/bash
# How this host reaches Redis. Usage: knock.sh SERVER PORT NAME
# Prints "route ADDRESS OWN" for each address behind the server's name, with the address of ours that goes there, and
# "said ..." with Redis' answer to a login by a name that it does not know: Redis keeps that in its ACL LOG, with the
# address that it saw. Without a connection nothing is said.
export LC_ALL=C
server=$1 port=$2 name=$3
for address in $(getent ahosts "$server" | awk '$2 == "STREAM" { print $1 }' | sort -u); do
  own=$(ip -o route get "$address" 2>/dev/null | sed -n 's/.* src \([^ ]*\).*/\1/p')
  echo "route $address $own"
done
# shellcheck disable=SC2016  # the inner shell's arguments
knock='exec 3<>"/dev/tcp/$1/$2" && printf "AUTH %s none\r\n" "$3" >&3 && read -r -t 3 said <&3 && echo "said $said"'
timeout 5 bash -c "$knock" knock "$server" "$port" "$name" 2>/dev/null | tr -d '\r' | head -c 200
exit 0
