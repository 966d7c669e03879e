"""The parts of a vault's program that say how its copies are: --check, alarms, Prometheus."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from provision.settings.render import FILES

from .vault_parts import NAME, Vault, put


def test_key_that_is_gone_opens_nothing(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / f"store/db1/daily/{NAME}.age").write_text("x")
    for text in (None, "x"):
        if text:
            (tmp_path / "none").write_text(text)
        said = vault('die() { echo "$1"; exit "$2"; }; EXIT_USAGE=2; (list_unopenable)')
        assert "none is no key: it opens nothing" in said and said.endswith("exit 2\n"), said


def test_what_is_told_of_a_database_obeys_no_terminal(vault: Vault) -> None:
    said = vault(
        f"eval \"$(sed -n '/^alarm()/,/^}}/p' {FILES}/vault/vault.sh)\";"
        ' alarm "$(printf "of x\\u202e\\u009b2J\\e[2J\\ngnp")"; cat state/alarms'
    )
    assert "db1: of x" in said and not set(said) & set("\x1b\x9b\u202e"), said


def test_clock_that_was_ahead_keeps_no_alarm_and_makes_no_copy_fresh(vault: Vault, tmp_path: Path) -> None:
    path = put(tmp_path, 1, "a")
    os.utime(path, (path.stat().st_mtime + 400 * 86400,) * 2)
    (tmp_path / "state/alarms").write_text(f"{int(path.stat().st_mtime)} db1 it was not reached\n")
    (tmp_path / "state/last-run").write_text(str(int(path.stat().st_mtime)))
    said = vault('note_this_run; cat state/alarms; worst=0 findings=(); check_source db1; echo "${findings[@]}"')
    assert "a proven copy of medaction came 0 h ago" in said, said
    noted = int((tmp_path / "state/alarms").read_text().split()[0])
    assert abs(noted - path.stat().st_mtime) < 60


def test_clock_that_is_behind_makes_no_copy_old(vault: Vault, tmp_path: Path) -> None:
    path = put(tmp_path, 1, "a")
    came = path.stat().st_mtime
    said = vault(
        'then=$(( $(date +%s) - 400 * 86400 )); date() { if [[ $1 == +%s ]]; then echo "$then"; else'
        ' echo 2025-10-20_00-00-00; fi; }; touch() { command touch -d "@$then" "$@"; }; note_this_run'
    )
    assert path.stat().st_mtime == came, said


def test_no_host_hides_with_its_own_what_is_wrong_at_another(vault: Vault, tmp_path: Path) -> None:
    lines = [f"{when} db2 copy {when} is not proven\n" for when in range(1795000000, 1795000500)]
    (tmp_path / "state/alarms").write_text("1794999999 db1 the newest copy is gone there\n" + "".join(lines))
    said = vault('date() { echo 1795000600; }; worst=0 findings=(); check_alarms; printf "%s\\n" "${findings[@]}"')
    assert "db1: the newest copy is gone there" in said and said.count("db2: copy") == 20, said


@pytest.mark.parametrize(("prove", "days", "said"), [("each", 3, 2), ("weekly", 3, 0), ("weekly", 9, 2)])
def test_weekly_proof_is_late_after_a_week(vault: Vault, tmp_path: Path, prove: str, days: int, said: int) -> None:
    path = put(tmp_path, 1, "a")
    os.utime(path, (path.stat().st_mtime - days * 86400,) * 2)
    (tmp_path / "state/db1.reached").write_text("9999999999")
    told = vault('vault_prove=$1 worst=0 findings=(); check_source db1; echo "$worst"', prove)
    assert told == f"{said}\nexit 0\n"


def test_copies_of_one_database_under_two_names_are_one_series(tmp_path: Path) -> None:
    told = {"host": "db1", "database": "crm", "proven_at": 5, "suspect": "a table"}
    lines = [told, told | {"proven_at": 9, "suspect": ""}, told | {"host": "db2", "proven_at": None, "suspect": ""}]
    (tmp_path / "report").write_text(
        "".join(json.dumps(line) + "\n" for line in [*lines, {"source": "db1", "alarms": 2}])
    )
    metrics = FILES / "vault/vault-metrics.jq"
    done = subprocess.run(
        ["jq", "-nr", "--arg", "app", "m", "--from-file", metrics, tmp_path / "report"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    series = [line.rsplit(" ", 1) for line in done.stdout.splitlines() if not line.startswith("#")]
    assert len({name for name, _ in series}) == len(series) == 4, done.stdout
    assert 'source="db1",database="crm"} 9\n' in done.stdout and 'vault_alarms{app="m",source="db1"} 2' in done.stdout
