"""The few PowerShell snippets that a Windows host is ever sent: the files in `files/windows/snippets/`."""

from __future__ import annotations

from collections.abc import Mapping

from provision.settings.project import PROJECT
from provision.winssh import powershell

_FILES = {path.stem: path for path in (powershell.HOST, *(PROJECT / "files/windows/snippets").glob("*.ps1"))}


def names() -> list[str]:
    """The names of all of them."""
    return sorted(_FILES)


def script(name: str, arguments: Mapping[str, object]) -> str:
    """One of them, ready to run with these arguments. No secret may be among them."""
    return powershell.script(_FILES[name], arguments)
