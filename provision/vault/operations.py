"""A vault's keys, made where they stay; and the one part of sshd's configuration that is ours."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra.api import FactBase, QuoteString, StringCommand, operation
from pyinfra.context import host
from typing_extensions import override

from provision.debian.entries import File
from provision.engine import claims
from provision.engine.changes import note
from provision.engine.private import PrivateInput
from provision.vault.facts import PublicKeys

# Each pair aside first, so that one that is half made is never taken for a key.
_MAKE = r"""set -eu; umask 077
cd "$1"
for k in ssh sign; do
    if [ ! -s "$k" ] || [ ! -s "$k.pub" ]; then
        rm -f .new .new.pub
        ssh-keygen -q -t ed25519 -N '' -C "$k" -f .new
        mv .new.pub "$k.pub"; mv .new "$k"
    fi
done
if [ ! -s age ]; then rm -f .new; age-keygen -o .new 2>/dev/null; mv .new age; fi
chown "$2" ssh; sync
"""

# Tried together with all that sshd reads already; in place only when sshd takes it, and then it is told.
_CONFIGURE = r"""set -eu
part=$(mktemp /run/sshd-trial.XXXXXX); trap 'rm -f "$part" "$part".all' EXIT
cat >"$part"
{ echo "Include $part"; cat /etc/ssh/sshd_config; } >"$part.all"
install -d -m 0755 /run/sshd
"$(command -v sshd || echo /usr/sbin/sshd)" -t -f "$part.all" || {
    echo "$1: sshd refuses it (its reason stands above); nothing was changed" >&2; exit 1; }
grep -qiE '^[[:space:]]*Include[[:space:]].*/etc/ssh/sshd_config\.d/\*\.conf' /etc/ssh/sshd_config || {
    echo "/etc/ssh/sshd_config reads no /etc/ssh/sshd_config.d/*.conf: add that Include as its first line" >&2
    exit 1; }
install -m 0644 "$part" "$1.new"; sync "$1.new"; mv -fT "$1.new" "$1"
systemctl reload ssh
sha256sum <"$1" | cut -d ' ' -f 1 >"$2"
"""


class SshdLoaded(FactBase[bool]):
    """Given a drop-in of sshd's, its sum, and where the last reload was noted: whether all three agree."""

    @override
    def command(self, path: str, sha256: str, noted: str) -> StringCommand:
        return StringCommand(
            'test "$(sha256sum <', QuoteString(path), '| cut -d " " -f 1)" =', sha256,
            '&& test "$(cat', QuoteString(noted), ')" =', sha256, "&& echo loaded; true",
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> bool:
        return False

    @override
    def process(self, output: list[str]) -> bool:
        return output == ["loaded"]


@operation()
def keys_made(config_dir: str, user: str) -> Generator[StringCommand, None, None]:
    """The vault has its three pairs of keys. Those that are there stay; `user` can read the one for SSH."""
    missing = {"ssh", "age", "sign"} - set(host.get_fact(PublicKeys, config_dir=config_dir))
    if missing:
        note(host, f"keys that are not there yet: {', '.join(sorted(missing))}")
        yield StringCommand("sh -c", QuoteString(_MAKE), "make", QuoteString(config_dir), QuoteString(user))


@operation()
def sshd_told(file: File, noted: str) -> Generator[StringCommand, None, None]:
    """sshd runs with this drop-in, which it took in a trial first; `noted` says which one it has read."""
    claims.written([file.path])
    if not host.get_fact(SshdLoaded, path=file.path, sha256=file.sha256, noted=noted):
        note(host, f"{file.path}: sshd does not run with it")
        yield StringCommand(
            "sh -c", QuoteString(_CONFIGURE), "configure", QuoteString(file.path), QuoteString(noted),
            _stdin=PrivateInput(file.content),
        )  # fmt: skip


class UnitStates(FactBase[dict[str, tuple[str, str, str]]]):
    """Given systemd units, return of each whether it is active, whether it is enabled, and whether its file is newer
    than what systemd has read ("yes", "no")."""

    @override
    def command(self, units: Sequence[str]) -> StringCommand:
        return StringCommand(
            "systemctl show --property=Id,ActiveState,UnitFileState,NeedDaemonReload --",
            *(QuoteString(each) for each in units),
        )

    @staticmethod
    @override
    def default() -> dict[str, tuple[str, str, str]]:
        return {}

    @override
    def process(self, output: list[str]) -> dict[str, tuple[str, str, str]]:
        units: dict[str, tuple[str, str, str]] = {}
        values: dict[str, str] = {}
        for line in [*output, ""]:
            name, _, value = line.partition("=")
            values[name] = value
            if not line and "Id" in values:
                states = (values.get(each, "") for each in ("ActiveState", "UnitFileState", "NeedDaemonReload"))
                units[values["Id"]] = tuple(states)
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


class Due(FactBase[list[str]]):
    """Given a program, return why it says that a run of it is due, a sentence each; where there is none yet, that."""

    @override
    def command(self, program: str) -> StringCommand:
        path = QuoteString(program)
        return StringCommand("if [ -x", path, "]; then", path, "--due 2>/dev/null || true; else echo never ran; fi")

    @staticmethod
    @override
    def default() -> list[str]:
        return []

    @override
    def process(self, output: list[str]) -> list[str]:
        return output


@operation()
def ran(program: str, service: str) -> Generator[StringCommand, None, None]:
    """The program has nothing to do that it knows of; where it has, it runs now, as its timer runs it."""
    due = host.get_fact(Due, program=program)
    for reason in due:
        note(host, reason)
    if due:
        unit = QuoteString(service)
        yield StringCommand(
            "systemctl start", unit,
            "|| { journalctl --quiet --no-pager --lines=8 --output=cat -u", unit, ">&2; exit 1; }",
        )  # fmt: skip


@operation()
def reached() -> Generator[StringCommand, None, None]:
    """Changes nothing. One operation of several hosts: none goes beyond it before all others have come there."""
    host.noop("all hosts have come here")
    yield from ()
