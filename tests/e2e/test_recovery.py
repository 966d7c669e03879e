"""The vault is gone too: what lies in the safe, and a copy of its directory, bring the backups back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from provision.engine.inventory import PROJECT
from tests.e2e.conftest import copied
from tests.e2e.operator import Operator
from tests.e2e.tables import contents
from tests.e2e.vaults import HOSTS, MARKER, newest, night

pytestmark = pytest.mark.servers


@pytest.mark.prove
def test_what_lies_in_the_safe_and_a_copy_of_the_vault_are_enough_for_a_bare_clone(
    both: Operator, tmp_path: Path
) -> None:
    parts = ("inventories", "provision", "templates", "files", "tests/verify")
    team = copied(tmp_path / "team", *parts, ".secrets")
    stick, copy = tmp_path / "medaction.key", tmp_path / "copy"
    said = team.python("-m", "provision", "keys", "--env", "sandbox", "--out", str(stick)).stdout
    group_data = team.checkout / "inventories/group_data/sandbox.py"
    (line,) = [line.strip() for line in said.splitlines() if "backup_encrypt_to" in line]
    group_data.write_text(f"{group_data.read_text()}\n{line}\n")
    team.deploy(HOSTS)
    night(team)
    good, truth = newest(team), contents(team.postgres)
    secret = (team.checkout / ".secrets/sandbox.env").read_bytes()
    copy.mkdir()
    packed = subprocess.run(
        ["ssh", "-F", PROJECT / ".sandbox/ssh_config", "vault1", "tar -C /var/lib/medaction/vault -c store secrets"],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    subprocess.run(["tar", "-C", copy, "-x"], input=packed, check=True)
    passwords = [value.split(b"=", 1)[1] for value in secret.split() if b"=" in value]
    everything = b"".join(path.read_bytes() for path in copy.rglob("*") if path.is_file())
    assert passwords and not [each for each in (*passwords, MARKER.encode()) if each in everything]

    both.bare("db1", "vault1")
    bare = copied(tmp_path / "clone", *parts[1:])  # what is committed; `.secrets` is not
    shutil.copytree(team.checkout / "inventories", bare.checkout / "inventories")
    safe = ("--copy", str(copy), "--identity", str(stick))
    bare.python("-m", "provision", "secrets", "--env", "sandbox", *safe)
    assert (bare.checkout / ".secrets/sandbox.env").read_bytes() == secret
    done = bare.python("-m", "provision", "recover", "--env", "sandbox", "--host", "db1", *safe)
    assert f"{good}, proven, from {copy}" in done.stdout, done.stdout
    for old in (bare.checkout / "inventories/keys/sandbox").glob("*.pub"):
        old.unlink()
    bare.deploy(HOSTS)
    bare.read("db1", f"/usr/local/lib/medaction/restore-database.sh --into medaction_back --from {good}")
    assert contents(lambda sql: bare.postgres(sql, "medaction_back")) == truth
