"""A vault's keys, made where they stay; and the one part of sshd's configuration that is ours."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host
from typing_extensions import override

from provision.debian.entries import File
from provision.debian.programs import program
from provision.engine import claims
from provision.engine.changes import note
from provision.engine.facts import Fact, Lines, YesOrNo, asked
from provision.engine.private import PrivateInput
from provision.engine.reach import LONG
from provision.vault.facts import PublicKeys


class SshdLoaded(YesOrNo):
    """Given a drop-in of sshd's, its sum, and where the last reload was noted: whether all three agree."""

    @override
    def command(self, path: str, sha256: str, noted: str) -> StringCommand:
        return asked(
            'test "$(sha256sum <', QuoteString(path), '| cut -d " " -f 1)" =', sha256,
            '&& test "$(cat', QuoteString(noted), ')" =', sha256, "&& echo yes; true",
        )  # fmt: skip


@operation()
def keys_made(config_dir: str, user: str) -> Generator[StringCommand, None, None]:
    """The vault has its three pairs of keys. Those that are there stay; `user` can read the one for SSH."""
    found: dict[str, str] = host.get_fact(PublicKeys, config_dir=config_dir)
    missing = {"ssh", "age", "sign"} - found.keys()
    if missing:
        note(host, f"keys that are not there yet: {', '.join(sorted(missing))}")
        yield program("vault/make-keys.sh", config_dir, user)


@operation()
def sshd_told(file: File, noted: str) -> Generator[StringCommand, None, None]:
    """sshd runs with this drop-in, which it took in a trial first; `noted` says which one it has read."""
    claims.written([file.path, noted])
    claims.placed([noted])
    if not host.get_fact(SshdLoaded, path=file.path, sha256=file.sha256, noted=noted):
        note(host, f"{file.path}: sshd does not run with it")
        configure = program("vault/configure-sshd.sh", file.path, noted)
        yield StringCommand(configure, _stdin=PrivateInput(file.content))


class UnitStates(Fact[dict[str, tuple[str, str, str]]]):
    """Given systemd units, return of each whether it is active, whether it is enabled, and whether its file is newer
    than what systemd has read ("yes", "no")."""

    @override
    def command(self, units: Sequence[str]) -> StringCommand:
        return asked(
            "systemctl show --property=Id,ActiveState,UnitFileState,NeedDaemonReload --",
            *(QuoteString(each) for each in units),
        )

    @staticmethod
    @override
    def default() -> dict[str, tuple[str, str, str]]:
        return {}

    @override
    def read(self, lines: list[str]) -> dict[str, tuple[str, str, str]]:
        units: dict[str, tuple[str, str, str]] = {}
        values: dict[str, str] = {}
        for line in [*lines, ""]:
            if line:
                name, value = line.split("=", 1)
                values[name] = value
            elif values:
                units[values["Id"]] = (values["ActiveState"], values["UnitFileState"], values["NeedDaemonReload"])
                values = {}
        return units


@operation()
def started(units: Sequence[str], read_anew: Sequence[str]) -> Generator[StringCommand, None, None]:
    """These units run, now and after every boot, and systemd has read these files of them and of the others."""
    found = host.get_fact(UnitStates, units=(*units, *read_anew))
    pending = [each for each in units if found.get(each, ("",))[:2] != ("active", "enabled")]
    stale = [each for each, states in found.items() if states[2] == "yes"]
    for each in dict.fromkeys([*pending, *stale]):
        note(host, f"{each}: does not run as its file says")
    if pending or stale:
        yield StringCommand("systemctl daemon-reload")
    for each in dict.fromkeys([*pending, *(each for each in stale if each in units)]):
        yield StringCommand("systemctl enable --now", QuoteString(each))


class Due(Lines):
    """Why a program says that a run of it is due, a sentence each; where there is none yet, that.

    `keys`: to whom its copies are to be encrypted from now on.
    """

    @override
    def command(self, program: str, keys: Sequence[str]) -> StringCommand:
        path, words = QuoteString(program), [QuoteString(key) for key in keys]
        return asked("if [ -x", path, "]; then", path, "--due", *words, "2>/dev/null || true; else echo never ran; fi")


@operation()
def ran(path: str, service: str, keys: Sequence[str] = ()) -> Generator[StringCommand, None, None]:
    """The program has nothing to do that it knows of; where it has, it runs now, as its timer runs it.

    A run that ends with an alarm of another kind is monitoring's to tell: what was due is done. One that is at work has
    begun with the settings of before, and `systemctl start` would take its end for this one's: it is waited for.
    """
    due = host.get_fact(Due, program=path, keys=tuple(keys))
    for reason in due:
        note(host, reason)
    if due:
        unit = QuoteString(service)
        yield StringCommand(
            "if systemctl is-active", unit, "| grep -qx activating; then systemctl start", unit, "2>/dev/null; fi;",
            "systemctl start", unit, '|| [ -z "$(', QuoteString(path), '--due)" ]',
            "|| { journalctl --quiet --no-pager --lines=8 --output=cat -u", unit, ">&2; exit 1; }", _timeout=LONG,
        )  # fmt: skip


@operation()
def unpushed(timer: str, paths: Sequence[str]) -> Generator[StringCommand, None, None]:
    """Nothing of this timer is on the host, and nobody's keys are."""
    note(host, "backup_offsite names no place any more: what copied there goes, and its keys")
    yield StringCommand("systemctl disable --now", QuoteString(timer), "2>/dev/null || true")
    service = QuoteString(f"{timer.removesuffix('.timer')}.service")
    yield StringCommand(
        "systemctl stop", service, "2>/dev/null; systemctl reset-failed", service, "2>/dev/null || true"
    )
    for path in paths:  # in this order
        yield StringCommand("rm -f --", QuoteString(path))
    yield StringCommand("systemctl daemon-reload")


@operation()
def reached() -> Generator[StringCommand, None, None]:
    """Changes nothing. One operation of several hosts: none goes beyond it before all others have come there."""
    host.noop("all hosts have come here")
    yield from ()
