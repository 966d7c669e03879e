"""The list of what of a host came from us: where it lies, and its text. Pure."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Mapping

from provision.engine.claims import KINDS
from provision.settings import Settings

_CRON = "/etc/cron.d"
_UNITS = "/etc/systemd/system"
_UNIT_KINDS = (".service", ".timer", ".socket", ".path", ".mount", ".target", ".slice")


def path(settings: Settings) -> str:
    return f"/var/lib/{settings.app_name}-deploy/host.json"


def journal(settings: Settings) -> str:
    """What a deploy is about to make, between its beginning and its end."""
    return f"/var/lib/{settings.app_name}-deploy/journal"


def history(settings: Settings) -> str:
    """Who did what to the host, and when: a line of JSON for each."""
    return f"/var/lib/{settings.app_name}-deploy/history.jsonl"


def text(version: str, roles: Iterable[str], ours: Mapping[str, Iterable[str]]) -> str:
    """The list as JSON: the same for the same host. `cron` and `units` name some of its `files` once more."""
    listed = {kind: sorted(set(ours.get(kind, ()))) for kind in KINDS}
    cron = [file for file in listed["files"] if posixpath.dirname(file) == _CRON]
    units = [
        posixpath.basename(file)
        for file in listed["files"]
        if posixpath.dirname(file) == _UNITS and file.endswith(_UNIT_KINDS)
    ]
    whole = {"version": version, "roles": sorted(roles), **listed, "cron": cron, "units": units}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def ours(text: str, journal: Iterable[str]) -> dict[str, set[str]]:
    """By kind, what an earlier list and journal say. Raise ValueError where the list is none."""
    whole = json.loads(text) if text.strip() else {}
    if not isinstance(whole, dict):
        raise ValueError("is not a list of what came from us")
    found = {kind: set(whole.get(kind, ())) for kind in KINDS}
    for line in journal:
        kind, _, name = line.partition("\t")
        if kind in found and name:
            found[kind].add(name)
    return found
