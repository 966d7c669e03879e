"""The list of what of a host came from us, brought up to date at the end of a deploy."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.context import host
from typing_extensions import override

from provision.debian.entries import Directory, File
from provision.debian.files import Paths, placed, refusal
from provision.engine.changes import note, warn
from provision.engine.claims import KINDS, claims, written
from provision.engine.claims import placed as seen
from provision.engine.facts import Fact, asked
from provision.engine.inside import commands_of
from provision.record import layout, removal

_JOURNAL, _OTHER = "==journal==", "==other=="


@dataclass(frozen=True)
class Answer:
    """The text of the app's list ("" where there is none), the lines of its journal, other apps' lists by path."""

    text: str = ""
    journal: tuple[str, ...] = ()
    others: Mapping[str, str] = field(default_factory=dict)


class Lists(Fact[Answer]):
    """Given where an app's list and journal lie, return these, and the lists of other apps beside them."""

    @override
    def command(self, path: str, journal: str) -> StringCommand:
        # A pipe in its place is waited at by nobody, and what has no last line break gets one.
        ours = [
            word for file in (QuoteString(path), QuoteString(journal))
            for word in ("if [ -f", file, "]; then cat --", file, "&& echo; fi 2>/dev/null;", f"echo {_JOURNAL};")
        ][:-1]  # fmt: skip
        return asked(
            *ours, "for f in /var/lib/*-deploy/host.json; do if [ -f \"$f\" ] && [ \"$f\" !=", QuoteString(path),
            f"]; then echo \"{_OTHER}$f\"; cat -- \"$f\"; echo; fi; done; true",
        )  # fmt: skip

    @staticmethod
    @override
    def default() -> Answer:
        return Answer()

    @override
    def read(self, lines: list[str]) -> Answer:
        if not lines:
            return self.default()
        at = lines.index(_JOURNAL)
        others = [n for n, line in enumerate(lines) if line.startswith(_OTHER)]
        ends = [*others, len(lines)]
        texts = {
            lines[begin].removeprefix(_OTHER): "\n".join(lines[begin + 1 : end])
            for begin, end in zip(others, ends[1:], strict=True)
        }
        return Answer("\n".join(lines[:at]), tuple(lines[at + 1 : ends[0]]), texts)


@operation()
def listed(
    path: str, journal: str, history: str, version: str, environment: str, roles: Sequence[str]
) -> Generator[StringCommand, None, None]:
    """The file says the version, the roles, and all that came from us, by this deploy or an earlier one."""
    answer = host.get_fact(Lists, path=path, journal=journal)
    try:
        earlier = layout.read(answer.text, answer.journal)
    except ValueError:
        sentence = f"{path} is not what a deploy has written: fix it, or remove it to begin a new list"
        note(host, sentence)
        yield refusal(sentence)
        return
    directory = posixpath.dirname(path)
    # The history is written at the very end, by the command: it is ours whether or not it is there yet.
    seen([directory, path, history])
    written([path, history])
    claims().ours["directories"].add(directory)
    now = _now(earlier, version, environment, roles)
    now.sums.pop(path, None)  # no text holds its own sum
    _tell_of_leftovers(now, roles, environment)
    _tell_of_others(answer.others, environment)
    yield from commands_of(placed, [Directory(directory), File(path, layout.text(now, roles))])
    if answer.journal or claims().began:
        yield StringCommand("rm -f --", QuoteString(journal))


def _now(earlier: layout.Listed, version: str, environment: str, roles: Sequence[str]) -> layout.Listed:
    """What the list says from now on: of a role that the host left what it last had."""
    ours = {kind: earlier.ours[kind] | claims().ours[kind] for kind in KINDS}
    gone = _gone(ours["files"] | ours["directories"])
    left_roles = {role: found for role, found in earlier.of.items() if role not in roles}
    of = {role: _with_packages(found, earlier.of.get(role)) for role, found in claims().of.items()}
    of |= {role: _less(found, gone) for role, found in left_roles.items()}
    left = {role: _less(found, gone) for role, found in earlier.left.items() if role not in roles}
    left |= {role: _former(earlier, role) for role in roles}
    return layout.Listed(
        version, environment, layout.things(_less(ours, gone)), of, {r: f for r, f in left.items() if any(f.values())},
        earlier.sums | claims().sums,
    )  # fmt: skip


