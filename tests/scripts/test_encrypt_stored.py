"""Dumps that lay in plain before: encrypted when a person says so, and never gone meanwhile."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from .cluster import fingerprint
from .host import Host, ended, until
from .sealing import encrypt_to, key_pair, made, opened, readable_to_the_user
from .unprivileged import AS_ROOT, USER, give_to_user


def test_what_lies_in_plain_is_encrypted_when_a_person_says_so(host: Host, identity: Path) -> None:
    """Two tiers by one file each, one of them accepted; what nobody can vouch for stays, and is told."""
    first = host.good_backup(before=("faketime", "-f", "@2026-01-01 02:00:00"))
    weekly = host.good_backup("--tier", "weekly", before=("faketime", "-f", "@2026-01-04 01:00:00"))
    damaged = host.good_backup(before=("faketime", "-f", "@2026-01-05 02:00:00"))
    monthly = host.backups / "monthly" / first.name
    assert monthly.stat().st_ino == first.stat().st_ino
    content = {path: path.read_bytes() for path in (first, weekly)}
    damaged.write_bytes(damaged.read_bytes() + b"x")
    theirs = host.backups / "medaction_2026-01-02_02-00-00.sql.gz"
    theirs.write_text("somebody's")
    give_to_user(theirs)
    notes = host.backups / "medaction-notes.sql.gz"
    notes.write_text("notes")
    give_to_user(notes)
    assert host.backup("--encrypt-stored").returncode == 2  # not set
    key = key_pair(identity)
    encrypt_to(host, key)
    done = host.backup("--encrypt-stored")
    assert done.returncode == 3
    assert f"{damaged} is not what was written, by the sum in its manifest: it stays as it is" in done.stderr
    assert "1 dump(s) stay in plain" in done.stderr
    for path, rows in content.items():
        sealed = path.with_name(f"{path.name}.age")
        assert not [left for left in path.parent.glob(f"{path.name}*") if not left.name.startswith(sealed.name)]
        assert opened(sealed, identity) == rows
        assert b"CREATE ROLE" in gzip.decompress(opened(sealed.with_name(f"{sealed.name}.globals.gz.age"), identity))
        told = host.manifest(sealed)
        assert (told["dump"], told["recipients"]) == (sealed.name, [key])
        assert "is whole" in host.backup("--verify", str(sealed)).stderr
    assert (monthly.with_name(f"{first.name}.age")).stat().st_ino == first.with_name(f"{first.name}.age").stat().st_ino
    assert not monthly.exists()
    assert damaged.exists() and theirs.exists() and notes.read_text() == "notes"
    assert host.latest.resolve() == damaged
    damaged.unlink()
    Path(f"{damaged}.json").unlink()
    assert host.backup("--encrypt-stored").returncode == 0  # nothing is left to do
    target = host.cluster.new_database(template="template0")
    readable = readable_to_the_user(identity, host)
    done = host.restore("--into", target, "--from", f"{weekly.name}.age", "--identity", str(readable))
    assert done.returncode == 0, done.stderr
    assert fingerprint(host.cluster, target) == fingerprint(host.cluster, host.database)
    assert not host.leftovers()


def test_what_is_in_plain_stays_where_the_disk_cannot_be_trusted(host: Host, identity: Path) -> None:
    dump = host.good_backup()
    rows = dump.read_bytes()
    encrypt_to(host, key_pair(identity))
    for fails in ("-f", "-d"):  # to flush a file, or its directory
        host.shim("sync", f'[[ {fails} $1 ]] || exec "${{real[@]}}" "$@"; echo \'Input/output error\' >&2; exit 1')
        assert host.backup("--encrypt-stored").returncode == 3
        assert dump.read_bytes() == rows
    host.unshim()
    assert host.backup("--encrypt-stored").returncode == 0
    sealed = dump.with_name(f"{dump.name}.age")
    # What was brought back beside one that has rotted is the good one.
    dump.write_bytes(rows)
    give_to_user(dump)
    told = json.loads(Path(f"{sealed}.json").read_text())
    manifest = Path(f"{dump}.json")
    manifest.write_text(json.dumps({key: told[key] for key in told if key not in ("encrypted", "recipients")}))
    give_to_user(manifest)
    content = bytearray(sealed.read_bytes())
    content[-1] ^= 1
    sealed.write_bytes(content)
    done = host.backup("--encrypt-stored")
    assert done.returncode == 3
    assert f"{dump} stays in plain: {sealed.name} beside it is not what was written" in done.stderr
    assert dump.read_bytes() == rows


def test_dump_that_somebody_else_owns_stays_and_is_told(host: Host, identity: Path) -> None:
    if not AS_ROOT:
        pytest.skip("only root can give a file to somebody else")
    dump = host.good_backup()
    encrypt_to(host, key_pair(identity))
    os.chown(dump, 0, 0)
    dump.chmod(0o644)
    done = host.backup("--encrypt-stored")
    assert done.returncode == 3 and f"{dump} is somebody else's: chown" in done.stderr
    assert dump.exists()


def test_backup_is_made_while_stored_ones_are_being_encrypted(host: Host, identity: Path) -> None:
    host.good_backup(before=("faketime", "-f", "@2026-02-02 02:00:00"))
    encrypt_to(host, key_pair(identity))
    going = host.directory / "state/going"
    host.shim("age", f'if [[ ! -e {going} ]]; then echo >{going}; exec sleep 600; fi; exec "${{real[@]}}" "$@"')
    run = host.popen("backup-database.sh", "--encrypt-stored")
    until(going.exists, "it is at work")
    made(host)
    run.terminate()
    said = ended(run)
    assert said.returncode == 143, said.stderr
    until(lambda: not host.leftovers(), "nothing is left over")
    assert not list(host.backups.glob(".open.*"))


@pytest.mark.fault
@pytest.mark.parametrize("step", ["age", "sync", "mv", "rm", "ln"])
def test_dump_is_never_gone_wherever_its_encryption_is_killed(host: Host, identity: Path, step: str) -> None:
    """As each call of a program is about to be made, until none is left to kill before; the last ones remove it."""
    key = key_pair(identity)
    host.configure(backup_monthly_retention_days=0)
    dump = host.good_backup()
    before = {path: path.read_bytes() for path in host.backups.glob(f"{dump.name}*")}
    encrypt_to(host, key, backup_monthly_retention_days=0)
    sealed, calls = dump.with_name(f"{dump.name}.age"), host.directory / "state/calls"
    for number in range(1, 40):
        for path in host.backups.glob("medaction_*"):
            path.unlink()
        for path, content in before.items():
            path.write_bytes(content)
            give_to_user(path)
        host.latest.symlink_to(dump.name)
        os.chown(host.latest, *((USER.pw_uid, USER.pw_gid) if AS_ROOT else (-1, -1)), follow_symlinks=False)
        calls.write_text("")
        give_to_user(calls)
        host.shim(step, f'echo >>{calls}; [ $(wc -l <{calls}) != {number} ] || kill -9 $PPID; exec "${{real[@]}}" "$@"')
        killed = host.backup("--encrypt-stored").returncode == -signal.SIGKILL
        assert dump.exists() or opened(sealed, identity) == before[dump]
        assert not dump.exists() or Path(f"{dump}.json").exists()
        host.unshim()
        until(lambda: not host.processes(), "all have ended")
        assert host.backup("--encrypt-stored").returncode == 0
        assert opened(sealed, identity) == before[dump] and not dump.exists()
        left = {path.name.removeprefix(dump.name) for path in host.backups.glob(f"{dump.name}*")}
        assert left == {".age", ".age.json", ".age.globals.gz.age", ".age.properties.json.age"}
        assert (host.backups / "medaction_latest.sql.gz.age").resolve() == sealed and not host.latest.is_symlink()
        if not killed:
            break
    least = {"age": 4, "sync": 6, "mv": 7, "rm": 5, "ln": 2}
    assert number >= least[step], f"only {number - 1} kills: that is not all of it"
    assert not host.leftovers()


@pytest.mark.parametrize("beside", [".accepted.json", ".globals.gz", ".properties.json"])
def test_what_lies_beside_a_dump_in_plain_goes_only_where_the_encrypted_one_has_it(
    host: Host, identity: Path, beside: str
) -> None:
    """The encrypted one was made without it; what was brought back in plain has it."""
    dump = host.good_backup()
    before = {path: path.read_bytes() for path in host.backups.glob(f"{dump.name}*")}
    accepted = dump.with_name(f"{dump.name}.accepted.json")
    before[accepted] = b'{"by": "a person"}\n'
    lacking = dump.with_name(f"{dump.name}{beside}")
    lacking.unlink(missing_ok=True)
    encrypt_to(host, key_pair(identity))
    assert host.backup("--encrypt-stored").returncode == 0
    for path, content in before.items():
        path.write_bytes(content)
        give_to_user(path)
    done = host.backup("--encrypt-stored")
    if beside == ".accepted.json":
        assert done.returncode == 0, done.stderr
        assert dump.with_name(f"{dump.name}.age{beside}").read_bytes() == before[lacking]
    else:
        assert done.returncode == 3 and f"{dump} stays in plain" in done.stderr and lacking.name in done.stderr
        assert {path: path.read_bytes() for path in before} == before


@pytest.mark.skipif(not AS_ROOT, reason="only root can leave a file of root's there")
def test_lock_that_root_has_left_there_keeps_nothing_from_being_encrypted(host: Host, identity: Path) -> None:
    host.good_backup()
    encrypt_to(host, key_pair(identity))
    lock = host.backups / ".lock"
    os.chown(lock, 0, 0)
    lock.chmod(0o600)
    done = host.backup("--encrypt-stored")
    assert done.returncode == 0, done.stderr


def test_encrypted_dump_without_its_manifest_is_told_as_that(host: Host, identity: Path) -> None:
    dump = host.good_backup()
    before = {path: path.read_bytes() for path in host.backups.glob(f"{dump.name}*")}
    encrypt_to(host, key_pair(identity))
    assert host.backup("--encrypt-stored").returncode == 0
    for path, content in before.items():
        path.write_bytes(content)
        give_to_user(path)
    dump.with_name(f"{dump.name}.age.json").unlink()
    done = host.backup("--encrypt-stored")
    assert done.returncode == 3 and dump.exists()
    assert "is another dump" not in done.stderr, done.stderr


def test_what_waits_for_a_backup_ends_at_once_when_it_is_stopped(host: Host, identity: Path) -> None:
    host.good_backup()
    encrypt_to(host, key_pair(identity))
    holder = os.open(host.backups / ".lock", os.O_RDWR)
    try:
        subprocess.run(["flock", str(holder)], pass_fds=(holder,), check=True)
        waits = host.popen("backup-database.sh", "--encrypt-stored")
        until(lambda: [line for line in host.processes() if "flock 9" in line], "it waits")
        waits.terminate()
        assert waits.wait(timeout=20) == 143
        until(lambda: not host.processes(), "nothing is left over")
    finally:
        os.close(holder)
