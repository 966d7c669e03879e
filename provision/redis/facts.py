"""What the Redis server on a host runs with, asked from the server itself."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override

from provision.redis.existing import OPERATOR, Listener, Site
from provision.redis.running import Live, quoted, users

_MARK = "--8<--"


def question(operator_password: str) -> str:
    """What to send on standard input: the password never is an argument, nor in the environment."""
    return (
        login(operator_password)
        + f"ECHO {_MARK}\nCONFIG GET *\nECHO {_MARK}\nACL LIST\nECHO {_MARK}\nFUNCTION LIST WITHCODE\n"
    )


class Redis(FactBase[Live]):
    """The configuration and users of the server on a loopback port. Call with `_stdin=question(password)`."""

    @override
    def command(self, port: int) -> StringCommand:
        return StringCommand(f"redis-cli -h 127.0.0.1 -p {port} 2>/dev/null || true")

    @staticmethod
    @override
    def default() -> Live:
        return Live()

    @override
    def process(self, output: Sequence[str]) -> Live:
        sections = "\n".join(output).split(_MARK)
        let_in = sections[0].strip() == "OK"
        if len(sections) < 3 or not let_in:
            return Live(answers=bool(sections[0].strip()))
        values = sections[1].split("\n")[1:-1]  # a value may be empty, the last one too
        config = dict(zip(values[::2], values[1::2], strict=False))
        return Live(
            answers=True, operator_let_in=True, config=config, users=users(sections[2]), libraries="".join(sections[3:])
        )


_ASK_PATIENTLY = r"""questions=$(cat)
for _ in $(seq 50); do
  answer=$(printf '%s\n' "$questions" | redis-cli -h 127.0.0.1 -p "$1" 2>&1)
  case $answer in *'Could not connect'*) sleep 0.1 ;; *) break ;; esac
done
printf '%s\n' "$answer"
"""


class Keys(FactBase[int | None]):
    """How many keys the server on a loopback port holds; None where it does not tell.

    Call with `_stdin=PrivateInput(login(password) + COUNT)`, or with COUNT alone for a server without passwords.
    """

    @override
    def command(self, port: int) -> StringCommand:
        # One that is just starting, as a package's installation leaves it, refuses connections for a moment.
        return StringCommand("sh -c", QuoteString(_ASK_PATIENTLY), "ask", str(port))

    @staticmethod
    @override
    def default() -> None:
        return None

    @override
    def process(self, output: Sequence[str]) -> int | None:
        last = output[-1].strip() if output else ""
        return int(last) if last.isdigit() else None


COUNT = "DBSIZE\n"


def login(operator_password: str) -> str:
    """The first line of what is sent to Redis on standard input."""
    return f"AUTH {OPERATOR} {quoted(operator_password)}\n"


# ss names a listener's process only in our own network namespace, and only to root.
_SITE = r"""port=$1 container=$2 dir=$3
ip -o addr show | awk '{ sub("/.*", "", $4); print "address " $4 }'
sockets=$(ss -Hltnp "sport = :$port")
pids=$(echo "$sockets" | grep -o 'pid=[0-9]*' | sort -u | cut -d= -f2)
[ -z "$sockets" ] || [ -n "$pids" ] || printf 'listener\t\t\t\t\n'
for pid in $pids; do
  unit=$(sed -n 's|^0::.*/||p' "/proc/$pid/cgroup")
  printf 'listener\t%s\t%s\t%s\t%s\n' "$(cat "/proc/$pid/comm")" "$pid" "$(stat -c %U "/proc/$pid")" "$unit"
done
conf=/etc/redis/redis.conf
if [ -e $conf ]; then
  sum=$(dpkg-query -W -f '${Conffiles}\n' redis-server redis-tools | awk -v conf=$conf '$1 == conf { print $2 }')
  if head -n 1 $conf | grep -q '^# Managed by the deploy'; then
    echo conf ours
    sed -n 's/^user \([^ ]*\) .*/user \1/p' /etc/redis/users.acl
  elif [ "$sum" = "$(md5sum $conf | cut -d ' ' -f 1)" ]; then echo conf debian
  else echo conf changed; fi
