"""A vault's copies go on to a bucket that forgets nothing, and come back with what lies in the safe alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from bench import memory
from tests.e2e import storage
from tests.e2e.conftest import copied
from tests.e2e.operator import Done, Operator
from tests.e2e.storage import Bucket
from tests.e2e.vaults import HOSTS, MARKER, STORE, UNTIL_FREE, newest, night, stored, vault
from tests.limiter.waiting import until
from tests.sandbox.fleet import PREFIX

pytestmark = pytest.mark.servers

PUSH = "/usr/local/lib/medaction/push.sh"
CONFIG = "/etc/medaction-offsite/rclone.conf"


@pytest.fixture(scope="module")
def endpoint(both: Operator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with storage.running(tmp_path_factory.mktemp("s3")) as address:
        yield address
        # The vault's keys to it go with the setting, and nothing is left to do.
        both.deploy(HOSTS)
        assert both.on("vault1", f"ls {CONFIG} {PUSH} /etc/systemd/system/medaction-push.*").stdout == ""
        assert both.read("vault1", "systemctl list-units --all --plain --no-legend 'medaction-push*'") == ""
        assert both.plan(HOSTS).returncode == 0


@pytest.fixture(scope="module")
def stick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("safe") / "medaction.key"


@pytest.fixture(scope="module")
def team(both: Operator, stick: Path, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """A team whose copies people's own key opens as well."""
    parts = ("inventories", "provision", "templates", "files", "tests/verify", ".secrets")
    team = copied(tmp_path_factory.mktemp("team") / "checkout", *parts)
    said = team.python("-m", "provision", "keys", "--env", "sandbox", "--out", str(stick)).stdout
    group_data = team.checkout / "inventories/group_data/sandbox.py"
    (line,) = [line.strip() for line in said.splitlines() if "backup_encrypt_to" in line]
    group_data.write_text(f"{group_data.read_text()}\n{line}\n")
    return team


def now() -> str:
    """As a storage tells times, to the second."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def push(operator: Operator, timeout: int = 300) -> Done:
    """A run of the program; its timer may be at work, too."""
    return operator.on("vault1", f"{UNTIL_FREE}; until_free {PUSH}", timeout=timeout)


def with_bucket(team: Operator, bucket: Bucket, more: str = "") -> Path:
    """The vault's settings; the file with the keys, which lies in the safe too."""
    config = team.checkout.parent / f"{bucket.name}.conf"
    config.touch(mode=0o600)
    config.write_text(bucket.rclone_conf)
    (team.checkout / "inventories/group_data/vault.py").write_text(
        f'backup_offsite = ["{bucket.place}"]\nbackup_offsite_config = "file:{config}"\n{more}'
    )
    return config


def filled(team: Operator, endpoint: str) -> tuple[Bucket, Path]:
    """A bucket that has all that the vault has, and the file with its keys."""
    bucket = storage.bucket(endpoint)
    config = with_bucket(team, bucket)
    team.deploy(HOSTS)
    night(team)
    assert push(team).returncode == 0
    return bucket, config


