"""Backups that survive the capture of their host: fetched, proven, signed, and brought back to a new one."""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from provision.engine import inventory
from provision.engine.inventory import PROJECT
from provision.engine.private import PrivateInput
from tests.e2e.conftest import copied
from tests.e2e.operator import Done, Operator
from tests.e2e.tables import contents

pytestmark = pytest.mark.servers

HOSTS = "db1,vault1"
STORE = "/var/lib/medaction/vault/store/db1"
OUTBOX = "/var/lib/medaction/offsite"
MARKER = "zq-marker-of-a-patient-5f1c"


@pytest.fixture(scope="module")
def both() -> Operator:
    """db1 and vault1, deployed, with a marked row in the newest dump, which the vault has proven. The table stays, as
    a dump without it would be suspect."""
    operator = Operator()
    if operator.plan(HOSTS).returncode != 0:
        operator.deploy(HOSTS)
    mark(operator)
    night(operator)
    # Against the dumps of whatever tests came before, this one may well lack tables: that was intended.
    operator.on("vault1", f"/usr/local/lib/medaction/vault.sh --accept db1 daily/{newest(operator)}")
    return operator


def mark(operator: Operator) -> None:
    operator.postgres(
        f"SET ROLE medaction; CREATE TABLE IF NOT EXISTS marked (note text); INSERT INTO marked VALUES ('{MARKER}')"
    )


# Runs a program that says 75 while another run is at work, as soon as there is none.
UNTIL_FREE = 'until_free() { while :; do "$@"; code=$?; [ $code = 75 ] || return $code; sleep 0.2; done; }'


def night(operator: Operator) -> None:
    """A backup, its encryption, and the vault's visit, as their timers make them."""
    operator.read("db1", "/usr/local/lib/medaction/backup-database.sh")
    encrypt(operator)
    done = visit(operator)
    assert done.returncode == 0, done.stderr


def encrypt(operator: Operator) -> None:
    operator.read("db1", f"{UNTIL_FREE}; until_free /usr/local/lib/medaction/offsite.sh")


def visit(operator: Operator) -> Done:
    """The vault fetches and proves. Its timer may be at work, too: then this is another visit after that one."""
    return operator.on("vault1", f"{UNTIL_FREE}; until_free /usr/local/lib/medaction/vault.sh", timeout=300)


def vault(operator: Operator, *words: str) -> str:
    return operator.on("vault1", f"/usr/local/lib/medaction/vault.sh {' '.join(words)}").stdout


def stored(operator: Operator) -> dict[str, str]:
    """Every file in the vault's store, by its path, with its sum."""
    lines = operator.read("vault1", f"cd {STORE} && find . -type f -exec sha256sum {{}} +").splitlines()
    return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}


def newest(operator: Operator) -> str:
    return operator.read("db1", "cd /opt/medaction/backups && ls -d medaction_2*.sql.gz | sort | tail -n 1").strip()


def test_newest_dump_is_fetched_proven_and_signed_and_nothing_is_left_to_do(both: Operator) -> None:
    offers = [json.loads(line) for line in vault(both, "--offer db1").splitlines()]
    assert (offers[0]["dump"], offers[0]["signed"], offers[0]["proof"]) == (newest(both), True, "ok")
    assert both.plan(HOSTS).returncode == 0
    (backup,) = both.status(HOSTS)["db1"]["backups"]
    assert backup["off_site"] == {"vault1": 0}
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


