"""A running Redis brought to its configuration: live where it can be, restarted where it must.

Not "restart when the file changed": a deploy that is interrupted between the two would never restart. The
server is asked what it runs with, so whatever was left undone is found by the next deploy.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import SecretStr
from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host, state

from provision.debian.entries import Entry, File, differences
from provision.debian.files import Paths, refusal
from provision.debian.programs import program
from provision.engine.changes import note, warn
from provision.engine.facts import side_by_side
from provision.engine.private import PrivateInput
from provision.engine.reach import LONG
from provision.redis.facts import (
    BrokenAof,
    Container,
    FirewallUnlike,
    Knocks,
    Redis,
    UnitUnlike,
    UnreadUnits,
    compose,
    firewall_before,
    login,
    question,
)
from provision.redis.running import Live, config_differences, directives, quoted, user_differences, users
from provision.redis.running import refusal as meaning_of
from provision.settings import Settings


def _differ(entries: Sequence[Entry]) -> bool:
    """Whether one of these is not as it should be: in a plan, whether it will be written."""
    found = host.get_fact(Paths, paths=tuple(entry.path for entry in entries))
    return any(sentence for entry in entries for sentence in differences(entry, found.get(entry.path)))


@operation()
def unit_read(unit: str, entries: Sequence[Entry]) -> Generator[StringCommand, None, None]:
    """systemd knows the units as they lie there: else a bound holds from the next boot alone."""
    drop_ins = tuple(entry.path for entry in entries if isinstance(entry, File) and entry.path.endswith(".conf"))
    new = tuple(entry.path for entry in entries if entry.path.endswith(f"/{unit}"))
    if new and not host.get_fact(Paths, paths=new):
        return  # systemd reads it, and what lies beside it, when it is asked for it first
    if _differ(entries) or host.get_fact(UnreadUnits, unit=unit, drop_ins=drop_ins):
        note(host, "systemd has not read what its units say now")
        yield StringCommand("systemctl daemon-reload")


@operation()
def begun_anew(unit: str, file: File) -> Generator[StringCommand, None, None]:
    """What runs was begun by the unit as it is: what it may do holds from its beginning alone."""
    unlike = host.get_fact(UnitUnlike, unit=unit, files=(file.path,))
    if "stopped" not in unlike and ("old" in unlike or _differ([file])):
        note(host, f"{unit} runs as its file said before: it begins anew, with all its counters")
        yield StringCommand(f"systemctl restart {unit}")


@operation()
def firewall_loaded(entries: Sequence[Entry], table: str, unit: str) -> Generator[StringCommand, None, None]:
    """The firewall is loaded as its file says, now and before every boot's network. Its old table holds until then."""
    found = host.get_fact(Paths, paths=tuple(entry.path for entry in entries))
    (file,), (drop_in,) = ([each.path for each in entries if each.path.endswith(end)] for end in (".nft", ".conf"))
    changed = [entry.path for entry in entries if any(differences(entry, found.get(entry.path)))]
    unlike = host.get_fact(FirewallUnlike, file=file, table=table, unit=unit, drop_in=drop_in)
    if changed or "table" in unlike:
        note(host, f"Redis' firewall (nftables, table inet {table}) is not loaded as it should be")
    if changed or "unit" in unlike:
        note(host, f"{unit} is not what brings it up at a boot")
    if changed or unlike:
        # To enable again brings links that a new version of the unit asks for.
        yield StringCommand(f"systemctl daemon-reload && systemctl reenable -q {unit} && systemctl restart {unit}")


@operation()
def firewall_removed(paths: Sequence[str], table: str, unit: str) -> Generator[StringCommand, None, None]:
    """There is no firewall of ours: Redis listens on loopback alone, or everybody may reach it."""
    note(host, "Redis needs no firewall any more: ours goes")
    yield StringCommand(f"systemctl disable -q --now {unit} || true")
    # The table's file last: as long as it lies there, a deploy that was cut off is seen.
    yield StringCommand(f"nft delete table inet {table} 2>/dev/null || true")
    yield StringCommand("rm -f --", *(QuoteString(path) for path in reversed(paths)))
    yield StringCommand("systemctl daemon-reload")


