"""Tables fit the width that there is, or say less; the console script ends with the documented codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from provision.commands import table

ROWS = [{"host": f"host{n}.a-long-name.example.com", "roles": "redis, app, backup", "changed": "12",
         "verified": "NO: 12 of 30 checks failed"} for n in (1, 2)]  # fmt: skip


def shown(
    columns: int, rows: list[dict[str, str]], capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch
) -> str:
    patch.setenv("COLUMNS", str(columns))
    table.show(rows, ("host", "roles", "changed", "verified"), ("roles", "changed"), "--json has them")
    return capsys.readouterr().out


def test_a_table_that_does_not_fit_says_less_and_where_the_rest_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(80, ROWS, capsys, monkeypatch).splitlines()
    assert max(map(len, lines)) <= 80 and "roles" not in lines[0] and "changed" in lines[0]
    assert lines[1].split() == [ROWS[0]["host"], "12", *ROWS[0]["verified"].split()]
    assert lines[-1] == "without roles: --json has them"


def test_a_table_that_fits_has_everything(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(120, ROWS, capsys, monkeypatch).splitlines()
    assert lines[0].split() == ["host", "roles", "changed", "verified"] and len(lines) == 3


def test_what_a_host_said_is_no_markup(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    said = "[red]x[/red] :smile: [/"
    assert said in shown(120, [{**ROWS[0], "verified": said}], capsys, monkeypatch)


@pytest.mark.parametrize(("words", "code"), [(["plan", "--env", "nope"], 1), (["settings"], 0), (["nonsense"], 1)])
def test_the_console_script_ends_with_the_documented_codes(words: list[str], code: int) -> None:
    script = Path(sys.executable).with_name("provision")
    done = subprocess.run([script, *words], capture_output=True, text=True)
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("command", ["settings", "plan"])
def test_output_that_nothing_takes_is_told_and_no_traceback(command: str) -> None:
    script = Path(sys.executable).with_name("provision")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([script, command, "--env", "nope"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr, done.stderr