@pytest.mark.prove
def test_host_that_was_captured_can_change_nothing_that_was_fetched(both: Operator) -> None:
    before, good = stored(both), newest(both)
    truth = contents(both.postgres)
    # Root on db1: what it has, it takes away, rewrites and fakes.
    both.read("db1", f"""
        cd {OUTBOX}/daily
        printf 'held to ransom' > {good}.age
        sed -i 's/"\\(bytes\\|database_bytes\\)": [0-9]*/"\\1": 14/' {good}.manifest.json
        cp {good}.manifest.json medaction_2026-01-01_00-00-00.sql.gz.manifest.json
        echo '{{"version": 1, "dump": "../../../../etc/cron.d/x"}}' > medaction_2026-01-02_00-00-00.sql.gz.manifest.json
        touch "$(printf 'medaction_2026-01-03_00-00-00.sql.gz\\n.manifest.json')" '-oProxyCommand=id.manifest.json'
        ln -s /etc/shadow medaction_2026-01-04_00-00-00.sql.gz.manifest.json
        seq -f 'medaction_2026-01-05_%06g.sql.gz.manifest.json' 2000 | xargs touch
        rm -rf /opt/medaction/backups/*.gz*
    """)  # fmt: skip
    visit(both)
    assert {path: digest for path, digest in stored(both).items() if path in before} == before
    assert set(stored(both)) == set(before)
    said = both.on("vault1", "/usr/local/lib/medaction/vault.sh --check")
    assert said.returncode == 2
    assert f"{good} was changed there after it was fetched" in said.stdout
    assert "medaction_2026-01-02_00-00-00.sql.gz.manifest.json is no manifest of ours" in said.stdout
    # It knows nothing by which it could reach the vault.
    assert both.on("db1", "ssh -o BatchMode=yes -o StrictHostKeyChecking=no root@vault1 true").returncode != 0

    both.bare("db1")
    done = both.run("make", "-s", "recover", "HOST=db1")
    assert done.returncode == 0 and f"{good}, proven, from vault1" in done.stdout, done.stdout
    both.deploy(HOSTS)
    both.read("db1", f"/usr/local/lib/medaction/restore-database.sh --into medaction_back --from {good}")
    assert contents(lambda sql: both.postgres(sql, "medaction_back")) == truth
    # The recovered host has encrypted the dump anew: that is no change, and nothing of it replaces what was proven.
    assert both.read("db1", f"sha256sum {OUTBOX}/daily/{good}.age").split()[0] != before[f"./daily/{good}.age"]
    assert visit(both).returncode == 0
    assert before.items() <= stored(both).items()
    assert both.on("vault1", "/usr/local/lib/medaction/vault.sh --check").returncode == 1  # of the attack, still
    mark(both)  # as the dump has it that is compared with


@pytest.mark.prove
def test_manifest_that_tells_the_sums_of_the_dump_and_others_of_its_files_changes_nothing(both: Operator) -> None:
    night(both)
    before, manifest = stored(both), f"{OUTBOX}/daily/{newest(both)}.manifest.json"
    whole = both.read("db1", f"cat {manifest}")
    told = json.loads(whole)
    for change, quiet in (
        ({"recipients": []}, True),
        ({"files": [{**each, "sha256": "0" * 64, "bytes": 14} for each in told["files"]]}, True),
        ({"files": [{**each, "plain_sha256": "0" * 64} for each in told["files"]]}, False),
        ({"files": told["files"][:2]}, False),
        ({"database": "other"}, False),
    ):
        both.on("db1", f"cat > {manifest}", PrivateInput(json.dumps({**told, **change})))
        assert (visit(both).returncode == 0) == quiet, change
        assert stored(both) == before
    both.on("db1", f"cat > {manifest}", PrivateInput(whole))


@pytest.mark.prove
def test_dump_that_does_not_restore_is_never_signed(both: Operator) -> None:
    night(both)
    dump, signed = newest(both), {path for path in stored(both) if path.endswith(".sig")}
    # A host that is not what it was makes a dump that says what it likes of itself.
    both.read("db1", f"""
        cd /opt/medaction/backups && new=medaction_$(date +%Y-%m-%d_%H-%M-%S).sql.gz
        gzip -dc {dump} | sed 's/CREATE TABLE/CREATE TABEL/' | gzip > $new
        sum=$(sha256sum <$new | cut -d ' ' -f 1)
        sed -e "s/{dump}/$new/" -e "s/\\"sha256\\": \\"[0-9a-f]*\\"/\\"sha256\\": \\"$sum\\"/" {dump}.json > $new.json
        cp {dump}.globals.gz $new.globals.gz
        chown medaction-backup: $new*
        chmod 0600 $new*
    """)  # fmt: skip
    encrypt(both)
    assert visit(both).returncode != 0
    assert {path for path in stored(both) if path.endswith(".sig")} == signed
    assert "is not proven (failed)" in vault(both, "--check")
    done = both.run("make", "-s", "recover", "HOST=db1")
    assert f"{dump}, proven" in done.stdout and "it is not proven (failed)" in done.stdout, done.stdout
    both.read("db1", f"rm /opt/medaction/backups/{newest(both)}*")


