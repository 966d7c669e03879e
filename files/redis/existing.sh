#!/bin/sh
# Given a port, a container's name (and a unit's), the app's directory and a package (redis, valkey), print what the
# host has of Redis, Docker and Compose files, a line each: a word, then what it says (provision/redis/facts.py reads
# it).
# ss names a listener's process only in our own network namespace, and only to root.
port=$1 container=$2 dir=$3 package=$4
ip -o addr show | awk '{ sub("/.*", "", $4); print "address " $4 }'
sockets=$(ss -Hltnp "sport = :$port")
pids=$(echo "$sockets" | grep -o 'pid=[0-9]*' | sort -u | cut -d= -f2)
[ -z "$sockets" ] || [ -n "$pids" ] || printf 'listener\t\t\t\t\n'
for pid in $pids; do
  unit=$(sed -n 's|^0::.*/||p' "/proc/$pid/cgroup")
  printf 'listener\t%s\t%s\t%s\t%s\n' "$(cat "/proc/$pid/comm")" "$pid" "$(stat -c %U "/proc/$pid")" "$unit"
done
is_managed() { [ -f "$1" ] && head -n 1 "$1" | grep -q '^# Managed by the deploy'; }
conf=/etc/$package/$package.conf
if [ -e "$conf" ]; then
  sum=$(dpkg-query -W -f '${Conffiles}\n' "$package-server" "$package-tools" |
    awk -v conf="$conf" '$1 == conf { print $2 }')
  if is_managed "$conf"; then
    echo conf ours
    users=/etc/$package/users.acl
    [ ! -f "$users" ] || sed -n 's/^user \([^ ]*\) .*/user \1/p' "$users"
  elif [ -f "$conf" ] && [ "$sum" = "$(md5sum "$conf" | cut -d ' ' -f 1)" ]; then echo conf debian
  else echo conf changed; fi
fi
# One that we keep asleep is enabled, and does not start.
is_asleep() { [ -e "/etc/systemd/system/$1.service.d/00-asleep.conf" ] && ! is_managed "$conf"; }
is_on() { systemctl is-active -q "$1" || { systemctl is-enabled -q "$1" && ! is_asleep "$1"; }; }
if is_on "$package-server"; then echo service on; fi
unit=/etc/systemd/system/$container.service
if is_managed "$unit"; then
  sed -n 's|^ExecStart=/usr/bin/\([a-z]*\)-server .*|instance \1|p' "$unit"
  if is_on "$container"; then echo instance-on yes; fi
fi
other=valkey
[ "$package" = redis ] || other=redis
if is_managed "/etc/$other/$other.conf"; then echo "other $other"; fi
# What apt knows of; where it has no lists yet, the releases that are known to have none.
offers() { apt-cache policy "$1" | grep -q 'Candidate: [^(]'; }
if [ "$package" = valkey ] && ! offers valkey-server; then
  if offers redis-tools; then echo lacks; fi
  if grep -qxE 'VERSION_CODENAME=(bullseye|bookworm|focal|jammy)' /etc/os-release; then echo lacks; fi
fi
if command -v docker >/dev/null; then
  if docker info >/dev/null; then echo docker answers; fi
  echo "compose $(docker compose version --short)"
  docker ps --filter "publish=$port" --format 'published {{.Names}} ({{.Image}})'
  docker ps -a --filter "name=^/$container\$" --format 'container {{.Names}}'
fi
# What root's `docker compose` reads there is root's: of the Compose files that others own, none takes the
# place of ours once it is there. Where one was there before us, the people decided that.
is_roots() { [ -f "$1" ] && [ "$(stat -c %U -- "$1")" = root ]; }    # a link's own owner, not its end's
is_ours() { is_roots "$1" && is_managed "$1"; }
entry='' override=''
for file in compose.yaml compose.yml docker-compose.yml docker-compose.yaml; do
  path=$dir/$file
  if [ ! -e "$path" ] && [ ! -L "$path" ]; then continue; fi
  if is_ours "$path"; then entry=ours; echo entry
  elif ! is_roots "$path" && [ -n "$entry" ]; then echo "shadowed $path"
  else
    is_roots "$path" || override=theirs
    if [ -f "$path" ] && grep -q 'compose\.redis\.yaml' "$path"; then echo "including $path"
    else echo "own $path"; fi
  fi
done
for name in compose.override docker-compose.override; do for file in $name.yml $name.yaml; do
  if is_roots "$dir/$file" && ! is_ours "$dir/$file"; then override=roots; fi
done; done
[ -z "$override" ] || echo "override $override"
