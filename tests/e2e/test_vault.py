"""Backups that survive the capture of their host: fetched, proven, signed, kept, and read by nobody."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from provision.engine import inventory
from provision.engine.private import PrivateInput
from provision.settings.project import PROJECT
from tests.e2e.operator import Operator
from tests.e2e.vaults import HOSTS, MARKER, OUTBOX, STORE, encrypt, newest, stored, vault, visit

pytestmark = pytest.mark.servers


def test_newest_dump_is_fetched_proven_and_signed_and_nothing_is_left_to_do(both: Operator) -> None:
    offers = [json.loads(line) for line in vault(both, "--offer db1").splitlines()]
    assert (offers[0]["dump"], offers[0]["signed"], offers[0]["proof"]) == (newest(both), True, "ok")
    assert both.plan(HOSTS).returncode == 0
    (backup,) = both.status(HOSTS)["db1"]["backups"]
    assert backup["off_site"] == {"vault1": 0}
    assert {path.split("/")[1] for path in stored(both)} == {"daily", "weekly"}  # one answer of both tiers
    assert [vault(both, "--report").count("\n") for _ in range(5)] == [1] * 5
    proven = re.search(
        r'^vault_newest_proven_timestamp_seconds\{.*source="db1".*\} (\d+)$', vault(both, "--metrics"), re.M
    )
    manifest = f"{STORE}/daily/{newest(both)}.manifest.json"
    assert proven and proven[1] == both.read("vault1", f"stat -c %Y {manifest}").strip()
    # What the proof has opened and restored is gone again.
    assert (
        both.read("vault1", "find /var/lib/medaction/vault/proof /var/lib/medaction/vault/incoming -name 'med*'") == ""
    )
    assert both.read("vault1", "pgrep -c postgres || true").strip() == "0"


def test_signature_is_the_vaults_for_who_has_its_public_half_alone(both: Operator) -> None:
    manifest = f"{STORE}/daily/{newest(both)}.manifest.json"
    kept = (PROJECT / "inventories/keys/sandbox/vault1.sign.pub").read_text().strip()
    verify = f"ssh-keygen -Y verify -f /run/signers -I vault -n medaction-backup -s {manifest}.sig"
    both.read("vault1", f"echo 'vault {kept}' >/run/signers && {verify} <{manifest}")
    assert both.on("vault1", f"sed s/daily/weekly/ {manifest} | {verify}").returncode != 0


def test_no_row_can_be_read_off_the_host_without_a_key(both: Operator) -> None:
    unpack = 'for f; do cat "$f"; gzip -dcf "$f" 2>/dev/null; done'
    look = f"find {{}} -type f -exec sh -c '{unpack}' - {{{{}}}} + | grep -c {{}} || true"
    assert (
        both.read("db1", look.format("/opt/medaction/backups", MARKER)).strip() != "0"
    )  # the search finds what is there
    assert both.read("db1", look.format(OUTBOX, MARKER)).strip() == "0"
    assert both.read("vault1", look.format("/var/lib/medaction", MARKER)).strip() == "0"
    opened = f"/usr/local/lib/medaction/vault.sh --export db1 daily/{newest(both)}.age | gzip -dc | grep -c {MARKER}"
    assert both.read("vault1", opened).strip() != "0"


def test_vaults_account_can_read_the_outbox_and_do_nothing_else(both: Operator) -> None:
    sftp = (
        "runuser -u medaction-vault -- sftp -b - -F /dev/null -i /etc/medaction-vault/ssh -o HostKeyAlias=db1"
        " -o UserKnownHostsFile=/etc/medaction-vault/known_hosts medaction-at-vault1@db1"
    )
    assert "daily" in both.read("vault1", f"cd / && echo ls | {sftp}")
    for refused in (
        "put /etc/hostname /daily/x", f"rm /daily/{newest(both)}.age", "mkdir /x", "get /etc/passwd /tmp/x",
        f"rename /daily/{newest(both)}.age /daily/x", "get /../../../etc/passwd /tmp/x", "chmod 777 /daily",
    ):  # fmt: skip
        assert both.on("vault1", f"cd / && echo {refused} | {sftp}").returncode != 0, refused
    shell = sftp.replace("sftp -b -", "ssh")
    assert "sftp connections only" in both.on("vault1", f"cd / && {shell} id").stdout
    forwarded = both.on("vault1", f"cd / && {shell.replace('ssh -F', 'ssh -W localhost:22 -F')}")
    assert forwarded.returncode != 0


def test_host_key_that_is_not_the_one_kept_stops_the_deploy_before_any_change(
    both: Operator, project_copy: Operator
) -> None:
    kept = project_copy.checkout / "inventories/keys/sandbox/db1.host.pub"  # others deploy from this project meanwhile
    kept.write_text(re.sub(r"....$", "AAAA", kept.read_text().strip()) + "\n")
    both.read("db1", "rm /etc/cron.d/medaction-backup")
    done = project_copy.command("deploy", "db1")
    assert done.returncode == 1 and "db1.host.pub" in done.stdout and "no host was changed" in done.stdout
    assert both.on("db1", "test -e /etc/cron.d/medaction-backup").returncode != 0
    both.deploy("db1")  # with the vault not asked at all


def test_vault_refuses_a_host_with_another_key(both: Operator) -> None:
    both.read(
        "vault1",
        "cp -p /etc/medaction-vault/known_hosts /run/kept && sed -i 's/..$/AA/' /etc/medaction-vault/known_hosts",
    )
    try:
        assert visit(both).returncode != 0
        assert "it was not reached: " in vault(both, "--check")
    finally:
        both.read("vault1", "cp -p /run/kept /etc/medaction-vault/known_hosts")


# Given lines "NAME AGE-IN-SECONDS SUSPECT" (SUSPECT: - or +), puts such copies into the store, signed, as if they had
# come then. What is in them matters to nobody: only their manifests are read.
SEED = f"""
set -eu
model=$(find {STORE}/daily -name 'medaction_*.manifest.json' | sort | tail -n 1)
while read -r name age suspect; do
    at={STORE}/daily/$name
    jq --arg dump "$name" '.dump = $dump | .database = "old"' "$model" >"$at.manifest.json"
    ssh-keygen -q -Y sign -f /etc/medaction-vault/sign -n medaction-backup "$at.manifest.json" 2>/dev/null
    if [ "$suspect" = + ]; then echo '{{"verdict": "ok", "suspect": "a table"}}' >"$at.proof.json"; fi
    touch "$at.age"
    touch -d "@$(( $(date +%s) - age ))" "$at.manifest.json"
