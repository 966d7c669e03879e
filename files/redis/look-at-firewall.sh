#!/bin/sh
# What a Redis host lets in, and whom. Usage: look-at-firewall.sh PORT FILE TABLE CONTAINER
# Prints, a line each: "host NAME ADDRESS" as our file has it; "up" when our table is there; "allowed NETWORK" for
# what it lets in, which may be FIRST-LAST; "refused ADDRESS" for whom it has refused in the last minute; "peer ADDRESS"
# for who is connected; "inside NETWORK" for the container's own.
port=$1 file=$2 table=$3 container=$4
sed -n 's/^# host /host /p' "$file" 2>/dev/null
if nft list table inet "$table" >/dev/null 2>&1; then
  echo up
  for set in allowed4 allowed6; do
    nft list set inet "$table" "$set" 2>/dev/null | tr '{},' '\n' |
      sed -n 's/^[[:space:]]*\([0-9a-f]*[.:][0-9a-f.:/-]*\)[[:space:]]*$/allowed \1/p'
  done
  for set in refused4 refused6; do
    # A set's element lives a day from the last time.
    nft list set inet "$table" "$set" 2>/dev/null | tr '{},' '\n' |
      sed -n 's/^[[:space:]]*\([0-9a-f.:]*\) .*expires \(23h59m\|1d\).*/refused \1/p'
  done
fi
# Its own end and the other's, with their ports; brackets where it is IPv6.
ss -Htn state established "sport = :$port" | awk '{ print $4 }' |
  sed -n 's/^\[*\(.*[^]]\)]*:[0-9]*$/peer \1/p' | sort -u
if command -v docker >/dev/null; then
  for network in $(docker inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}' "$container" \
    2>/dev/null); do
    docker network inspect -f '{{range .IPAM.Config}}inside {{.Subnet}}{{"\n"}}{{end}}' "$network" 2>/dev/null
  done | grep .
fi
exit 0
