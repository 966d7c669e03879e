"""What goes on to object storage, with rclone itself and a directory in a bucket's place."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.settings.render import FILES
from tests.sandbox import packages


@pytest.fixture
def push(tmp_path: Path) -> Callable[[], str]:
    """A run of push.sh to a directory, with rclone itself, and what its --check says."""
    packages.ensure("rclone", "rclone")
    for name in ("vault/store/db1/daily", "vault/secrets", "place", "push", "run"):
        (tmp_path / name).mkdir(parents=True)
    program = f"""set -uo pipefail; cd "$1"
        push_from=$PWD/vault push_parts=(store secrets) push_below= push_state=$PWD/push work=$PWD/run
        push_bandwidth=off
        failures=0 worst=0 push_maximum_age_hours=30 target=place place=$PWD/place/ key=$PWD/push/key
        log() {{ printf '%s %s\n' "$1" "$2"; }}; info() {{ :; }}
        eval "$(sed -n '/^plain_text()/,/^}}/p' {FILES}/backup/lib/base.sh)"
        parts='/^data=/p; /^may_change=/p; /^readonly [lt]/p; /_one() /,/^}}/p; /^said_by_rclone()/,/^# --- Whether/p'
        eval "$(sed -n "$parts" {FILES}/vault/push.sh)"
        rclone_() {{ RCLONE_CONFIG=/dev/null rclone --retries 1 "$@" </dev/null 2>"$work/rclone.err"; }}
        probe() {{ :; }}; push_in_turn; check_one"""

    def run() -> str:
        done = subprocess.run(
            ["bash", "-c", program, "-", tmp_path], capture_output=True, text=True, timeout=60,
            env={**os.environ, "LC_ALL": "C.UTF-8"}, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    return run


def a_copy(root: Path, name: str, text: str = "x") -> None:
    for end in ("age", "proof.json", "manifest.json", "manifest.json.sig"):
        (root / f"vault/store/db1/daily/{name}.{end}").write_text(text)


def test_secrets_that_are_sealed_anew_go_there_and_keep_no_copy_back(push: Callable[[], str], tmp_path: Path) -> None:
    sealed = tmp_path / "vault/secrets/production.env.age"
    sealed.write_text("old")
    a_copy(tmp_path, "n1")
    assert "OK: place: has all" in push()
    sealed.write_text("sealed anew")
    a_copy(tmp_path, "n2")
    assert "OK: place: has all" in push()
    assert (tmp_path / "place/secrets/production.env.age").read_text() == "sealed anew"
    assert (tmp_path / "place/store/db1/daily/n2.manifest.json.sig").exists()


def test_copy_that_was_encrypted_anew_is_told_not_replaced_and_keeps_no_other_back(
    push: Callable[[], str], tmp_path: Path
) -> None:
    a_copy(tmp_path, "n1")
    push()
    a_copy(tmp_path, "n1", "encrypted anew")
    a_copy(tmp_path, "n2")
    for _ in range(2):
        said = push()
        assert "WARNING: place: 3 file(s) there are others than here, such as store/db1/daily/n1.age" in said, said
        assert "name another directory in backup_offsite" in said
    there = tmp_path / "place/store/db1/daily"
    assert (there / "n1.age").read_text() == "x" and (there / "n2.manifest.json.sig").exists()


def test_copy_is_there_whole_when_its_signature_is(push: Callable[[], str], tmp_path: Path) -> None:
    a_copy(tmp_path, "n1")
    (tmp_path / "place/store/db1/daily/n1.proof.json").mkdir(parents=True)  # which cannot be copied there
    assert "not everything was copied" in push()
    assert not (tmp_path / "place/store/db1/daily/n1.manifest.json.sig").exists()


def test_whatever_is_gone_there_is_told_and_brought_again(push: Callable[[], str], tmp_path: Path) -> None:
    (tmp_path / "vault/secrets/production.env.age").write_text("x")
    a_copy(tmp_path, "n1")
    push()
    push()
    gone = [tmp_path / "place" / name for name in ("secrets/production.env.age", "store/db1/daily/n1.proof.json")]
    for path in gone:
        path.unlink()
    os.utime(tmp_path / "push/key.looked", (0, 0))
    assert "2 copies that were there are gone, such as secrets/production.env.age" in push()
    assert all(path.exists() for path in gone)


def test_place_that_has_nothing_yet_is_asked_for_no_list(push: Callable[[], str], tmp_path: Path) -> None:
    """Where there is no such directory yet, a list of it is an error; what else is wrong the first copy tells."""
    a_copy(tmp_path, "n1")
    (tmp_path / "push/key.has").touch()
    (tmp_path / "place").rmdir()
    assert "OK: place: has all" in push()