done
"""
HOUR = 3600
DAY = 24 * HOUR


def put_into_store(operator: Operator, ages: dict[int, str]) -> dict[int, str]:
    """Copies of these ages in seconds, each "" or "suspect"; their names by their ages."""
    now = datetime.fromisoformat(operator.read("vault1", "date --utc -Iseconds").strip())
    names = {age: f"medaction-old_{now - timedelta(seconds=age):%Y-%m-%d_%H-%M-%S}.sql.gz" for age in ages}
    lines = "".join(f"{names[age]} {age} {'+' if word else '-'}\n" for age, word in ages.items())
    done = operator.on("vault1", f"bash -c {shlex.quote(SEED)}", PrivateInput(lines))
    assert done.returncode == 0, done.stderr
    return names


PROVE = pytest.mark.prove
NIGHTS = {HOUR: "", **{HOUR + day * DAY: "" for day in range(1, 45)}}


@pytest.mark.parametrize(
    ("ages", "before", "removes"),
    [
        pytest.param(NIGHTS, "true", True, id="forty-five nights"),
        pytest.param({HOUR: "", **{day * DAY: "" for day in range(100, 112)}}, "true", True, id="gap", marks=PROVE),
        pytest.param(
            {HOUR: ""} | {day * DAY: "suspect" if day < 106 else "" for day in range(100, 125)},
            "true", True, id="suspects among them", marks=PROVE,
        ),
        pytest.param({age + 2 * DAY: "" for age in NIGHTS}, "true", False, id="silent source", marks=PROVE),
        pytest.param(
            {HOUR: "suspect", **{age + 2 * DAY: "" for age in NIGHTS}}, "true", False, id="suspect", marks=PROVE
        ),
        pytest.param(NIGHTS, "echo $(( $(date +%s) - 3000000 )) >last-run", False, id="clock ahead", marks=PROVE),
        pytest.param(NIGHTS, "echo $(( $(date +%s) + 300000 )) >last-run", False, id="clock went back", marks=PROVE),
        pytest.param(NIGHTS, "date +%s -d '-6 days' >leapt", False, id="clock leapt days ago", marks=PROVE),
    ],
)  # fmt: skip
def test_old_copies_go_by_their_tiers_and_none_that_may_be_needed(
    both: Operator, ages: dict[int, str], before: str, removes: bool
) -> None:
    (settings,) = (each.settings for each in inventory.read("sandbox", "vault1"))
    names = put_into_store(both, ages)
    both.read("vault1", f"cd /var/lib/medaction/vault/state && {before}")
    visit(both)  # db1 offers none of these: that is an alarm
    left = set(both.read("vault1", f"cd {STORE}/daily && ls | grep '^medaction-old_.*[.]age$' || true").split())
    with_manifest = both.read("vault1", f"cd {STORE}/daily && ls | grep '^medaction-old_.*[.]manifest.json$'").split()
    both.read("vault1", f"rm -f {STORE}/daily/medaction-old_* /var/lib/medaction/vault/state/leapt")

    sound = [age for age, word in sorted(ages.items()) if not word]
    kept = {age for age in ages if age // DAY <= settings.backup_daily_retention_days}
    kept |= set(sound[: settings.backup_daily_minimum_kept])
    # The first of each month; there is no yearly tier.
    kept |= set({f"{datetime.now(UTC) - timedelta(seconds=age):%Y-%m}": age for age in sound}.values())
    wanted = {names[age] for age in (kept if removes else ages)}
    assert {name.removesuffix(".age") for name in left} == wanted
    assert {name.removesuffix(".manifest.json") for name in with_manifest} == wanted
    assert not removes or len(wanted) < len(ages)


@pytest.mark.prove
def test_longest_names_of_a_host_and_a_database_come_as_far_as_the_recovered_host(
    both: Operator, project_copy: Operator
) -> None:
    name, database, renamed = "db-of-the-clinic-" + "x" * 46, "日" * 21, project_copy
    dumps = "/opt/medaction/backups/medaction-%e6%97%a5*"
    path = renamed.checkout / "inventories/sandbox.py"
    more = '"backup_vault_address": "db1", "backup_databases": "all"'
    path.write_text(path.read_text().replace('("db1", {', f'("{name}", {{{more}, '))
    config = (renamed.checkout / ".sandbox/ssh_config").read_text()
    (renamed.checkout / ".sandbox").unlink()
    (renamed.checkout / ".sandbox").mkdir()
    config = config.replace("Host db1\n", f"Host db1 {name}\n").replace("Host app1 ", f"Host {name} app1 ")
    (renamed.checkout / ".sandbox/ssh_config").write_text(re.sub(r"\n    Control.*", "", config))
    shutil.copy(PROJECT / ".sandbox/known_hosts", renamed.checkout / ".sandbox/known_hosts")
    both.postgres(f'CREATE DATABASE "{database}" OWNER medaction')
    both.postgres("SET ROLE medaction; CREATE TABLE own AS SELECT 'kept' AS note", database)
    try:
        both.read("db1", "/usr/local/lib/medaction/backup-database.sh")
        # Under its old name in the outbox: the copies are made anew, and none of them is an alarm.
        renamed.deploy(f"{name},vault1")
        both.read("db1", "/usr/local/lib/medaction/backup-database.sh")
        encrypt(both)
        done = visit(both)
        assert done.returncode == 0, done.stderr
        offers = [json.loads(line) for line in vault(both, f"--offer {name}").splitlines()]
        assert {(each["database"], each["signed"]) for each in offers if each["database"] == database} == {
            (database, True)
        }
        both.read("db1", f"rm -r {dumps}")
        done = renamed.python("-m", "provision", "recover", "--env", "sandbox", "--host", name)
        assert f"{name}: {database}: " in done.stdout, done.stdout
        dump = both.read("db1", f"ls {dumps} | grep -v -e latest -e gz[.] | tail -n 1").strip()
        both.postgres("DROP TABLE own", database)
        both.read("db1", f"/usr/local/lib/medaction/restore-database.sh --into '{database}' --from '{dump}'")
        assert both.postgres("SELECT note FROM own", database) == "kept"
    finally:
        both.postgres(f'DROP DATABASE "{database}"')
        both.read("db1", f"rm -rf {dumps}")
        both.deploy(HOSTS)
    assert visit(both).returncode == 0
