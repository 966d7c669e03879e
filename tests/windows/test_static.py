"""Every PowerShell text that a host gets is free of what can be seen without PowerShell."""

from __future__ import annotations

import pytest

from provision.windows import layout, snippets
from tests.windows.settings import default_settings, hostile_settings

pytest.importorskip("tree_sitter_powershell", reason="not run: tree-sitter-powershell is not installed")
from tests.windows.static import faults

SNIPPETS = snippets.names()


@pytest.mark.parametrize("name", ["backup-database.ps1", "restore-database.ps1"])
@pytest.mark.parametrize("settings", [default_settings(), hostile_settings()], ids=["default", "hostile"])
def test_a_rendered_script_has_no_fault(name, settings):
    assert faults(layout.script(name, settings)) == []


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_script_that_a_host_is_sent_has_no_fault(name):
    assert faults(snippets.script(name, {"paths": ["C:\\it's"], "xml": "<a/>"})) == []


@pytest.mark.parametrize("name", ["backup-database.ps1", "restore-database.ps1"])
def test_no_secret_is_in_a_script(name):
    assert "p@ss" not in layout.script(name, hostile_settings())


def test_a_script_is_written_as_windows_powershell_reads_it():
    for entry in layout.scripts(hostile_settings()):
        assert entry.content.startswith(b"\xef\xbb\xbf")
        assert b"\n" not in entry.content.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("if ($a) { 'x'", "syntax"),
        ("$a = @(1, 2", "syntax"),
        ("function f { ", "syntax"),
        ("$x = @'\nnever closed\n", "here-string"),
        ("$x = \u2018smart\u2019", "typographic"),
        ("ls C:\\", "alias ls"),
        ("Get-Item x | % { $_ }", "alias %"),
        ("Write-Host 'x'", "Write-Host"),
        ("'x' | Out-File y", "UTF-16"),
        ("& $pgDump '--version'\n$x = 1", "LASTEXITCODE"),
        ("& $pgDump '--version'", "LASTEXITCODE"),
        ('"$name: x"', "names a drive"),
        ("Get-Item x && Get-Item y", "5.1"),
        ("$x = $y ?? 1", "5.1"),
        ("[Console]::WriteLine('{0} {1}' -f 1, 2)", "another pair of parentheses"),
        ("& $p 2>&1\nif ($LASTEXITCODE) { exit 1 }", "2>&1"),
    ],
)
def test_each_rule_finds_what_it_is_for(text, told):
    assert any(told in fault for fault in faults(text))
