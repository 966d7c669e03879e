"""What changed between two answers of `status --json`. Pure. The earlier comes from a file: it may say anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from provision.commands.health import WORDS

_MUCH = 0.2  # of a database's size


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A sentence for each change that a person would want to hear of; none: all is as it was."""
    if before.get("version") != now["version"]:
        return ["the last report is of another version of this project: from the next one on"]
    old, new = _by(before, "hosts", "host"), _by(now, "hosts", "host")
    gone = [f"{name}: is not in this report, it was in the last one" for name in old if name not in new]
    return [*(each for name in new for each in _of_host(name, old.get(name), new[name])), *gone]


def _of_host(name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> Iterator[str]:
    if old is None:
        yield f"{name}: was not in the last report"
        return
    was, now = (_word(each.get("severity")) for each in (old, new))
    if was != now:
        yield f"{name}: {now}, it was {was}"
    told, tell = _findings(old), _findings(new)
    yield from (f"{_subject(name, *tell[each])}, new: {tell[each][1]}" for each in tell if each not in told)
    if not new.get("asked"):
        return
    yield from (f"{_subject(name, *told[each])}, no more: {told[each][1]}" for each in told if each not in tell)
    earlier, later = _by(old, "backups", "database"), _by(new, "backups", "database")
    for database in later:
        yield from (f"{name} {database}: {each}" for each in _of_database(earlier.get(database), later[database]))
    yield from (f"{name} {database}: has no backups any more" for database in earlier if database not in later)


def _of_database(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> Iterator[str]:
    if old is None:
        yield "was not there"
        return
    if new.get("newest_good") and new.get("newest_good") == old.get("newest_good"):
        yield "no newer good backup was made"
    was, now = old.get("bytes"), new.get("bytes")
    if _is_number(was) and _is_number(now) and was and abs(now / was - 1) >= _MUCH:
        yield f"its dumps {'grew' if now > was else 'shrank'} by {abs(now / was - 1) * 100:.0f} %"
    test, before = new.get("restore_test"), old.get("restore_test")
    if isinstance(test, dict) and test != before:
        yield f"restored as a test: {test.get('verdict') or 'no verdict'}"
    for vault, hours in (new.get("off_site") or {}).items():
        earlier = old.get("off_site")
        had = earlier.get(vault) is not None if isinstance(earlier, dict) else False
        if had != (hours is not None):
            yield f"{vault} has {'a' if hours is not None else 'no'} proven copy now"


def _by(whole: Mapping[str, Any], members: str, key: str) -> dict[str, Mapping[str, Any]]:
    entries = whole.get(members)
    found = [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []
    return {str(each.get(key)): each for each in found}


def _subject(host: str, database: str, _: str) -> str:
    return f"{host} {database}".strip()


def _findings(host: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Each database and what is wrong, by what of it stays from day to day: not ages, amounts and names of dumps."""
    entries = host.get("findings")
    found = [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []
    told = [(str(each.get("database", "")), str(each.get("what", ""))) for each in found]
    return {re.sub(r"\d+", "0", "\n".join(each)): each for each in told}


def _word(severity: object) -> str:
    return WORDS[severity] if isinstance(severity, int) and 0 <= severity < len(WORDS) else "unknown"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
