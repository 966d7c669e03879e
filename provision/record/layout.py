"""The list of what of a host came from us: where it lies, and its text. Pure."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from provision.engine.claims import CONTENTS, KINDS
from provision.settings import Settings

_CRON = "/etc/cron.d"
_UNITS = "/etc/systemd/system"
_UNIT_KINDS = (".service", ".timer", ".socket", ".path", ".mount", ".target", ".slice")

Things = dict[str, set[str]]
"""Names or paths, by kind."""


def path(settings: Settings) -> str:
    return path_of(settings.app_name)


def path_of(app_name: str) -> str:
    return f"/var/lib/{app_name}-deploy/host.json"


def journal(settings: Settings) -> str:
    """What a deploy is about to make, between its beginning and its end."""
    return f"/var/lib/{settings.app_name}-deploy/journal"


def history(settings: Settings) -> str:
    """Who did what to the host, and when: a line of JSON for each."""
    return f"/var/lib/{settings.app_name}-deploy/history.jsonl"


@dataclass
class Listed:
    """What a list says: by kind what came from us; by role what the role needs, whosever that was; by role what a
    removal left behind; the sum of what we wrote into each file."""

    version: str = ""
    environment: str = ""
    ours: Things = field(default_factory=lambda: things({}))
    of: dict[str, Things] = field(default_factory=dict)
    left: dict[str, Things] = field(default_factory=dict)
    sums: dict[str, str] = field(default_factory=dict)


def things(found: Mapping[str, Iterable[str]]) -> Things:
    return {kind: set(found.get(kind, ())) for kind in (*KINDS, *CONTENTS)}


def text(listed: Listed, roles: Iterable[str]) -> str:
    """The list as JSON: the same for the same host. `cron` and `units` name some of its `files` once more."""
    ours = _sorted(listed.ours, KINDS)
    whole = {
        "version": listed.version, "environment": listed.environment, "roles": sorted(roles), **ours,
        "cron": [file for file in ours["files"] if posixpath.dirname(file) == _CRON], "units": units(ours["files"]),
        "of": _by_role(listed.of), "left": _by_role(listed.left),
        "sums": {file: listed.sums[file] for file in ours["files"] if file in listed.sums},
    }  # fmt: skip
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def units(files: Iterable[str]) -> list[str]:
    """Those of the files that are units of systemd's, by their names."""
    names = [posixpath.basename(file) for file in files if posixpath.dirname(file) == _UNITS]
    return [name for name in names if name.endswith(_UNIT_KINDS)]


def _by_role(roles: Mapping[str, Things]) -> dict[str, dict[str, list[str]]]:
    return {role: {k: v for k, v in _sorted(roles[role], (*KINDS, *CONTENTS)).items() if v} for role in sorted(roles)}


def _sorted(found: Things, kinds: Iterable[str]) -> dict[str, list[str]]:
    return {kind: sorted(found.get(kind, ())) for kind in kinds}


def read(text: str, journal: Iterable[str] = ()) -> Listed:
    """What an earlier list and journal say. Raise ValueError where the list is none."""
    try:
        listed = _read(json.loads(text) if text.strip() else {})
    except (ValueError, TypeError, AttributeError):
        raise ValueError("is not a list of what came from us") from None
    for line in journal:
        kind, _, name = line.partition("\t")
        if kind in KINDS and name:
            listed.ours[kind].add(name)
    return listed


def _read(whole: Any) -> Listed:
    return Listed(
        str(whole.get("version", "")), str(whole.get("environment", "")), things(whole),
        {role: things(found) for role, found in whole.get("of", {}).items()},
        {role: things(found) for role, found in whole.get("left", {}).items()}, whole.get("sums", {}) | {},
    )  # fmt: skip
