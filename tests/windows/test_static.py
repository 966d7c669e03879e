"""Every PowerShell text that a host gets is free of what can be seen without running it."""

from __future__ import annotations

import pytest

from provision.settings.render import plain
from provision.windows import layout, snippets
from tests.windows import archives
from tests.windows.settings import default_settings, hostile_settings
from tests.windows.static import faults_each, faults_of

pytestmark = pytest.mark.skipif(archives.pwsh() is None, reason=f"not run: no PowerShell; {archives.HOW}")
needs_members = pytest.mark.skipif(
    archives.net472_members() is None, reason=f"not run: no net472-members.txt.xz; {archives.HOW}"
)


@pytest.mark.parametrize("settings", [default_settings(), hostile_settings()], ids=["default", "hostile"])
def test_the_scripts_and_their_settings_have_no_fault(settings):
    names = [*(f"windows/lib/{name}.ps1" for name in layout.LIBRARIES),
             "windows/backup-database.ps1", "windows/restore-database.ps1"]  # fmt: skip
    texts = [layout.script_settings(settings), *map(plain, names)]
    found = dict(zip(["settings", *names], faults_of(texts), strict=True))
    assert {name: told for name, told in found.items() if told} == {}


def test_a_snippet_that_a_host_is_sent_has_no_fault():
    names = snippets.names()
    texts = [snippets.script(name, {"paths": ["C:\\it's"], "xml": "<a/>"}) for name in names]
    found = dict(zip(names, faults_each(texts), strict=True))
    assert {name: told for name, told in found.items() if told} == {}


def test_no_secret_is_in_a_script():
    assert all("p@ss" not in entry.content.decode("utf-8-sig") for entry in layout.scripts(hostile_settings()))


def test_a_script_is_written_as_windows_powershell_reads_it():
    for entry in layout.scripts(hostile_settings()):
        assert entry.content.startswith(b"\xef\xbb\xbf")
        assert b"\n" not in entry.content.replace(b"\r\n", b"")


RULES = [
    ("if ($a) { 'x'", "syntax"),
    ("$a = @(1, 2", "syntax"),
    ("function f { ", "syntax"),
    ("$x = @'\nnever closed\n", "syntax"),
    ("foreach ($a of $b) { }", "syntax"),
    ("[CmdletBinding() param()", "syntax"),
    ("$x = \u2018smart\u2019", "typographic"),
    ("ls C:\\", "ls is not in the list"),
    ("Get-Item x | % { $_ }", "% is not in the list"),
    ("Write-Host 'x'", "Write-Host"),
    ("'x' | Out-File y", "Out-File"),
    ("Get-Content -LiteralPath x -AsByteStream", "Get-Content"),
    ("ConvertFrom-Json -InputObject x -AsHashtable", "-AsHashtable"),
    ("Remove-Item -LiteralPath x -Whatever", "-Whatever"),
    ("& $pgDump '--version'\n$x = 1", "LASTEXITCODE"),
    ("& $pgDump '--version'", "LASTEXITCODE"),
    ('"$name:x"', "names a drive"),
    ("Get-Item -LiteralPath x && Get-Item -LiteralPath y", "5.1"),
    ("$x = $y ?? 1", "5.1"),
    ("$x = $y ? 1 : 2", "5.1"),
    ("${x}?.Length", "5.1"),
    ("[Console]::WriteLine('{0} {1}' -f 1, 2)", "another pair of parentheses"),
    ("& $p 2>&1\nif ($LASTEXITCODE) { exit 1 }", "2>&1"),
]
MEMBERS = [
    ("[IO.File]::Move('a', 'b', $true)", "System.IO.File.Move(3)"),
    ("[IO.Path]::GetRelativePath('a', 'b')", "GetRelativePath"),
    ("[Security.Cryptography.RandomNumberGenerator]::GetBytes(3)", "GetBytes"),
    ("[Environment]::ProcessId", "ProcessId"),
    ("$x.ReadExactly($b)", "ReadExactly(1)"),
    ("$x = New-Object System.Text.Rune 1", "System.Text.Rune"),
]


@pytest.fixture(scope="module")
def found() -> dict[str, list[str]]:
    texts = [text for text, _ in RULES + MEMBERS]
    return dict(zip(texts, faults_each(texts), strict=True))


@pytest.mark.parametrize(("text", "told"), RULES)
def test_each_rule_finds_what_it_is_for(found, text, told):
    assert any(told in fault for fault in found[text])


@needs_members
@pytest.mark.parametrize(("text", "told"), MEMBERS)
def test_what_dot_net_framework_does_not_have_is_seen(found, text, told):
    assert any(told in fault for fault in found[text])