def test_host_key_that_is_not_the_one_kept_stops_the_deploy_before_any_change(both: Operator) -> None:
    kept = PROJECT / "inventories/keys/sandbox/db1.host.pub"
    right = kept.read_text()
    kept.write_text(re.sub(r"....$", "AAAA", right.strip()) + "\n")
    try:
        both.read("db1", "rm /etc/cron.d/medaction-backup")
        done = both.command("deploy", "db1")
        assert done.returncode == 1 and "db1.host.pub" in done.stdout and "no host was changed" in done.stdout
        assert both.on("db1", "test -e /etc/cron.d/medaction-backup").returncode != 0
    finally:
        kept.write_text(right)
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


@pytest.mark.prove
@pytest.mark.fault
def test_fetch_that_was_cut_goes_on_where_it_stopped(both: Operator) -> None:
    both.read("db1", "/usr/local/lib/medaction/backup-database.sh")
    encrypt(both)
    dump, settings = newest(both), "/usr/local/lib/medaction/vault-settings.sh"
    both.read("vault1", f"""
        sed -i 's/^readonly vault_bandwidth_kbit=.*/readonly vault_bandwidth_kbit=8000/' {settings}
        systemctl start --no-block medaction-vault
        for i in $(seq 200); do
            at=$(stat -c %s /var/lib/medaction/vault/incoming/db1.daily.{dump}/{dump}.age 2>/dev/null || echo 0)
            [ "$at" -gt 2000000 ] && break; sleep 0.1
        done
        systemctl kill --signal=KILL medaction-vault; systemctl kill --signal=KILL medaction-vault-fetch
        sed -i 's/^readonly vault_bandwidth_kbit=.*/readonly vault_bandwidth_kbit=0/' {settings}
    """)  # fmt: skip
    assert f"./daily/{dump}.manifest.json" not in stored(both)
    assert visit(both).returncode == 0
    sftp_log = both.read("db1", f"journalctl -t internal-sftp -o cat | grep 'close \"/daily/{dump}.age\"' | tail -1")
    size = int(both.read("vault1", f"stat -c %s {STORE}/daily/{dump}.age"))
    assert 0 < int(re.search(r"bytes read (\d+)", sftp_log)[1]) < size
    assert f"./daily/{dump}.manifest.json.sig" in stored(both)


@pytest.mark.prove
def test_copy_that_every_vault_has_read_goes_and_the_newest_stays(both: Operator) -> None:
    night(both)
    night(both)
    settings = "/usr/local/lib/medaction/outbox-settings.sh"
    both.read("db1", f"sed -i 's/^readonly outbox_days=.*/readonly outbox_days=0/' {settings}")
    both.read("db1", "sleep 1")
    encrypt(both)
    left = both.read("db1", f"ls {OUTBOX}/daily").split()
    assert f"{newest(both)}.manifest.json" in left
    dumps = both.read("db1", "cd /opt/medaction/backups; ls medaction_2*.sql.gz").split()
    assert len([each for each in left if each.endswith(".manifest.json")]) < len(dumps)
    both.deploy("db1")


@pytest.mark.prove
@pytest.mark.fault
@pytest.mark.parametrize(
    ("done", "said"),
    [
        ("truncate -s -1 $copy.age", "is not what its manifest says"),
        ("printf x | dd of=$copy.age conv=notrunc seek=500 bs=1 status=none", "is not what its manifest says"),
        ("echo more >>$copy.age", "could not be fetched"),
        ("rm $copy.age", "could not be fetched"),
        ("chmod 0600 $copy.json.age", "could not be fetched"),
        ("rm $copy.age; mkdir $copy.age", "could not be fetched"),
        ("rm $copy.age; mkfifo $copy.age", "could not be fetched"),
        ("rm $copy.age; ln -s /dev/log $copy.age", "could not be fetched"),
        ("rm $copy.manifest.json; ln -s / $copy.manifest.json", "could not be fetched"),
        ("truncate -s 2M $copy.manifest.json", "could not be fetched"),
        ("jq '.files[0].bytes = 99999999999999' $copy.manifest.json >m; cat m >$copy.manifest.json", "make room"),
    ],
    ids=lambda value: value if value.startswith(("t", "p", "e", "r", "c", "j")) else "",
)
def test_copy_that_is_not_what_it_says_is_an_alarm_and_nothing_of_it_stays(
    both: Operator, done: str, said: str
) -> None:
    both.read("db1", "/usr/local/lib/medaction/backup-database.sh")
    encrypt(both)
    dump, before = newest(both), stored(both)
    both.read("db1", f"cd /run; copy={OUTBOX}/daily/{dump}; cp -a $copy.manifest.json kept; {done}")
    try:
        assert visit(both).returncode == 1
        assert said in vault(both, "--check")
        assert stored(both) == before
    finally:  # as if it had never been: its host makes another copy of the dump
        both.read("db1", f"rm -rf {OUTBOX}/daily/{dump}.* && sed -i '/{dump}/d' {OUTBOX}-work/published")
        encrypt(both)
    assert visit(both).returncode == 0
    assert f"./daily/{dump}.manifest.json.sig" in stored(both)
    assert both.read("vault1", "ls /var/lib/medaction/vault/incoming") == ""