fi
if systemctl is-active -q redis-server || systemctl is-enabled -q redis-server; then echo service on; fi
if command -v docker >/dev/null; then
  if docker info >/dev/null; then echo docker answers; fi
  echo "compose $(docker compose version --short)"
  docker ps --filter "publish=$port" --format 'published {{.Names}} ({{.Image}})'
  docker ps -a --filter "name=^/$container\$" --format 'container {{.Names}}'
fi
for file in compose.yaml compose.yml docker-compose.yml docker-compose.yaml; do
  if [ ! -e "$dir/$file" ]; then continue; fi
  if head -n 1 "$dir/$file" | grep -q '^# Managed by the deploy'; then echo entry
  elif grep -q 'compose\.redis\.yaml' "$dir/$file"; then echo "including $dir/$file"
  else echo "own $dir/$file"; fi
done
"""


class RedisSite(FactBase[Site]):
    """What a host has of Redis, of Docker and of Compose files, in one command."""

    @override
    def command(self, port: int, container: str, app_dir: str) -> StringCommand:
        words = [QuoteString(_SITE), "site", str(port), container, QuoteString(app_dir)]
        return StringCommand("sh -c", *words, "2>/dev/null; true")

    @staticmethod
    @override
    def default() -> Site:
        return Site()

    @override
    def process(self, output: Sequence[str]) -> Site:
        found: dict[str, list[str]] = {}
        for line in output:
            word, _, rest = line.replace("\t", " ", 1).partition(" ")
            found.setdefault(word, []).append(rest)
        compose = found.get("compose", [""])[0].lstrip("v").partition("-")[0].split(".")
        return Site(
            listeners=tuple(Listener(*rest.split("\t")) for rest in found.get("listener", [])),
            redis_conf=found.get("conf", ["missing"])[0],
            service_is_on="service" in found,
            docker_answers="docker" in found,
            compose_version=tuple(int(part) for part in compose if part.isdigit()),
            addresses=frozenset(found.get("address", [])),
            users=frozenset(found.get("user", [])),
            published_by=tuple(found.get("published", [])),
            has_container="container" in found,
            has_compose_entry="entry" in found,
            compose_files=(
                *((path, True) for path in found.get("including", [])),
                *((path, False) for path in found.get("own", [])),
            ),
        )  # fmt: skip


def compose(compose_file: str) -> str:
    """Docker Compose with our file alone; never with an app's `.env`, which Compose may be unable to read."""
    return f"docker compose --env-file /dev/null -f {shlex.quote(compose_file)} --profile cache"


class Container(FactBase[tuple[str, bool]]):
    """How our container is ("running", "exited", ..., "" for absent), and whether it is the Compose file's own."""

    @override
    def command(self, container: str, compose_file: str) -> StringCommand:
        label = '{{index .Config.Labels "com.docker.compose.config-hash"}}'
        return StringCommand(
            f"docker inspect -f '{{{{.State.Status}}}} redis {label}' {container} 2>/dev/null || echo;",
            f"{compose(compose_file)} config --hash redis 2>/dev/null || echo",
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> tuple[str, bool]:
        return "", False

    @override
    def process(self, output: Sequence[str]) -> tuple[str, bool]:
        running, wanted = [*output, "", ""][:2]
        status, _, made_from = running.partition(" ")
        return status, bool(wanted) and made_from == wanted


class UnreadUnits(FactBase[bool]):
    """Whether systemd has not yet read what Redis' unit says now."""

    @override
    def command(self) -> str:
        return "systemctl show -p NeedDaemonReload --value redis-server.service 2>/dev/null || true"

    @staticmethod
    @override
    def default() -> bool:
        return False

    @override
    def process(self, output: Sequence[str]) -> bool:
        return "yes" in output