def _with_packages(found: layout.Things, before: layout.Things | None) -> layout.Things:
    """Which packages are needed may hang on a host that this run leaves alone: those that were, are."""
    return found | {"packages": found["packages"] | before["packages"]} if before else found


def _former(earlier: layout.Listed, role: str) -> layout.Things:
    """Where a role of the host kept its data before a setting named another place, as long as that is there."""
    before = [each["data"] for each in (earlier.of.get(role), earlier.left.get(role)) if each]
    paths = set().union(*before) - claims().of.get(role, {}).get("data", set())
    there = paths - _gone(paths)
    return layout.things({"data": there, "directories": there & earlier.ours["directories"]})


def former_data(role: str, path: str, journal: str) -> list[str]:
    """Where the role at hand, which has said where its data is, kept it before, as the app's list on the host says."""
    answer = host.get_fact(Lists, path=path, journal=journal)
    try:
        return sorted(_former(layout.read(answer.text, answer.journal), role)["data"])
    except ValueError:
        return []  # `listed` says what is wrong with it


def _less(found: Mapping[str, set[str]], gone: set[str]) -> layout.Things:
    return {kind: names - gone if kind in ("files", "directories") else set(names) for kind, names in found.items()}


def _tell_of_leftovers(now: layout.Listed, roles: Sequence[str], environment: str) -> None:
    """What no deploy takes away by itself, with the command that does."""
    for role in roles:
        for path in sorted(now.left.get(role, {}).get("data", set()) - claims().explained):
            warn(
                host,
                f"{path} is where {role} had its data before a setting named another place: what lies there stays, and"
                " nothing looks there any more. Move it to the new place, its owner kept (mv does), or delete it",
            )
    for role, found in removal.leftovers(now, roles).items():
        ours = {kind: found[kind] & now.ours.get(kind, set()) for kind in found}
        whose = "what no setting asks for any more" if role == removal.UNUSED else f"what it had as {role}"
        named = f" ({', '.join(sorted(ours['files'])[:3])}, ...)" if role == removal.UNUSED and ours["files"] else ""
        warn(
            host,
            f"still has {whose}: {removal.in_words(ours)}{named}. `make remove ENV={environment} LIMIT={host.name}"
            f" ROLE={role}` takes it away",
        )


def readable(texts: Mapping[str, str]) -> dict[str, layout.Listed]:
    """By app_name what such lists say; those that cannot be read are somebody else's."""
    found = {}
    for path, text in texts.items():
        with contextlib.suppress(ValueError):
            found[posixpath.basename(posixpath.dirname(path)).removesuffix("-deploy")] = layout.read(text)
    return found


def _tell_of_others(others: Mapping[str, str], environment: str) -> None:
    """What a deploy of an environment of this name put here under another app_name: perhaps this app's former one."""
    for app, other in readable(others).items():
        if other.environment == environment:
            for role in sorted(other.of):
                warn(
                    host,
                    f"has the role {role} of an app {app!r} too: {removal.in_words(other.of[role])}. If that was this"
                    f" one's app_name before, `make remove ENV={environment} LIMIT={host.name} ROLE={role} APP={app}`"
                    " takes it away",
                )


def _gone(paths: set[str]) -> set[str]:
    """Those of the paths that this deploy does not see to, and that are not on the host any more."""
    others = sorted(paths - claims().placed)
    return set(others) - host.get_fact(Paths, paths=tuple(others)).keys() if others else set()