LIES: tuple[object, ...] = (
    {"dump": "../../../etc/cron.d/x"}, {"dump": 1}, {"tier": "weekly"}, {"tier": "../daily"}, {"source": "db2"},
    {"version": 2}, {"database": "a\x1b[2J"}, {"database": None}, {"server_version": "17; id"}, {"files": []},
    {"files": "none"}, {"bytes": -1}, {"bytes": 1.5}, {"bytes": "1"}, {"bytes": 1e300}, {"bytes": 0},
    {"name": "../x.age"}, {"name": "/etc/passwd"}, {"name": "-oProxyCommand=id"}, {"name": "a\nget /x /y"},
    {"plain_name": "../../x"}, {"sha256": "0"}, {"plain_sha256": "z" * 64},
)  # fmt: skip


@pytest.mark.prove
@pytest.mark.fault
def test_manifests_that_lie_take_nothing_and_leave_nothing(both: Operator) -> None:
    night(both)
    before, good = stored(both), newest(both)
    told = json.loads(both.read("db1", f"cat {OUTBOX}/daily/{good}.manifest.json"))
    texts = [b"", b"[]", b"null", b"{", b"\xff\xfe", b"{}", b"[" * 5000, b'{"version": 1}']
    for lie in LIES:
        assert isinstance(lie, dict)
        changed = json.loads(json.dumps(told).replace(good, GOOD_NAME))
        at = changed["files"][0] if lie.keys() & changed["files"][0].keys() else changed
        at.update(lie)
        texts.append(json.dumps(changed).encode())
    names = [f"medaction_2026-01-01_{number // 60:02}-{number % 60:02}-00.sql.gz" for number in range(len(texts))]
    script = "".join(
        f"base64 -d >{OUTBOX}/daily/{name}.manifest.json <<'END'\n"
        f"{base64.b64encode(text.replace(GOOD_NAME.encode(), name.encode())).decode()}\nEND\n"
        for name, text in zip(names, texts, strict=True)
    )
    made = both.on("db1", "sh", PrivateInput(script))
    assert made.returncode == 0, made.stderr
    assert visit(both).returncode == 1
    assert stored(both) == before
    alarms = both.read("vault1", "cat /var/lib/medaction/vault/state/alarms")
    assert [name for name in names if name not in alarms] == []
    both.read("db1", f"rm -f {OUTBOX}/daily/medaction_2026-01-01_*")
    assert visit(both).returncode == 0


GOOD_NAME = "medaction_GOOD.sql.gz"


@pytest.mark.prove
@pytest.mark.fault
def test_hundred_thousand_names_hold_nobody_up(both: Operator) -> None:
    night(both)
    before = stored(both)
    many = 'for (i = 0; i < 100000; i++) printf "medaction_20%02d-%02d-%02d_%02d-%02d-%02d.sql.gz.manifest.json\\n",'
    many += " 10 + i % 10, 1 + int(i / 10) % 12, 1 + int(i / 120) % 28, int(i / 3360) % 24, int(i / 80640) % 60, 0"
    both.read("db1", f"cd {OUTBOX}/daily && awk 'BEGIN {{ {many} }}' | xargs touch")
    try:
        began = time.monotonic()
        # Of an empty manifest each, five hundred are looked at.
        said = both.on("vault1", f"{UNTIL_FREE}; until_free /usr/local/lib/medaction/vault.sh", timeout=900)
        assert said.returncode == 1 and time.monotonic() - began < 900
        assert stored(both) == before
    finally:
        both.read("db1", f"cd {OUTBOX}/daily && find . -name 'medaction_201*' -delete")
    assert visit(both).returncode == 0