def test_copies_in_a_bucket_outlive_whoever_has_the_vaults_key(
    both: Operator, team: Operator, stick: Path, endpoint: str, tmp_path: Path
) -> None:
    bucket, config = filled(team, endpoint)
    good, names = newest(team), {path.removeprefix("./") for path in stored(team)}
    there = bucket.objects()
    in_store = {name.removeprefix("store/db1/") for name in there if name.startswith("store/db1/")}
    assert names and in_store == names and "secrets/sandbox.env.age" in there
    everything = b"".join(there.values())
    assert MARKER.encode() not in everything and bucket.secret_key.encode() not in everything
    assert team.plan(HOSTS).returncode == 0
    checked = team.on("vault1", f"{PUSH} --check")
    assert checked.returncode == 0 and "versions there cannot be deleted" in checked.stdout, checked.stdout
    assert team.read("vault1", f"stat -c '%a %U' {CONFIG}").strip() == "600 root"
    secret = (team.checkout / ".secrets/sandbox.env").read_bytes()
    then = now()
    until(lambda: now() != then, "the next second: what is done in this one counts as done by then")

    # Whoever has the vault's key takes all away, and puts something else in its place.
    versions = bucket.s3.list_object_versions(Bucket=bucket.name)["Versions"]
    for each in versions:
        with pytest.raises(ClientError, match="AccessDenied"):
            bucket.s3.delete_object(Bucket=bucket.name, Key=each["Key"], VersionId=each["VersionId"])
    for name in there:
        bucket.s3.delete_object(Bucket=bucket.name, Key=f"medaction/{name}")
    bucket.s3.put_object(Bucket=bucket.name, Key=f"medaction/store/db1/daily/{good}.age", Body=b"held to ransom")
    team.read("vault1", "touch --date=-2days /var/lib/medaction/push/*.looked")
    push(team)
    assert push(team).returncode == 0  # all is brought there again, and told for a week
    checked = team.on("vault1", f"{PUSH} --check")
    assert checked.returncode == 1 and "are gone" in checked.stdout, checked.stdout

    # A clone, the key from the safe, the bucket's address and key: nothing of what the team had.
    bare = copied(tmp_path / "clone", "provision", "templates", "files", "tests/verify", "inventories")
    safe = ("--copy", bucket.place, "--rclone", str(config), "--identity", str(stick), "--at", then)
    bare.python("-m", "provision", "secrets", "--env", "sandbox", *safe)
    assert (bare.checkout / ".secrets/sandbox.env").read_bytes() == secret
    before = team.read("db1", f"sha256sum /opt/medaction/backups/{good}")
    team.read("db1", f"rm /opt/medaction/backups/{good}*")
    done = bare.python("-m", "provision", "recover", "--env", "sandbox", "--host", "db1", *safe)
    assert f"{good}, proven, from {bucket.place} as of {then}" in done.stdout, done.stdout
    assert team.read("db1", f"sha256sum /opt/medaction/backups/{good}") == before
    assert vault(team, "--list db1")


@pytest.mark.prove
@pytest.mark.parametrize(("versions", "says"), [(True, "can be deleted"), (False, "keeps no versions")])
def test_bucket_that_forgets_is_told_of(
    versions: bool, says: str, both: Operator, team: Operator, endpoint: str
) -> None:
    bucket = storage.bucket(endpoint, lock=False, versions=versions)
    with_bucket(team, bucket)
    team.deploy(HOSTS)
    checked = team.on("vault1", f"{PUSH} --check")
    assert checked.returncode == 1 and says in checked.stdout, checked.stdout
    assert f"vault1: {bucket.place}: " in team.plan(HOSTS).stdout


def tries_refused(operator: Operator) -> int:
    """How often the kernel has had no answer to a TCP connection from the vault."""
    return int(operator.read("vault1", "awk '/^Tcp: [0-9]/ { print $8 }' /proc/net/snmp"))


@pytest.mark.prove
@pytest.mark.fault
def test_bucket_that_cannot_be_reached_is_an_alarm_and_the_vault_goes_on(
    both: Operator, team: Operator, endpoint: str
) -> None:
    bucket = storage.bucket(endpoint)
    with_bucket(team, bucket)
    team.deploy(HOSTS)
    team.read("vault1", f"sed -i 's/^endpoint = .*/endpoint = http:\\/\\/127.0.0.1:9/' {CONFIG}")
    team.read("vault1", "systemctl stop medaction-push.timer")
    night(team)
    team.read("vault1", "truncate --size 0 /var/lib/medaction/push/*.has")  # as if all were new
    before, files = tries_refused(team), len(stored(team))
    assert push(team).returncode == 1
    tries = tries_refused(team) - before
    assert tries < 2 * files, f"{tries} tries, of one file and not of each of {files}, were enough"
    checked = team.on("vault1", f"{PUSH} --check")
    assert checked.returncode == 1 and "connection refused" in checked.stdout, checked.stdout
    # So it is while the next run is at work.
    team.read("vault1", "systemctl start --no-block medaction-push.service")
    at_work = "ls /var/lib/medaction/push/.run.*/first"
    team.read("vault1", f"for i in $(seq 300); do {at_work} && exit; sleep 0.1; done; exit 1")
    assert team.on("vault1", f"{PUSH} --check").returncode == 1
    assert team.plan(HOSTS).returncode == 2  # the file is not what was deployed
    team.deploy(HOSTS)
    assert push(team).returncode == 0
    assert team.on("vault1", f"{PUSH} --check").returncode == 0


