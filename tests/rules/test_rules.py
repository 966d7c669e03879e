"""Which names are ours, what is pruned, what is said of an error: bash and PowerShell give the answers of one table."""

from __future__ import annotations

import json
import random
import re
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from provision.settings.project import PROJECT
from tests.windows import archives

HERE = Path(__file__).parent
CASES = json.loads((HERE / "cases.json").read_text(encoding="utf-8"))
STAMP = "%Y-%m-%d_%H-%M-%S"
needs_powershell = pytest.mark.skipif(archives.pwsh() is None, reason=f"not run: no PowerShell; {archives.HOW}")


def _generated(count: int = 200) -> list[dict[str, Any]]:
    """Stores that nobody thought of: nights left out, leaps of the clock, manifests missing."""
    return [_store(random.Random(seed)) for seed in range(count)]


def _store(chance: random.Random) -> dict[str, Any]:
    tier = chance.choice(["daily", "daily", "weekly"])
    time = now = datetime(2026, chance.randint(1, 12), chance.randint(1, 28), 2, 0, chance.randint(0, 59))
    stamps = []
    for _ in range(chance.randint(1, 40)):
        mark = chance.choices(["", "!", "?"], [80, 10, 10])[0]
        stamps.append(f"{mark}{time:{STAMP}}")
        waits = chance.choices([1, chance.randint(2, 5), chance.randint(30, 900)], [80, 15, 5])[0]
        time -= timedelta(days=waits * (7 if tier == "weekly" else 1), seconds=chance.randint(-60, 60))
    ahead = [f"{now + timedelta(days=chance.randint(1, 999)):{STAMP}}"] if chance.random() < 0.15 else []
    return {
        "tier": tier,
        "now": f"{now:{STAMP}}",
        "days": chance.randint(1, 60),
        "minimum": chance.randint(1, 12),
        "dumps": ahead + stamps,
    }


def bash_answers(cases: dict[str, Any], place: Path) -> dict[str, Any]:
    lines = [f"name {name}" for name, _ in cases["names"]]
    lines += [" ".join(map(str, ["prune", *(case[key] for key in ("tier", "now", "days", "minimum")), *case["dumps"]]))
              for case in cases["prune"]]  # fmt: skip
    lines += [f"losses {_one_word(case)}" for case in cases.get("losses", [])]
    argv = ["bash", str(HERE / "ask.sh"), str(PROJECT / "files/backup/lib"), str(place)]
    done = subprocess.run(argv, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    names, pruned = len(cases["names"]), len(cases["prune"])
    return {
        "names": [word == "true" for word in said[:names]],
        "prune": [sorted(line.split()) for line in said[names : names + pruned]],
        "losses": [[each.removesuffix("; ") for each in json.loads(line)] for line in said[names + pruned :]],
    }


def _one_word(case: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in case.items() if key not in ("why", "says")}, separators=(",", ":"))


