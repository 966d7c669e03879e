"""Dumps that lie encrypted on their own host as well: no key is there, and the vault restores them all the same."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.engine.private import PrivateInput
from tests.e2e.conftest import copied
from tests.e2e.operator import Operator
from tests.e2e.tables import contents
from tests.e2e.vaults import HOSTS, MARKER, OUTBOX, UNTIL_FREE, encrypt, vault, visit

pytestmark = pytest.mark.servers

BACKUPS = "/opt/medaction/backups"
BACKUP, RESTORE = (f"/usr/local/lib/medaction/{name}-database.sh" for name in ("backup", "restore"))
LOOK = 'for f; do cat "$f"; gzip -dcf "$f" 2>/dev/null; done'


@pytest.fixture(scope="module")
def encrypted(both: Operator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Operator, str]]:
    """The team that has set it, which has deployed it, and the newest dump."""
    team = copied(tmp_path_factory.mktemp("team"), "inventories", "provision", "templates", "files", "tests/verify")
    (team.checkout / ".secrets").symlink_to(Path(__file__).parents[2] / ".secrets")
    inventory = team.checkout / "inventories/sandbox.py"
    inventory.write_text(inventory.read_text().replace('("db1", {', '("db1", {"backup_encrypt_local": True, '))
    planned = team.plan(HOSTS)
    assert "lies in plain, though dumps are to be encrypted" in planned.stdout, planned.stdout
    done = team.deploy(HOSTS)
    assert "Make a backup where there is no fresh one" in done.stdout
    encrypt(team)
    assert visit(team).returncode == 0
    yield team, team.read("db1", f"readlink -f {BACKUPS}/medaction_latest.sql.gz.age").strip()
    both.deploy(HOSTS)
    assert both.plan(HOSTS).returncode == 0
    assert both.read("db1", f"{RESTORE} --test 2>&1").count("restores: tables")
    both.read("db1", f"find {BACKUPS} -name '*.age*' -delete")


def test_deployed_dump_is_encrypted_proven_by_the_vault_and_nothing_is_left_to_do(
    encrypted: tuple[Operator, str],
) -> None:
    team, dump = encrypted
    assert re.fullmatch(rf"{BACKUPS}/medaction_[\d_-]+\.sql\.gz\.age", dump)
    again = team.plan(HOSTS)
    assert again.returncode == 0, again.stdout
    name = Path(dump).name.removesuffix(".age")
    offer = next(one for one in map(json.loads, vault(team, "--offer db1").splitlines()) if one["dump"] == name)
    assert (offer["signed"], offer["proof"]) == (True, "ok")
    (backup,) = team.status(HOSTS)["db1"]["backups"]
    assert (backup["newest_good"], backup["off_site"]) == (Path(dump).name, {"vault1": 0})
    verified = team.command("verify", HOSTS)
    assert verified.returncode == 0, verified.stdout
    assert not re.search("^[^#].*--test", team.read("db1", "cat /etc/cron.d/medaction-restore-test"), re.M)


def test_row_is_found_in_no_file_of_it_and_what_it_is_copied_as_is_the_same_bytes(
    encrypted: tuple[Operator, str],
) -> None:
    team, dump = encrypted
    look = f"find {{}} -type f -exec sh -c '{LOOK}' - {{{{}}}} + | grep -c {MARKER} || true"
    assert team.read("db1", look.format(f"{BACKUPS} -path '{dump}*'")).strip() == "0"
    assert team.read("db1", look.format(f"{BACKUPS} -name '*.sql.gz'")).strip() != "0"  # what was made before
    copy = f"{OUTBOX}/daily/{Path(dump).name}"
    assert team.read("db1", f"sha256sum <{dump}") == team.read("db1", f"sha256sum <{copy}")


def test_whoever_holds_the_key_restores_it_there(encrypted: tuple[Operator, str]) -> None:
    team, dump = encrypted
    refused = team.on("db1", f"{RESTORE} --into medaction_opened --from {dump}")
    assert refused.returncode == 2 and "is encrypted: name the file of a key that opens it" in refused.stderr
    key = team.read("vault1", "cat /etc/medaction-vault/age")
    team.read("db1", "umask 077; cat >/run/key", PrivateInput(key))
    try:
        team.read("db1", f"{RESTORE} --into medaction_opened --from {dump} --as-administrator peer --identity /run/key")
        assert contents(lambda sql: team.postgres(sql, "medaction_opened")) == contents(team.postgres)
    finally:
        team.read("db1", "rm -f /run/key")
        team.postgres("DROP DATABASE IF EXISTS medaction_opened", "postgres")
    assert team.read("db1", f"find {BACKUPS} -name '.open.*'") == ""


def test_night_is_fetched_and_proven_and_a_dump_that_was_changed_is_no_copy(encrypted: tuple[Operator, str]) -> None:
    team, _ = encrypted
    team.read("db1", f"{BACKUP} --tier weekly")
    weekly = team.read("db1", f"readlink -f {BACKUPS}/medaction_latest.sql.gz.age").strip()
    assert f"{BACKUPS}/weekly/" in weekly
    encrypt(team)
    assert visit(team).returncode == 0
    offers = {f"{one['tier']}/{one['dump']}": one for one in map(json.loads, vault(team, "--offer db1").splitlines())}
    assert offers[f"weekly/{Path(weekly).name.removesuffix('.age')}"]["proof"] == "ok"
    team.read("db1", BACKUP)
    dump = team.read("db1", f"readlink -f {BACKUPS}/medaction_latest.sql.gz.age").strip()
    # Rows are of use without their roles, and a pipe in a file's place is not waited for.
    team.read("db1", f"printf x >>{dump}.globals.gz.age")
    pipe = f"rm {dump}.properties.json.age && runuser -u medaction-backup -- mkfifo {dump}.properties.json.age"
    done = team.on("db1", f"{pipe}; {UNTIL_FREE}; until_free timeout 60 /usr/local/lib/medaction/offsite.sh")
    assert done.returncode == 0, done.stderr
    for end in ("globals.gz", "properties.json"):
        assert f"{Path(dump).name}.{end}.age is not what was dumped: its sum is not the manifest's" in done.stderr
    name = Path(dump).name.removesuffix(".age")
    copied_files = team.read("db1", f"cd {OUTBOX}/daily && ls {name}*").split()
    assert copied_files == [f"{name}.age", f"{name}.json.age", f"{name}.manifest.json"]
    assert visit(team).returncode == 0
    team.read("db1", f"rm {dump}*")
    team.read("db1", BACKUP)
    dump = team.read("db1", f"readlink -f {BACKUPS}/medaction_latest.sql.gz.age").strip()
    team.read("db1", f"printf x >>{dump}")
    done = team.on("db1", f"{UNTIL_FREE}; until_free /usr/local/lib/medaction/offsite.sh")
    assert done.returncode == 1
    assert f"{Path(dump).name} is not what was dumped: its sum is not the manifest's" in done.stderr
    assert team.on("db1", f"ls {OUTBOX}/daily/{Path(dump).name}").returncode != 0
    team.read("db1", f"rm {dump}*")
    team.read("db1", BACKUP)
    encrypt(team)
    assert visit(team).returncode == 0


def test_new_key_of_people_makes_a_dump_that_it_opens(encrypted: tuple[Operator, str], tmp_path: Path) -> None:
    team, _ = encrypted
    inventory = team.checkout / "inventories/sandbox.py"
    before = inventory.read_text()
    subprocess.run(["age-keygen", "-o", tmp_path / "key"], check=True, capture_output=True)
    key = subprocess.run(["age-keygen", "-y", tmp_path / "key"], check=True, capture_output=True, text=True).stdout
    inventory.write_text(before.replace('("db1", {', f'("db1", {{"backup_encrypt_to": ["{key.strip()}"], '))
    try:
        planned = team.plan("db1")
        assert "is encrypted to other keys than it should be" in planned.stdout
        team.deploy("db1")
        assert team.plan("db1").returncode == 0
        dump = team.read("db1", f"readlink -f {BACKUPS}/medaction_latest.sql.gz.age").strip()
        team.read("db1", "umask 077; cat >/run/key", PrivateInput((tmp_path / "key").read_text()))
        copy = f"{OUTBOX}/{'weekly' if '/weekly/' in dump else 'daily'}/{Path(dump).name}"
        for path in (dump, copy):
            assert int(team.read("db1", f"age -d -i /run/key {path} | gzip -dc | grep -c {MARKER}")) > 0
    finally:
        inventory.write_text(before)
        team.read("db1", "rm -f /run/key")
        team.deploy("db1")


def test_what_lay_in_plain_before_is_encrypted_when_a_person_says_so(encrypted: tuple[Operator, str]) -> None:
    team, _ = encrypted
    assert f"lie in plain until they go by their age: after the deploy `{BACKUP} --encrypt-stored`" in team.plan(
        "db1"
    ).stdout  # fmt: skip
    team.read("db1", f"rm -rf {BACKUPS}/*.dir*")  # of other tests: a dump of many files stays in plain
    team.read("db1", f"{BACKUP} --encrypt-stored")
    look = f"find {BACKUPS} -type f -exec sh -c '{LOOK}' - {{}} + | grep -c {MARKER} || true"
    assert team.read("db1", look).strip() == "0"
    again = team.plan("db1")
    assert again.returncode == 0 and "lie in plain" not in again.stdout
    encrypt(team)
    assert visit(team).returncode == 0


@pytest.mark.prove
def test_recovered_host_gets_it_in_plain_and_copies_nothing_that_the_vault_takes_for_another(
    encrypted: tuple[Operator, str],
) -> None:
    team, dump = encrypted
    name = Path(dump).name.removesuffix(".age")
    team.read("db1", f"mv {BACKUPS} {BACKUPS}.lost && install -d -o medaction-backup -g medaction-backup {BACKUPS}")
    try:
        team.python("-m", "provision", "recover", "--env", "sandbox", "--host", "db1", "--dump", f"daily/{name}")
        assert json.loads(team.read("db1", f"cat {BACKUPS}/{name}.json"))["dump"] == name
        assert "is whole" in team.on("db1", f"{BACKUP} --verify {BACKUPS}/{name}").stderr
        team.read("db1", f"rm -f {OUTBOX}/daily/{name}* && : >{OUTBOX}-work/published")
        encrypt(team)
        visit(team)
        assert "was changed there" not in vault(team, "--check")
    finally:
        team.read("db1", f"rm -rf {BACKUPS} && mv {BACKUPS}.lost {BACKUPS}")


@pytest.mark.prove
def test_vault_that_is_added_proves_a_dump_that_was_made_for_it(encrypted: tuple[Operator, str]) -> None:
    team, _ = encrypted
    hosts, inventory = f"{HOSTS},app2", team.checkout / "inventories/sandbox.py"
    before = inventory.read_text()
    inventory.write_text(before.replace("vault = [", "vault = [app[1], "))
    try:
        team.deploy(hosts)
        again = team.plan(hosts)
        assert again.returncode == 0, again.stdout
        lines = team.on("app2", "/usr/local/lib/medaction/vault.sh --offer db1").stdout.splitlines()
        newest = {one["tier"]: one for one in reversed([json.loads(line) for line in lines])}
        assert {tier: (one["signed"], one["proof"]) for tier, one in newest.items()} == {
            "daily": (True, "ok"), "weekly": (True, "ok")
        }, lines  # fmt: skip
    finally:
        inventory.write_text(before)
        team.bare("app2")
        team.deploy(HOSTS)