# Until a deploy has written other settings, and until that deploy can have met it; then it fails.
AT_WORK = """mkdir -p /run/systemd/system/medaction-push.service.d && touch /run/once
cat >/run/systemd/system/medaction-push.service.d/slow.conf <<'END'
[Service]
ExecStartPost=+/bin/bash -c 'test -e /run/once || exit 0; \
    until ! grep -qF PLACE /usr/local/lib/medaction/push-settings.sh; do sleep 0.2; done; sleep 8; rm /run/once; exit 1'
END
systemctl daemon-reload && systemctl start --no-block medaction-push.service
until systemctl is-active medaction-push.service | grep -qx activating; do sleep 0.1; done"""


@pytest.mark.prove
def test_run_with_the_settings_of_before_is_not_taken_for_the_deploys(
    both: Operator, team: Operator, endpoint: str
) -> None:
    old, new = storage.bucket(endpoint), storage.bucket(endpoint)
    with_bucket(team, old)
    team.deploy(HOSTS)
    team.read("vault1", AT_WORK.replace("PLACE", old.name))
    try:
        with_bucket(team, new)
        team.deploy(HOSTS)
    finally:
        team.read("vault1", "rm -r /run/systemd/system/medaction-push.service.d; systemctl daemon-reload")
    assert {name.removeprefix("store/db1/") for name in new.objects()} >= {
        path.removeprefix("./") for path in stored(team)
    }


@pytest.mark.prove
@pytest.mark.fault
def test_storage_with_a_certificate_of_the_teams_own_ca_is_checked_by_it(
    both: Operator, team: Operator, stick: Path, endpoint: str, tmp_path: Path
) -> None:
    bucket = storage.bucket(endpoint)
    with storage.encrypted(endpoint, tmp_path) as https:
        with_bucket(team, replace(bucket, endpoint=https))
        done = team.command("deploy", HOSTS)
        assert done.returncode == 1 and "certificate signed by unknown authority" in done.stdout, done.stdout
        root = tmp_path / "ca.crt"
        config = with_bucket(team, replace(bucket, endpoint=https), f'backup_offsite_root_certificate = "{root}"\n')
        team.deploy(HOSTS)
        night(team)
        assert push(team).returncode == 0
        assert {name.removeprefix("store/db1/") for name in bucket.objects()} >= {
            path.removeprefix("./") for path in stored(team)
        }
        assert team.plan(HOSTS).returncode == 0
        # From a clone and the safe, where the certificate lies beside the keys.
        bare = copied(tmp_path / "clone", "provision", "templates", "files", "tests/verify", "inventories")
        bare.environ["RCLONE_CA_CERT"] = str(root)
        safe = ("--copy", bucket.place, "--rclone", str(config), "--identity", str(stick))
        bare.python("-m", "provision", "secrets", "--env", "sandbox", *safe)
        done = bare.python("-m", "provision", "recover", "--env", "sandbox", "--host", "db1", *safe)
        assert f"{newest(team)}, proven, from {bucket.place}" in done.stdout, done.stdout


@pytest.mark.prove
@pytest.mark.fault
def test_storage_whose_certificate_has_expired_gets_nothing_and_is_an_alarm(
    both: Operator, team: Operator, endpoint: str, tmp_path: Path
) -> None:
    trust = f'backup_offsite_root_certificate = "{tmp_path}/ca.crt"\n'
    used, new = storage.bucket(endpoint), storage.bucket(endpoint)
    with storage.encrypted(endpoint, tmp_path) as https:
        with_bucket(team, replace(used, endpoint=https), trust)
        team.deploy(HOSTS)
        before = used.objects()
    with storage.encrypted(endpoint, tmp_path, days=0) as https:
        with_bucket(team, replace(new, endpoint=https), trust)
        done = team.command("deploy", HOSTS)
        assert done.returncode == 1 and "certificate has expired" in done.stdout, done.stdout
        assert new.objects() == {}
        with_bucket(team, replace(used, endpoint=https), trust)
        team.command("deploy", HOSTS)
        night(team)
        assert push(team).returncode == 1
        checked = team.on("vault1", f"{PUSH} --check")
        assert checked.returncode == 1 and "certificate has expired" in checked.stdout, checked.stdout
        assert used.objects() == before


