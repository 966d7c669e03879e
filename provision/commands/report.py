"""`make report`: the fleet on one page that needs nothing but a browser, and what changed since the last one."""

from __future__ import annotations

import functools
import json
import os
import re
import stat
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from provision.commands import pictures, since, status
from provision.commands.health import NOT_ASKED, OK, WORDS, Finding, Health, databases, own
from provision.engine.environments import ROLES, InventoryError
from provision.engine.shown import line, shown
from provision.settings import secrets
from provision.settings.project import commit, version
from provision.settings.render import TEMPLATES

_LINES = 20  # of each host's history
_DONE = 40  # of the fleet's, on the page
_WORD, _SENTENCE = 40, 200  # characters of what a host says
_LARGEST = 64 << 20  # bytes of a page that is read again
# The page holds what `status --json` says, for the next report to compare with.
_DATA = re.compile(r'<script type="application/json" id="status">(.*?)</script>', re.DOTALL)


def run(arguments: Namespace) -> int:
    """Write the page. Exit code as status'; 3 also where it cannot be written: an old one is not taken for new."""
    try:
        out = _out(arguments.out)
        before = last(out, arguments.env)
        healths = status.fleet(arguments, _LINES)
        text = page(arguments.env, healths, before)
        _write(out, text)
    except InventoryError as error:
        print(line(f"error: {error}"), file=sys.stderr)
        return NOT_ASKED
    print(shown(f"{out}: {summary(healths)}"))
    return max((health.severity for health in healths), default=OK)


def summary(healths: Sequence[Health]) -> str:
    """How many hosts there are, and how many of each state, the worst first."""
    counts = [sum(health.severity == severity for health in healths) for severity in range(len(WORDS))]
    states = ", ".join(f"{counts[severity]} {WORDS[severity]}" for severity in (3, 2, 1, 0) if counts[severity])
    return f"{len(healths)} host{'' if len(healths) == 1 else 's'}: {states}"


def _out(name: str) -> Path:
    if not name:
        raise InventoryError("say where to: make report ENV=... OUT=report.html")
    out = Path(name)
    if not out.absolute().parent.is_dir() or not os.access(out.absolute().parent, os.W_OK):
        raise InventoryError(f"OUT={name}: {out.absolute().parent} is no directory that you may write in")
    return out


def last(out: Path, environment: str) -> dict[str, Any] | None:
    """What the report that stands there says; None: there is none. Raise InventoryError for what is none of ours."""
    try:
        text = _text(out)
        found = _DATA.findall(text)
        document = json.loads(found[-1]) if found else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("environment") != environment:
        raise InventoryError(f"OUT={out} is there, and is no report of {environment}: name another file, or remove it")
    return document


def _text(out: Path) -> str:
    """A regular file's, and no link's: what is there is replaced. Raise OSError for what is something else."""
    with os.fdopen(os.open(out, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            raise OSError("is no page")
        return file.read().decode(errors="replace")


def _write(out: Path, text: str) -> None:
    """It tells of hosts, people and faults: for whoever wrote it, who may show it to others."""
    try:
        secrets.write_private(out, text.encode())
    except OSError as error:
        raise InventoryError(f"{out} cannot be written: {error.strerror}") from None


def page(environment: str, healths: Sequence[Health], before: Mapping[str, Any] | None) -> str:
    """The page's text, the worst first. What hosts say in it is text, and no character of it is unseen."""
    now = status.document(environment, list(healths))
    changes = [] if before is None else since.changes(before, now)
    worst = max((health.severity for health in healths), default=OK)
    return _environment().get_template("report.html.j2").render(
        environment=environment, now=now, since=_asked(before), worst=worst, words=WORDS, summary=summary(healths),
        style=Markup((TEMPLATES / "commands/report.css").read_text(encoding="utf-8")),  # ours, to the letter
        data=_embedded(now), findings=_findings(healths), fleet=_fleet(healths), databases=list(_databases(healths)),
        changes=changes, redis=list(_redis(healths)), done=_done(healths),
        project=f"{version()} {commit()}".strip(), width=pictures.WIDTH, height=pictures.HEIGHT,
    )  # fmt: skip


def _asked(before: Mapping[str, Any] | None) -> str | None:
    return None if before is None else str(before.get("asked"))[:_WORD]


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES / "commands"), undefined=StrictUndefined, autoescape=True, trim_blocks=True,
        lstrip_blocks=True, finalize=lambda value: value if isinstance(value, Markup) else shown(value),
    )  # fmt: skip


