r"""PowerShell as it is sent to a Windows host: quoted, encoded, short enough, framed to answer.

A host is only ever sent a snippet of a file, with its arguments as one JSON literal: they can be read, and checked
without a Windows host.

What this relies on:
- `powershell -EncodedCommand` takes base64 of UTF-16LE, and works whatever shell sshd starts
  (https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_powershell_exe).
- cmd.exe, sshd's default shell, takes 8,191 characters on a command line
  (https://learn.microsoft.com/troubleshoot/windows-client/shell-experience/command-line-string-limitation).
- PowerShell ends a single-quoted string at any of ' U+2018 U+2019 U+201A U+201B, and a doubled one stands for itself
  (PowerShell's tokenizer, `IsSingleQuote`).
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path

HOST = Path(__file__).with_name("host.ps1")  # what the connector asks first
LONGEST_COMMAND = 8000  # cmd.exe's 8,191, less what sshd puts before it: `c:\windows\system32\cmd.exe /c "..."`
# Bypass: the scripts that a deploy puts on a host must run where Windows' default policy allows none.
RUN = "powershell -NoProfile -NonInteractive -ExecutionPolicy Bypass -OutputFormat Text"
OWN_INPUT = "-InputFormat None"  # PowerShell leaves standard input to the script
RUN_FILE = "try {{ & {} }} catch {{ [Console]::Error.WriteLine($_.Exception.Message); exit 1 }}\nexit $LASTEXITCODE"
_SINGLE_QUOTES = "'\u2018\u2019\u201a\u201b"
_ANSWER = "winssh:"

_FRAME = """\
# winssh {name}
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
try {{ [Console]::OutputEncoding = New-Object System.Text.UTF8Encoding $false }} catch {{ $null = $_ }}
$request = ConvertFrom-Json -InputObject {arguments}
function Send-Answer($Value) {{
    $json = ConvertTo-Json -InputObject $Value -Depth 6 -Compress
    [Console]::Out.WriteLine('{answer}' + [Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes($json)))
}}
try {{
{body}}} catch {{
    [Console]::Error.WriteLine($_.Exception.Message)
    exit 1
}}
"""


def quote(text: str) -> str:
    """A single-quoted PowerShell string: nothing in it is expanded."""
    if "\x00" in text:
        raise ValueError("a PowerShell string cannot hold a NUL character")
    return "'" + re.sub(f"[{_SINGLE_QUOTES}]", lambda mark: mark[0] * 2, text) + "'"


def encode(script: str) -> str:
    """A script as the value of -EncodedCommand."""
    return base64.b64encode(script.encode("utf-16-le")).decode("ascii")


def decode(encoded: str) -> str:
    """What `encode` was given."""
    return base64.b64decode(encoded, validate=True).decode("utf-16-le")


def command(script: str) -> str | None:
    """The command line that runs a script; None when it is too long for one and must travel as a file."""
    line = f"{RUN} -EncodedCommand {encode(script)}"
    return line if len(line) <= LONGEST_COMMAND else None


def command_that_reads(script: str) -> str:
    """The command line that runs a script which reads standard input itself. Raise ValueError when it is too long."""
    line = f"{RUN} {OWN_INPUT} -EncodedCommand {encode(script)}"
    if len(line) > LONGEST_COMMAND:
        raise ValueError(f"a command line of {len(line)} characters")
    return line


def command_of_file(path: str) -> str:
    """The command line that runs a script file, wherever it lies, and ends with its exit code.

    Not `-File path`: a path with a space would need quotes that cmd.exe and PowerShell, either of which may be
    sshd's shell, read differently.
    """
    # A file that may not run, or that a virus scanner has taken away, leaves no exit code behind: `exit $null` is 0.
    return f"{RUN} -EncodedCommand {encode(RUN_FILE.format(quote(path)))}"


def file_bytes(script: str) -> bytes:
    """A script as Windows PowerShell 5.1 reads it right: UTF-8 with its mark (else: the ANSI code page), CRLF."""
    return b"\xef\xbb\xbf" + script.replace("\r\n", "\n").replace("\n", "\r\n").encode()


def script(snippet: Path, arguments: Mapping[str, object]) -> str:
    """A snippet's file, ready to run with these arguments. No secret may be among them."""
    body = snippet.read_text(encoding="utf-8")
    # ASCII only: whatever code page is on the way, JSON's own \uXXXX survive it.
    literal = quote(json.dumps(arguments, ensure_ascii=True))
    indented = "".join(f"    {line}" if line.strip() else line for line in body.splitlines(keepends=True))
    return _FRAME.format(name=snippet.stem, arguments=literal, answer=_ANSWER, body=indented)


def answer(lines: list[str]) -> object:
    """What a script answered: JSON, wrapped so that no code page and no line width can hurt it.

    Raise ValueError when no line of the output is an answer.
    """
    for line in reversed(lines):
        if line.startswith(_ANSWER):
            return json.loads(base64.b64decode(line.removeprefix(_ANSWER), validate=True))
    raise ValueError("the host gave no answer" + (f" but: {' '.join(lines)[:300]}" if lines else ""))


def text(raw: bytes) -> str:
    """Output as text, whatever its code page: UTF-8 where it is that, a mark for each other byte, no CR."""
    return raw.decode("utf-8", errors="replace").rstrip("\r\n").replace("\r", "")


def plain_errors(lines: list[str]) -> list[str]:
    """Error output without its CLIXML wrapping, which PowerShell puts on for a reader that it takes for its like."""
    joined = "".join(lines)
    if not joined.startswith("#< CLIXML"):
        return lines
    messages = re.findall(r'<S S="Error">(.*?)</S>', joined, re.DOTALL)
    unescaped = re.sub(r"_x([0-9A-Fa-f]{4})_", lambda code: chr(int(code[1], 16)), html.unescape("".join(messages)))
    return [line for line in unescaped.splitlines() if line.strip()]