@pytest.mark.prove
def test_gigabyte_goes_into_a_bucket_in_bounded_memory(
    both: Operator, team: Operator, endpoint: str, proved: Callable[[str], None]
) -> None:
    bucket = storage.bucket(endpoint)
    with_bucket(team, bucket)
    team.deploy(HOSTS)
    large = "daily/medaction-huge_2026-01-01_00-00-00.dump.age"
    ours = ("push.sh", "rclone", "sha256sum")
    peaks: dict[str, int] = {}
    team.read("vault1", "systemctl stop medaction-push.timer medaction-vault.timer")
    try:
        team.read("vault1", f"truncate -s 1G {STORE}/{large}")
        peaks.update(memory.largest(PREFIX + "vault1", lambda: push(team, timeout=1800)))
        there = bucket.s3.head_object(Bucket=bucket.name, Key=f"medaction/store/db1/{large}")
        assert there["ContentLength"] == 1 << 30
        checked = team.on("vault1", f"{PUSH} --check")
        assert checked.returncode == 0, checked.stdout
        held = {name: peaks[name] for name in ours if name in peaks}
        assert "rclone" in held and max(held.values()) < 64e6, held
        told = ", ".join(f"{name} {each / 1e6:.1f}" for name, each in held.items())
        proved(f"1 GiB into a bucket; MB that one process held at most: {told}")
    finally:
        team.read("vault1", f"rm -f {STORE}/{large}; systemctl start medaction-push.timer medaction-vault.timer")


@pytest.mark.prove
def test_what_a_thief_of_the_key_puts_there_hides_no_good_copy(
    both: Operator, team: Operator, stick: Path, endpoint: str, tmp_path: Path
) -> None:
    bucket, config = filled(team, endpoint)
    good, there = newest(team), bucket.objects()
    manifest, signature = (there[f"store/db1/daily/{good}.manifest.json{end}"] for end in ("", ".sig"))
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"
    planted = {
        f"daily/medaction_{tomorrow}_00-00-0{number}.sql.gz.manifest.json": text
        for number, text in enumerate((b"", b"{", b"[" * 100000, b'{"database": []}', manifest, manifest + b" "))
    }
    planted |= {f"{name}.sig": signature for name in planted}
    planted |= {
        f"weekly/{good}.manifest.json": manifest, f"weekly/{good}.manifest.json.sig": signature,
        f"daily/{good}.notes.proof.json": b"[",
    }  # fmt: skip
    for name, text in planted.items():
        bucket.s3.put_object(Bucket=bucket.name, Key=f"medaction/store/db1/{name}", Body=text)
    before = team.read("db1", f"sha256sum /opt/medaction/backups/{good}")
    team.read("db1", f"rm /opt/medaction/backups/{good}*")
    bare = copied(tmp_path / "clone", "provision", "templates", "files", "tests/verify", "inventories")
    safe = ("--copy", bucket.place, "--rclone", str(config), "--identity", str(stick))
    bare.python("-m", "provision", "secrets", "--env", "sandbox", *safe)
    done = bare.python("-m", "provision", "recover", "--env", "sandbox", "--host", "db1", *safe)
    assert f"{good}, proven, from {bucket.place}" in done.stdout, done.stdout
    assert "its signature is not the vault's" in done.stdout, done.stdout
    assert team.read("db1", f"sha256sum /opt/medaction/backups/{good}") == before
    # The vault goes on as before: what it has brought there is still there.
    team.read("vault1", "touch --date=-2days /var/lib/medaction/push/*.looked")
    assert push(team).returncode == 0