def _powershell(cases: dict[str, Any], place: Path) -> dict[str, Any]:
    # Its JSON knows no two names that differ by case alone.
    pairs = [
        {**case, "had": [*case["had"].items()], "has": [*case["has"].items()], "volatile": case.get("volatile", [])}
        for case in cases["losses"]
    ]
    (place / "cases.json").write_text(json.dumps({**cases, "losses": pairs}), encoding="utf-8")
    rules = PROJECT / "files/windows/lib/rules.ps1"
    argv = [str(archives.pwsh()), "-NoProfile", "-NonInteractive", "-File", str(HERE / "ask.ps1"), str(rules)]
    done = subprocess.run([*argv, str(place / "cases.json")], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def asked() -> dict[str, Any]:
    """The whole table, and the generated stores."""
    return {**CASES, "prune": [*CASES["prune"], *_generated()]}


@pytest.fixture(scope="module")
def bash(asked, tmp_path_factory) -> dict[str, Any]:
    return bash_answers(asked, tmp_path_factory.mktemp("bash"))


@pytest.fixture(scope="module")
def powershell(asked, tmp_path_factory) -> dict[str, Any]:
    return _powershell(asked, tmp_path_factory.mktemp("powershell"))


@pytest.fixture(params=["bash", pytest.param("powershell", marks=needs_powershell)])
def answers(request) -> dict[str, Any]:
    """What one of the two says."""
    return request.getfixturevalue(request.param)


def test_which_names_are_ours(answers):
    assert dict(zip((name for name, _ in CASES["names"]), answers["names"], strict=True)) == dict(CASES["names"])


def test_what_is_pruned(answers):
    found = {case["why"]: old for case, old in zip(CASES["prune"], answers["prune"], strict=False)}
    assert found == {case["why"]: case["old"] for case in CASES["prune"]}


def test_what_is_lost_beside_the_last_good_dump(answers):
    found = {case["why"]: sorted(said) for case, said in zip(CASES["losses"], answers["losses"], strict=True)}
    assert found == {case["why"]: sorted(case["says"]) for case in CASES["losses"]}


@needs_powershell
def test_what_is_suspect_by_its_size(powershell):
    """On Windows; bash's rule has more to it, and is looked at in tests/scripts/test_losses.py."""
    found = [
        (case["bytes"], case["sizes"], change)
        for case, change in zip(CASES["suspect"], powershell["suspect"], strict=True)
    ]
    assert found == [(case["bytes"], case["sizes"], case["change"]) for case in CASES["suspect"]]


@needs_powershell
def test_bash_and_powershell_prune_generated_stores_alike(bash, powershell):
    assert bash["prune"] == powershell["prune"]


def test_generated_stores_are_pruned_and_held(answers):
    """The generator makes both: stores in which something goes, and stores in which nothing may."""
    removed = [len(old) for old in answers["prune"][len(CASES["prune"]) :]]
    assert sum(1 for count in removed if count) > 40 and sum(1 for count in removed if not count) > 40


VALUES = ("integer", "date", "copy type", "enum", "tsquery")


def test_a_value_that_a_server_quotes_in_any_language_is_not_said_by_bash():
    """As the backups' own questions have it, without its code; what a dump's load says is below."""
    table = json.loads((HERE / "errors.json").read_text(encoding="utf-8"))
    argv = ["bash", "-c", '. "$0"; without_rows', str(PROJECT / "files/backup/lib/base.sh")]
    for language, cases in table.items():
        for case in VALUES:
            text = re.sub(r":  \w{5}: ", ":  ", cases[case])
            said = subprocess.run(argv, input=text, capture_output=True, text=True, check=True).stdout
            assert "Secret" not in said and "(a value)" in said, (language, said)


SAID = json.loads((HERE / "said.json").read_text(encoding="utf-8"))
RECORDED = {
    f"{language}, {case}": text
    for language, cases in json.loads((HERE / "errors.json").read_text(encoding="utf-8")).items()
    for case, text in cases.items()
}


def said_by_bash(texts: list[str], place: Path) -> list[str]:
    for number, text in enumerate(texts):
        (place / str(number)).write_text(text, encoding="utf-8")
    program = f'. "$0/said.sh"; cd "$1"; for n in {{0..{len(texts) - 1}}}; do reason_of_load "$n"; done'
    argv = ["bash", "-c", program, str(PROJECT / "files/backup/lib"), str(place)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()


@pytest.mark.parametrize("program", SAID)
def test_what_bash_says_of_an_error_while_a_dump_is_loaded(program: str, tmp_path: Path):
    """What psql and pg_restore 15 said, of a server in English or German, and what a dump could have them say."""
    cases = SAID[program]
    said = said_by_bash([case["text"] for case in cases], tmp_path)
    assert dict(zip((case["why"] for case in cases), said, strict=True)) == {
        case["why"]: case["said"] for case in cases
    }


def test_no_row_is_in_what_bash_says_in_any_language(tmp_path: Path):
    said = dict(zip(RECORDED, said_by_bash(list(RECORDED.values()), tmp_path), strict=True))
    assert not {case: told for case, told in said.items() if "Secret" in told}
    assert said["German, unique"] == "line 3: doppelter Schlüsselwert verletzt Unique-Constraint »p_pkey« (23505)"
    hidden = {case.partition(", ")[2] for case, told in said.items() if "not shown" in told}
    assert hidden == {case.partition(", ")[2] for case in RECORDED} - {"check", "unique", "not null", "foreign"}


@needs_powershell
def test_powershell_says_of_an_error_what_bash_says(tmp_path: Path):
    texts = [*(case["text"] for case in SAID["psql"]), *RECORDED.values()]
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    script = f"""
    [Console]::OutputEncoding = [Text.Encoding]::UTF8
    . '{PROJECT}/files/windows/lib/postgres.ps1'
    foreach ($text in ConvertFrom-Json ([IO.File]::ReadAllText('{tmp_path}/texts.json'))) {{
        Select-Errors @{{ Code = 3; Errors = $text }}
    }}
    """
    argv = [str(archives.pwsh()), "-NoProfile", "-NonInteractive", "-Command", script]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == said_by_bash(texts, tmp_path)
