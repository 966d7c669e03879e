"""What lies at a path is told in one language, whatever the host's is."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pyinfra.api.exceptions import FactProcessError

from provision.debian.files import Paths
from provision.settings.render import FILES
from provision.vault.facts import VaultReport


def test_kinds_are_told_in_english_on_a_french_host(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    paths = (str(tmp_path), str(tmp_path / "file"))
    french = {**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": "fr"}
    command = Paths().command(paths=paths).get_raw_value()
    printed = subprocess.run(["sh", "-c", command], env=french, capture_output=True, text=True, check=True).stdout
    found = Paths().process(printed.splitlines())
    assert [found[path].kind for path in paths] == ["directory", "regular file"]


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("where", ["programs/vault-settings.sh", "programs/lib/base.sh", "store/db1/daily/m.json"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/gone"), lambda path: bound(path)])
def test_vault_where_a_pipe_stands_for_a_file_is_told_by_that_file_at_once(
    tmp_path: Path, where: str, make: Callable[[Path], None]
):
    programs, store = tmp_path / "programs", tmp_path / "store"
    for path in (programs / "lib/base.sh", programs / "vault-settings.sh", store / "db1/daily/m.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    program = programs / "vault.sh"
    program.write_text(f"#!/bin/sh\nfind {tmp_path} -name '*.*' -exec cat {{}} + >/dev/null && echo '{ANSWER}'\n")
    program.chmod(0o755)
    fact = VaultReport()
    command = fact.command(program=str(program), beside=(str(store), str(tmp_path / "missing"))).get_raw_value()
    assert fact.process(shell(command).stdout.splitlines()) == [json.loads(ANSWER)]
    odd = tmp_path / where
    odd.unlink()
    make(odd)
    with pytest.raises(FactProcessError, match=f"^{odd} is no file: remove it, and deploy again"):
        fact.process(shell(command).stdout.splitlines())


ANSWER = '{"host": "db1", "database": "medaction", "proven_hours": 3}'


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as there, contextlib.chdir(path.parent):
        there.bind(path.name)


@pytest.mark.parametrize("name", ["settings.sh", "lib/base.sh", "backup-database.sh"])
def test_backups_whose_programs_wait_at_a_pipe_will_not_come_and_the_pipe_is_named(tmp_path: Path, name: str):
    programs = tmp_path / "programs"
    for each in ("settings.sh", "lib/base.sh", "backup-database.sh", "restore-database.sh"):
        (programs / each).parent.mkdir(parents=True, exist_ok=True)
        (programs / each).write_text(f"#!/bin/sh\ncat {programs}/settings.sh {programs}/lib/base.sh >/dev/null\n")
        (programs / each).chmod(0o755)

    def said() -> list[str]:
        argv = ["sh", FILES / "backup/next-run.sh", programs, "root", "/gone", "/gone"]
        told = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
        return [line for line in told if str(programs) in line]

    assert said() == []
    (programs / name).unlink()
    os.mkfifo(programs / name)
    assert said() == [f"idle={programs}/{name} is no file: remove it, and deploy again"]