def _embedded(document: Mapping[str, Any]) -> Markup:
    """JSON in which nothing ends the element that it stands in."""
    text = json.dumps(document).replace("\x7f", "\\u007f")
    return Markup(text.translate({ord(each): f"\\u{ord(each):04x}" for each in "<>&"}))


def _findings(healths: Sequence[Health]) -> list[tuple[str, Finding]]:
    told = [(health.member.name, finding) for health in healths for finding in health.findings]
    return sorted(told, key=lambda pair: -pair[1].severity)


def _fleet(healths: Sequence[Health]) -> list[dict[str, Any]]:
    return [
        {
            "host": health.member.name,
            "severity": health.severity,
            "roles": ", ".join(role for role in ROLES if role in health.member.groups),
            "wrong": len(health.findings),
        }
        for health in healths
    ]


@dataclass(frozen=True)
class Database:
    """One of a host's, as its rows in the table of `status` say, and in pictures."""

    host: str
    name: str
    row: Mapping[str, str]
    severity: int
    pictures: Sequence[pictures.Picture]
    test: Sequence[str]  # the last restore test: verdict, when, the dump, what was said
    off_site: Mapping[str, str]  # by vault, how old its newest proven copy is


def _databases(healths: Sequence[Health]) -> Iterator[Database]:
    for health in healths:
        report = health.report
        if not health.asked or report is None or report.now is None:
            continue
        names, found = databases(health.member.settings, report), health.findings
        for name, row in zip(names, status.rows_of(health), strict=True):
            severity = max((each.severity for each in found if each.database == name), default=OK)
            allowed = health.member.settings.backup_maximum_age_hours
            drawn = pictures.of(pictures.dumps(name, report), report.now, allowed, status.size)
            test = _test(own(name, report.restore_tests))
            if health.member.settings.backup_encrypt_local:
                test = [status.BY_A_VAULT, "", "", ""]
            yield Database(health.member.name, name, row, severity, drawn, test, status.off_site(health, name))


def _test(tests: Sequence[Mapping[str, Any]]) -> list[str]:
    if not tests:
        return ["never", "", "", ""]
    said = [str(tests[0].get(name) or "")[:_SENTENCE] for name in ("verdict", "tested", "dump", "message")]
    return [said[0] or "no verdict", *said[1:]]


@dataclass(frozen=True)
class Redis:
    """What a host's Redis says of itself; "unknown" where it does not."""

    host: str
    severity: int
    words: str
    version: str
    memory: str
    clients: str
    refusals: str
    evicted: str


def _redis(healths: Sequence[Health]) -> Iterator[Redis]:
    for health in healths:
        if health.redis:
            info = health.redis_info
            yield Redis(
                health.member.name, OK if health.redis == "up" else 2, health.redis,
                (info.get("valkey_version") or info.get("redis_version", "unknown"))[:_WORD],
                _of_limit(info, "used_memory", "maxmemory", status.size),
                _of_limit(info, "connected_clients", "maxclients", lambda number: f"{number:.0f}"),
                _refusals(info), _amount(info, "evicted_keys"),
            )  # fmt: skip


def _of_limit(info: Mapping[str, str], name: str, limit: str, in_words: Any) -> str:
    value, most = _number(info, name), _number(info, limit)
    if value is None:
        return "unknown"
    return f"{in_words(value)} of {in_words(most)} ({value / most * 100:.0f} %)" if most else in_words(value)


def _refusals(info: Mapping[str, str]) -> str:
    """Since its start: connections over the limit, logins, and commands that a user has no right to."""
    denied = [_number(info, f"acl_access_denied_{kind}") for kind in ("auth", "cmd", "key", "channel")]
    rejected = f"{_amount(info, 'rejected_connections')} connections"
    if None in denied:  # Redis before 7.2 does not count them
        return rejected
    logins, *rights = (each or 0 for each in denied)
    return f"{rejected}, {logins} logins, {sum(rights)} commands"


def _amount(info: Mapping[str, str], name: str) -> str:
    number = _number(info, name)
    return "unknown" if number is None else str(number)


def _number(info: Mapping[str, str], name: str) -> int | None:
    text = info.get(name, "")
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else None


def _done(healths: Sequence[Health]) -> list[dict[str, str]]:
    """What people did, the newest first; the same on many hosts is one line."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for health in healths:
        for each in health.done:
            what = f"{each['what']} {each.get('database', '')}".strip()
            told = (each["time"][:16].replace("T", " "), what, each["who"], each["result"])
            alike.setdefault(told, []).append(health.member.name)
    return [
        {"time": time, "what": what, "who": who, "result": result, "hosts": ", ".join(sorted(set(hosts)))}
        for (time, what, who, result), hosts in sorted(alike.items(), reverse=True)[:_DONE]
    ]
