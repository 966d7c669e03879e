"""What can be said about PowerShell text without running it: PowerShell's own parser, and rules on its tree for 5.1.

.NET's members are looked up in the list of .NET Framework 4.7.2, which Windows PowerShell 5.1 stands on. Cmdlets and
their parameters are a list of ours: only what stands there may be used, and each was looked up in 5.1's reference
(https://learn.microsoft.com/powershell/module/?view=powershell-5.1).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.windows import archives

PARSE = Path(__file__).with_name("parse.ps1")
_COMMON = {"ErrorAction"}
_CMDLETS: dict[str, set[str]] = {
    "Add-Type": {"Namespace", "Name", "MemberDefinition", "PassThru"},
    "ConvertFrom-Json": {"InputObject"},
    "ConvertTo-Json": {"InputObject", "Depth", "Compress"},
    "ForEach-Object": set(),
    "Get-Acl": {"LiteralPath"},
    "Get-ChildItem": {"Path", "LiteralPath", "Force", "Recurse", "Filter", "File"},
    "Get-Command": {"Name"},
    "Get-Date": set(),
    "Get-FileHash": {"LiteralPath", "Algorithm"},
    "Get-Item": {"LiteralPath", "Force"},
    "Get-ItemProperty": {"Path", "Name"},
    "Get-Variable": {"Name", "ValueOnly"},
    "Join-Path": set(),  # -AdditionalChildPath is newer
    "New-Item": {"ItemType", "Path", "Force", "Value"},
    "New-Object": {"ComObject"},
    "Remove-Item": {"LiteralPath", "Recurse", "Force"},
    "Select-Object": {"First", "Unique", "Skip"},
    "Set-Acl": {"LiteralPath", "AclObject"},
    "Set-Location": {"LiteralPath"},
    "Set-StrictMode": {"Version"},
    "Sort-Object": {"Property", "Descending"},
    "Split-Path": {"Parent", "Leaf"},
    "Start-Sleep": {"Seconds", "Milliseconds"},
    "Test-Path": {"LiteralPath", "PathType"},
    "Where-Object": set(),
}
_KNOWN = {name.lower(): {each.lower() for each in parameters | _COMMON} for name, parameters in _CMDLETS.items()}
_PROGRAMS = {"winget.exe"}


def faults_each(texts: Sequence[str]) -> list[list[str]]:
    """Everything that is wrong with each script, with its line. One run of PowerShell for all: each takes a second."""
    return [_faults(report, set()) for report in reports(texts)]


def faults_of(texts: Sequence[str]) -> list[list[str]]:
    """The faults of scripts that use each other's functions."""
    found = reports(texts)
    functions = {name for report in found for name in report["functions"]}
    return [_faults(report, functions) for report in found]


def reports(texts: Sequence[str]) -> list[dict[str, Any]]:
    """What the parser says of each text."""
    with tempfile.TemporaryDirectory() as place:
        paths = [Path(place) / f"{number}.ps1" for number in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_text("\ufeff" + text.removeprefix("\ufeff"), encoding="utf-8")
        listed = Path(place) / "list"
        listed.write_text("\n".join(map(str, paths)), encoding="utf-8")
        argv = [str(archives.pwsh()), "-NoProfile", "-NonInteractive", "-File", str(PARSE), str(listed)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _faults(report: dict[str, Any], functions: set[str]) -> list[str]:
    own = {name.lower() for name in functions | {*report["functions"]}}
    found = [*_syntax(report), *_members(report)]
    for command in report["commands"]:
        found += [f"line {command['line']}: {told}" for told in _command(command, own)]
    return found


def _syntax(report: dict[str, Any]) -> Iterator[str]:
    for error in report["errors"]:
        yield f"line {error['line']}: syntax: {error['text']}"
    for token in report["newer"]:
        yield f"line {token['line']}: {token['text']} is an operator that Windows PowerShell 5.1 does not have"
    for drive in report["drives"]:
        yield f'line {drive["line"]}: "{drive["text"]}" names a drive: write ${{name}}:'
    for line in report["quotes"]:
        yield f"line {line}: a typographic quote, which PowerShell takes for a plain one"


def _command(command: dict[str, Any], own: set[str]) -> Iterator[str]:
    if command["merges"]:
        yield "2>&1 on a program ends a 5.1 script under Stop"
    name = command["name"]
    if command["operator"] == "Dot":
        return
    if command["operator"] == "Ampersand":
        # No failure of a program is an error to PowerShell; `& $Action` of a script block has none.
        if command["target"] != "$Action" and "$LASTEXITCODE" not in command["next"]:
            yield "a program was started and $LASTEXITCODE not looked at"
        return
    if name is None or name.lower() in own or name in _PROGRAMS:
        return
    known = _KNOWN.get(name.lower())
    if known is None:
        yield f"{name} is not in the list of 5.1's cmdlets that are used here: an alias, or one to look up"
        return
    for parameter in command["parameters"]:
        if parameter.lower() not in known:
            yield f"{name} -{parameter} is not in the list of 5.1's parameters that are used here"


def _members(report: dict[str, Any]) -> Iterator[str]:
    members = archives.net472_members()
    for call in report["calls"]:
        if call["formats"]:
            yield f"line {call['line']}: a comma after -f ends a method's argument: write another pair of parentheses"
        if members is not None and not _is_known(call, members):
            yield f"line {call['line']}: {call['type'] or '?'}.{call['member']}({call['count']}) is not in .NET 4.7.2"
    for use in report["properties"]:
        if members is not None and not _is_powershells(use["type"]) and _of(use) not in members:
            yield f"line {use['line']}: {use['type']}::{use['member']} is not in .NET 4.7.2"
    for command in report["commands"]:
        kind = _made(command)
        if members is not None and kind and f"{kind} type" not in members and f"System.{kind} type" not in members:
            yield f"line {command['line']}: New-Object {kind} is not in .NET 4.7.2"


def _of(use: dict[str, Any]) -> str:
    return f"{use['type']} static {use['member']}"


def _made(command: dict[str, Any]) -> str | None:
    if command["name"] != "New-Object" or "ComObject" in command["parameters"]:
        return None
    return str(command["arguments"][0]).strip("'\"")


def _is_powershells(name: str) -> bool:
    return name.startswith("System.Management.Automation") or name.endswith("[]")


def _is_known(call: dict[str, Any], members: frozenset[str]) -> bool:
    name, count = call["member"].strip("'\""), call["count"]
    if call["type"] is None:
        # Of what a variable holds only this can be said; COM's own objects aside.
        return f"{name}({count})" in _instance_calls() or name in _COM
    if _is_powershells(call["type"]):
        return True
    return f"{call['type']} {'' if name == 'new' else 'static '}{name}({count})" in members


_COM = {"Connect", "GetFolder", "GetTasks", "CreateFolder", "RegisterTask", "DeleteTask", "DeleteFolder",
        "GetDiskFreeSpaceEx", "GetUnresolvedProviderPathFromPSPath"}  # fmt: skip


@cache
def _instance_calls() -> frozenset[str]:
    words = (line.split(" ") for line in archives.net472_members() or ())
    return frozenset(word[-1] for word in words if len(word) == 2)
