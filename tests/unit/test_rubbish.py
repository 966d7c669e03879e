"""Settings and command lines of rubbish end with a sentence; a traceback is a defect. Chance is seeded (SEED=)."""

from __future__ import annotations

import io
import random
import re
import string
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from provision.__main__ import COMMANDS, main
from provision.engine import run as runs
from provision.settings import OPTIONAL_SECRETS, SECRET_SETTINGS, Settings, check
from tests.unit.conftest import SECRETS, Project

ODD: list[Any] = [
    None, True, -1, 0, 1.5, float("nan"), float("inf"), 2**70, "", " ", "x", "\x00", "\x1b[2J", "\u202e", "é" * 300,
    "a" * 10_000, "../../etc", "/", "/etc/../x", "-rf", "$(id)",
    "`id`", "'\"", "a b", "%s", "{{ 7 * 7 }}", "10.0.0.256", "::1%eth0",
    "25:61", [], [None], [[]], {}, {"a": {}}, {1: 2}, set(), b"bytes", object(), lambda: 1, range(3), Path("/x"),
    SecretStr("s"), "\ud800",
]  # fmt: skip
COMMON = [
    "LIMIT",
    "ENV",
    "all",
    "staging",
    "app1",
    "-x",
    "--x",
    ",",
    ",,",
    "app1,,app1",
    "*",
    "?",
    "[",
    "]",
    "{",
    "}",
    "~",
    "$HOME",
    "../x",
    "/dev/null",
    "\n",
    "\x1b[2J",
    "é",
]
VALUES = ("object()", "[]", "-1", "lambda: 1")
FLAGS = ("--limit", "--skip", "--out", "--limiter", "--host", "--vault", "--dump", "--copy", "--identity", "--junit",
         "--role", "--app", "--data", "--env")  # fmt: skip


def rubbish(chance: random.Random) -> Any:
    kind = chance.random()
    if kind < 0.7:
        return chance.choice(ODD)
    if kind < 0.85:
        return "".join(chance.choices(string.printable, k=chance.randrange(40)))
    return [chance.choice(ODD) for _ in range(chance.randrange(4))]


def test_no_value_of_any_setting_is_more_than_a_fault(chance: random.Random):
    faults = 0
    for name in Settings.model_fields:
        for value in (*ODD, *(rubbish(chance) for _ in range(20))):
            is_secret = name in (*SECRET_SETTINGS, *OPTIONAL_SECRETS)
            text = value if isinstance(value, str) else "x"
            data = {name: "env:X" if is_secret else value}
            found = check(data, lambda each, _, n=name, t=text: SecretStr(t if each == n else SECRETS.get(each, "x")))
            if isinstance(found, list):
                faults += 1
                assert all(fault.reason and "Traceback" not in fault.reason for fault in found), (name, value)
    assert faults > 3000, "most of it is no value of a setting"


def test_many_rubbish_settings_at_once_are_faults_too(chance: random.Random):
    for _ in range(300):
        names = chance.sample(sorted(Settings.model_fields), chance.randrange(1, 12))
        data: dict[Any, Any] = {name: rubbish(chance) for name in names if name not in SECRET_SETTINGS}
        data["".join(chance.choices(string.printable, k=9))] = rubbish(chance)
        check(data, lambda each, _: SecretStr(SECRETS.get(each, "x")))


@pytest.fixture
def fleet(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    project.environment('app = ["app1"]\nredis = ["redis1"]\nbackup = ["db1"]\n')
    for name in ("pyinfra", "connected", "unreached"):
        monkeypatch.setattr(runs, name, lambda *_, **__: pytest.fail("a host was asked"))
    return project


def test_no_command_line_of_rubbish_is_a_traceback(
    fleet: Project, chance: random.Random, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(fleet.root)
    for _ in range(400):
        command = chance.choice([*COMMANDS, *COMMON])
        words = [f"{flag}={chance.choice(COMMON)}" for flag in chance.sample(FLAGS, chance.randrange(1, 5))]
        # What would ask a host is given a host or a group that nobody has: all else it must refuse before.
        words += ["--limit=nobody"] if command in COMMANDS else []
        monkeypatch.setattr("sys.argv", ["provision", command, *words])
        monkeypatch.setattr("sys.stdin", io.StringIO(chance.choice(COMMON)))
        try:
            code = main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        said = capsys.readouterr().err
        assert code in (0, 1, 3) and "Traceback" not in said, (command, words)
        assert code == 0 or said.strip() or command == "settings", (command, words)
        assert "\x1b" not in re.sub(r"\x1b\[[0-9;]*m", "", said), "a terminal obeys nothing of it"


@pytest.mark.parametrize("seed", range(40))
def test_no_inventory_of_rubbish_is_a_traceback(
    fleet: Project, seed: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    chance = random.Random(seed)
    text = chance.choice([
        f"app = {chance.choice(['7', 'None', '{}', '[7]', '[()]', '[(1, 2)]', '[[]]', 'app'])}\n",
        "raise SystemExit(3)\n", "import nowhere\n", "1/0\n", "app = [\n", "\x00", "def app(): pass\n",
        "".join(chance.choices(string.printable, k=60)),
        f"app = ['a', ('b', {{{chance.choice(sorted(Settings.model_fields))!r}: {chance.choice(VALUES)}}})]\n",
    ])  # fmt: skip
    (fleet.root / "inventories" / "staging.py").write_text(text)
    monkeypatch.setattr("sys.argv", ["provision", "plan", "--env=staging", "--limit=nobody"])
    try:
        code = main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    said = capsys.readouterr().err
    assert code == 1 and said.startswith("error: ") and "Traceback" not in said