@operation()
def reached(doors: Mapping[str, tuple[str, int]], settings: Settings) -> Generator[StringCommand, None, None]:
    """The firewall lets in these app hosts, whose addresses Redis had not yet seen when it was made."""
    silent = _silent(doors)
    refused = firewall_before(host, settings).refused if silent else ()
    for name, (server, port) in silent.items():
        if refused:
            yield refusal(
                f"{name} does not reach Redis at {server}:{port}: the firewall here lets in its own address, and has"
                f" refused {', '.join(refused)} just now, as it would behind NAT. Deploy again: that looks closer"
            )
            return
        if state.is_executing:
            warn(host, f"{name} does not reach Redis at {server}:{port}; no firewall of ours did that")


def _silent(doors: Mapping[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
    """Those that get no answer there, all asked side by side: each silence takes seconds."""
    knocks = side_by_side(
        partial(state.inventory.get_host(name).get_fact, Knocks, server=server, port=port, caller="deploy-afterwards")
        for name, (server, port) in doors.items()
    )
    return {name: door for (name, door), knock in zip(doors.items(), knocks, strict=True) if not knock.said}


@operation()
def exporter_run(unit: str, entries: Sequence[Entry], address: str, port: int) -> Generator[StringCommand, None, None]:
    """redis_exporter runs as its files say, now and after every boot, and reaches Redis."""
    files = [entry.path for entry in entries if isinstance(entry, File)]
    changed = _differ(entries)
    unlike = host.get_fact(UnitUnlike, unit=unit, files=tuple(files))
    if changed or unlike:
        note(host, f"{unit} does not run as its files say")
        yield StringCommand(f"systemctl daemon-reload && systemctl enable -q {unit} && systemctl restart {unit}")
        answers = program("redis/exporter-answers.sh", address, str(port), "15", shell="bash -c")
        yield StringCommand(
            "said=$(", answers, '); [ "$said" = yes ] ||',
            f'{{ echo "redis_exporter: $said; see journalctl -u {unit}" >&2; exit 1; }}',
        )  # fmt: skip


@operation()
def exporter_removed(
    unit: str, paths: Sequence[str], package: str, asleep: str
) -> Generator[StringCommand, None, None]:
    """Prometheus is told of Redis no more. The package goes where we have kept its unit asleep: it came with us."""
    note(host, f"redis_exporter is not wanted any more: {unit} goes")
    yield StringCommand(f"systemctl disable -q --now {unit} || true")
    if asleep in host.get_fact(Paths, paths=(asleep,)):
        note(host, f"so does the package {package}")
        yield StringCommand(
            f"DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 remove {package}", _timeout=LONG
        )
    yield StringCommand("rm -f --", *(QuoteString(path) for path in (*paths, asleep)))
    yield StringCommand("systemctl daemon-reload")


@operation()
def unwatched(timer: str, paths: Sequence[str]) -> Generator[StringCommand, None, None]:
    """Nothing counts scripts any more."""
    if host.get_fact(Paths, paths=tuple(paths)):
        note(host, "nobody may run scripts any more: what counted them goes")
        yield StringCommand(f"systemctl disable --now {timer} || true")
        yield StringCommand("rm -f --", *(QuoteString(path) for path in paths))
        yield StringCommand("systemctl daemon-reload")


@operation()
def accepted(
    config: File, acl: File, package: str = "redis", user: str = "", image: str = ""
) -> Generator[StringCommand, None, None]:
    """Redis itself starts with these files; tried aside (in a container of `image`), when they are new to the host."""
    found = host.get_fact(Paths, paths=(config.path, acl.path))
    if any(file.path not in found or found[file.path].sha256 != file.sha256 for file in (config, acl)):
        note(host, "the configuration is new: it is tried by a server of its own first")
        aside = f"docker run --rm -i --network none --user redis --entrypoint sh {image} -c" if image else "sh -c"
        candidate = f"{config.content}==users==\n{acl.content}"
        yield StringCommand(
            program("redis/try.sh", package, user or package, shell=aside),
            _stdin=PrivateInput(candidate), _timeout=LONG,
        )  # fmt: skip


@operation()
def stopped(mode: str, container: str = "", service: str = "") -> Generator[StringCommand, None, None]:
    """The Redis of this mode does not run, nor come back at the next boot; its data stay where they are."""
    note(host, f"the Redis of mode {mode!r} is stopped in favour of the other, and its data stay behind")
    if mode == "compose":
        yield StringCommand(f"docker stop {container} && docker rm {container}")
    else:
        yield StringCommand(f"systemctl disable --now {service}")


@dataclass(frozen=True)
class Server:
    """How a Redis server is restarted, and where it says what ails it."""

    restart: str
    log: str
    runs: str
    pid: str
    stop: str
    data: str
    as_owner: str  # a shell of the user whose its data are
    aof_check: str


def in_service(settings: Settings) -> Server:
    """The server of the distribution's package, in its own service or in one of the app's."""
    unit, package, user = settings.redis_service, settings.redis_package, settings.redis_system_user
    return Server(
        # A unit that failed five times in ten seconds refuses to start until it is reset (systemd.unit(5)).
        restart=f"systemctl reset-failed {unit}; systemctl restart {unit}",
        log=f"`journalctl -u {unit}`" + (f" and /var/log/{package}/{unit}.log" if user == package else ""),
        runs=f"systemctl is-active -q {unit}",
        pid=f"systemctl show -P MainPID {unit}",
        stop=f"systemctl stop {unit}; systemctl reset-failed {unit}",
        data=settings.redis_data_dir,
        as_owner=f"setpriv --reuid={user} --regid={user} --init-groups sh -c",
        aof_check=f"{package}-check-aof",
    )


def in_container(container: str, compose_file: str, port: int, image: str) -> Server:
    """The server of our Compose file; a restart of it waits until it answers."""
    ours = compose(compose_file)
    state = f"docker inspect {container} -f"
    return Server(
        restart=f"{ours} up -d redis && {ours} restart redis && {{ {_awaited(port)}; }}",
        log=f"`docker logs {container}`",
        # Without a container there is nothing to mend; one that begins again and again is not running.
        runs=f'[ "$({state} {{{{.State.Restarting}}}} || echo false)" = false ]',
        pid=f"{state} {{{{.State.Pid}}}}",
        stop=f"docker stop {container}",
        data="/data",
        as_owner=f"docker run --rm --network none --user redis -v {container}-data:/data --entrypoint sh {image} -c",
        aof_check="redis-check-aof",
    )


def _awaited(port: int) -> str:
    answers = f"redis-cli -h 127.0.0.1 -p {port} PING 2>/dev/null | grep -q -e PONG -e NOAUTH"
    return f"for _ in $(seq 100); do if {answers}; then break; fi; sleep 0.1; done"


def has_broken_aof(server: Server) -> bool:
    """Whether a Redis does not run because it cannot read its append-only file."""
    return _broken_aof(server) is not None


def _broken_aof(server: Server) -> tuple[int, int] | None:
    check = program("redis/mend-aof.sh", server.data, server.aof_check, shell=server.as_owner)
    return host.get_fact(BrokenAof, runs=server.runs, check=check.get_raw_value())


@operation()
def aof_mended(server: Server) -> Generator[StringCommand, None, None]:
    """A Redis that does not run has an append-only file that it can read; the whole of it was kept aside before."""
    broken = _broken_aof(server)
    if broken is None:
        return
    lost, size = broken
    amount = f"the last {lost} of its {size} bytes are" if lost else "it has bytes that are"
    note(
        host,
        f"Redis does not start: its append-only file is damaged, as after a power loss: {amount} no commands. They are"
        f" cut off, and what was counted in them is lost; the whole file is kept as"
        f" {server.data}/appendonlydir.broken-(time)",
    )
    yield StringCommand(server.stop)
    yield program("redis/mend-aof.sh", server.data, server.aof_check, "mend", shell=server.as_owner)


_MISSING = "Redis' container is missing"


def _made_anew(container: str, file: Entry) -> str:
    """Why the container is yet to be made from its Compose file as that will be; "" where it runs as it should."""
    status, is_current = host.get_fact(Container, container=container, compose_file=file.path)
    if status == "running" and is_current and not _differ([file]):
        return ""
    if not status:
        return _MISSING
    as_it = "is" if status and not is_current else "will be" if _differ([file]) else ""
    return f"Redis' container is {status}" + (f", not made from the Compose file as it {as_it}" if as_it else "")


def begins_anew(container: str, file: Entry) -> bool:
    """Whether a container that is there will start again, with its data and the configuration that is new by then."""
    return _made_anew(container, file) not in ("", _MISSING)


@operation()
def composed(container: str, file: Entry, port: int) -> Generator[StringCommand, None, None]:
    """The container runs, made from the Compose file: `docker compose --profile cache up -d redis`; and it answers."""
    if why := _made_anew(container, file):
        note(host, why)
        # It may pull an image.
        yield StringCommand(f"{compose(file.path)} up -d redis && {{ {_awaited(port)}; }}", _timeout=LONG)


@operation()
def configured(
    config: File,
    acl: File,
    library: str,
    port: int,
    operator_password: SecretStr,
    server: Server,
    begins_anew: bool = False,
) -> Generator[StringCommand, None, None]:
    """The running server has this configuration, these users and these functions, and says so itself.

    One that begins anew has them from its start, but for the functions: they lie in its data.
    """
    wanted, wanted_users = directives(config.content), users(acl.content)
    load = _command(port, operator_password, f"FUNCTION LOAD REPLACE {quoted(library)}")
    live = _ask(port, operator_password)
    if begins_anew and not state.is_executing and (live.has(library) or not live.operator_let_in):
        return
    if not live.operator_let_in:
        note(host, f"Redis {_why_not(live)}")
        if live.said.startswith("BUSY"):
            yield _command(port, operator_password, "SCRIPT KILL\nFUNCTION KILL")
        elif live.said.startswith("LOADING"):
            private = PrivateInput(login(operator_password.get_secret_value()))
            yield StringCommand(program("redis/loaded.sh", str(port)), _stdin=private, _timeout=LONG)
        else:
            yield StringCommand(server.restart)
    else:
        unlike = list(config_differences(wanted, live))
        users_differ = user_differences(wanted_users, live)
        for name, running, value in unlike:
            note(host, f"Redis runs with {name} {running!r}, should be {value!r}")
        if users_differ:
            note(host, f"Redis runs with other rights for: {', '.join(users_differ)}")
        if not live.has(library):
            note(host, "Redis lacks this version of the limiters' function")
            yield load  # before the app's rights, where the operator may: an app that loses EVAL goes on with it
        elif not unlike and not users_differ:
            return
        for name, _, value in unlike:
            if name == "maxclients":
                yield _more_files(server, int(value))
            yield _command(port, operator_password, f"CONFIG SET {name} {quoted(value)}")
        if users_differ:
            yield _command(port, operator_password, "ACL LOAD")
    live = _ask(port, operator_password)
    if live.operator_let_in and not live.has(library):
        yield load
    # Read back: what could not be set live needs a restart (and AOF keeps every counter over it).
    left = _unsettled(wanted, wanted_users, _ask(port, operator_password))
    if left == ["maxclients"] and live.operator_let_in:
        yield refusal(
            f"redis_max_clients = {wanted['maxclients']}: this system lets Redis open too few files for so many"
            " connections (LimitNOFILE, or the machine's own limit); Redis goes on with"
            f" {_ask(port, operator_password).config.get('maxclients')}"
        )
    elif left:
        yield StringCommand(server.restart)
        if not _ask(port, operator_password).has(library):
            yield load
        left = _unsettled(wanted, wanted_users, _ask(port, operator_password))
        if left:
            yield refusal(f"Redis was restarted and still differs in: {', '.join(left)}; look at {server.log}")


def _why_not(live: Live) -> str:
    if not live.answers:
        return "does not answer"
    meaning = meaning_of(live.said)
    return f"is {meaning}" if meaning else "does not let the operator in: it runs with another configuration"


def _more_files(server: Server, connections: int) -> StringCommand:
    """Redis itself may not raise its bound of open files; 32 are for its own (CONFIG_MIN_RESERVED_FDS)."""
    files = connections + 32
    return StringCommand(
        f'pid=$({server.pid}); [ "$(prlimit --pid "$pid" -n -o SOFT --noheadings)" -ge {files} ]'
        f' || prlimit --pid "$pid" --nofile={files}:{files} || true'
    )


def _ask(port: int, operator_password: SecretStr) -> Live:
    return host.get_fact(Redis, port=port, _stdin=PrivateInput(question(operator_password.get_secret_value())))


def _unsettled(wanted: dict[str, str], wanted_users: dict[str, frozenset[str]], live: Live) -> list[str]:
    if not live.operator_let_in:
        return ["its operator's password"]
    return [name for name, _, _ in config_differences(wanted, live)] + user_differences(wanted_users, live)


def _command(port: int, operator_password: SecretStr, command: str) -> StringCommand:
    # Redis' own refusal (a directive that cannot be set live) is no failure: the read-back finds it.
    lines = f"{login(operator_password.get_secret_value())}{command}\n"
    return StringCommand(f"redis-cli -h 127.0.0.1 -p {port} >/dev/null 2>&1 || true", _stdin=PrivateInput(lines))