@pytest.mark.prove
@pytest.mark.fault
def test_vault_without_room_says_so_and_goes_on_when_there_is_some(both: Operator) -> None:
    settings = "/usr/local/lib/medaction/vault-settings.sh"
    both.read("db1", "/usr/local/lib/medaction/backup-database.sh")
    encrypt(both)
    dump, before = newest(both), stored(both)
    both.read(
        "vault1", f"cp -p {settings} /run/kept && sed -i 's/vault_reserve_mb=.*/vault_reserve_mb=99999999/' {settings}"
    )
    try:
        assert visit(both).returncode == 1 and "make room" in vault(both, "--check") and stored(both) == before
    finally:
        both.read("vault1", f"cp -p /run/kept {settings}")
    # The disk itself is full: what does not fit is no file.
    incoming = "/var/lib/medaction/vault/incoming"
    both.read("vault1", f"mount -t tmpfs -o size=256k,mode=0700,uid=medaction-vault tmpfs {incoming}")
    try:
        assert visit(both).returncode == 1 and stored(both) == before
    finally:
        both.read("vault1", f"umount {incoming}")
    assert visit(both).returncode == 0
    assert f"./daily/{dump}.manifest.json.sig" in stored(both)


@pytest.mark.prove
@pytest.mark.fault
def test_vault_without_its_keys_proves_nothing_and_goes_on_with_them(both: Operator) -> None:
    both.read("db1", "/usr/local/lib/medaction/backup-database.sh")
    encrypt(both)
    dump = newest(both)
    for key in ("age", "sign"):
        both.read("vault1", f"mv /etc/medaction-vault/{key} /run/")
        try:
            assert visit(both).returncode == 1
            assert f"./daily/{dump}.manifest.json.sig" not in stored(both)
        finally:
            both.read("vault1", f"mv /run/{key} /etc/medaction-vault/")
    both.read("db1", "gpasswd --delete medaction-at-vault1 medaction-offsite")
    try:
        assert visit(both).returncode == 1 and "it was not reached" in vault(both, "--check")
    finally:
        both.read("db1", "usermod --append --groups medaction-offsite medaction-at-vault1")
    assert visit(both).returncode == 0
    assert f"./daily/{dump}.manifest.json.sig" in stored(both)


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
def test_copy_that_lacks_what_was_there_is_noticed_though_its_source_says_nothing(both: Operator) -> None:
    both.postgres(
        "CREATE TABLE IF NOT EXISTS kept AS SELECT generate_series(1, 500) AS n; ALTER TABLE kept OWNER TO medaction"
    )
    night(both)
    whole = newest(both)
    both.postgres("DELETE FROM kept WHERE n > 100")
    # The source's own comparison is put to silence, as whoever captures it would.
    both.read("db1", "sed -i 's/few_rows=100/few_rows=1000000/' /usr/local/lib/medaction/lib/lost.sh")
    night(both)
    emptied = newest(both)
    offers = {each["dump"]: each for each in map(json.loads, vault(both, "--offer db1").splitlines())}
    assert offers[emptied]["signed"] and "kept has 100 rows, it had 500" in offers[emptied]["suspect"]
    assert emptied != whole and offers[whole]["suspect"] == ""
    checked = both.on("vault1", "/usr/local/lib/medaction/vault.sh --check")
    assert f"vault.sh --accept db1 daily/{emptied}" in checked.stdout and checked.returncode >= 1
    done = both.run("make", "-s", "recover", "HOST=db1")
    assert f"{whole}, proven" in done.stdout and f"not taken: {emptied}: it lacks" in done.stdout, done.stdout
    vault(both, f"--accept db1 daily/{emptied}")
    assert f"{emptied}, proven" in both.run("make", "-s", "recover", "HOST=db1").stdout
    both.deploy("db1")


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
