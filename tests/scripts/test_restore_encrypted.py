"""Dumps that lie encrypted: restored by whoever holds a key, and by nobody else."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from provision.settings.render import FILES

from .cluster import fingerprint
from .host import Host, until
from .sealing import encrypt_to, key_pair, made, readable_to_the_user, sum_of
from .unprivileged import AS_ROOT, PREFIX, USER, give_to_user


@pytest.mark.parametrize(
    "arguments", [("--table", "patients"), ("--no-owner",), ("--data-only", "--table", "patients")]
)
def test_part_of_it_is_restored_by_the_same_words(sealed: Host, identity: Path, arguments: tuple[str, ...]) -> None:
    made(sealed)
    target = sealed.cluster.new_database()
    key = ("--identity", str(readable_to_the_user(identity, sealed)))
    if arguments == ("--no-owner",):
        target = sealed.cluster.new_database(template="template0")
    else:
        sealed.cluster.ask(
            target, "DROP TABLE patients CASCADE" if len(arguments) == 2 else "TRUNCATE patients CASCADE"
        )
    done = sealed.restore("--into", target, "--overwrite", target, *arguments, *key)
    assert done.returncode == 0, done.stderr
    count = "SELECT count(*), md5(string_agg(p::text, '' ORDER BY p::text)) FROM patients p"
    assert sealed.cluster.ask(target, count) == sealed.cluster.ask(sealed.database, count)


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_roots_own_key_file_is_read_though_the_restore_runs_as_the_backup_user(sealed: Host, identity: Path) -> None:
    made(sealed)
    assert identity.stat().st_uid == 0
    told = sealed.directory / "state/told-to-age"
    sealed.shim("age", f'{{ printf "%s\\n" "$@"; env; }} >>{told}; exec "${{real[@]}}" "$@"')
    argvs: set[str] = set()
    target = sealed.cluster.new_database(template="template0")
    run = sealed.popen("restore-database.sh", "--into", target, "--identity", str(identity), as_root=True)
    secret = re.search("AGE-SECRET-KEY-1[0-9A-Z]+", identity.read_text())[0]

    def look() -> bool:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                argvs.add(path.read_bytes().decode(errors="replace"))
            except OSError:
                continue
        return run.poll() is not None

    until(look, "it is restored", seconds=120)
    said = run.communicate()[1]
    assert run.returncode == 0, said
    assert fingerprint(sealed.cluster, target) == fingerprint(sealed.cluster, sealed.database)
    assert "--decrypt" in told.read_text()
    for each in (told.read_text(), *argvs, said, sealed.log.read_text()):
        assert secret not in each


def test_other_key_or_none_or_what_is_none_is_one_sentence(sealed: Host, identity: Path, tmp_path: Path) -> None:
    dump = made(sealed)
    readable = readable_to_the_user(identity, sealed)
    key_pair(tmp_path / "other")
    other = readable_to_the_user(tmp_path / "other", sealed)
    for arguments, said in {
        (): f"{dump} is encrypted: name the file of a key that opens it, with --identity",
        ("--identity", str(other)): f"{dump.name} cannot be opened: ",
        ("--identity", "/nowhere"): "--identity /nowhere: there is no such file that",
        ("--identity", str(sealed.directory / "settings.sh")): "there is no such file that",
        ("--identity", str(sealed.log)): "the file holds no secret key of age",
    }.items():
        done = sealed.restore("--into", "sealed_not", *arguments)
        assert done.returncode != 0
        assert said in done.stderr, (arguments, done.stderr)
        assert "unbound" not in done.stderr and "stopped at line" not in done.stderr
    assert not list(sealed.backups.glob(".open.*"))
    assert sealed.cluster.ask("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'sealed_not'") == "0"
    assert readable.exists()


@pytest.mark.parametrize("which", ["", ".globals.gz.age", ".properties.json.age"])
def test_changed_file_is_told_without_a_key_and_restored_by_nobody_who_needs_it(
    sealed: Host, identity: Path, which: str
) -> None:
    dump = made(sealed)
    readable = readable_to_the_user(identity, sealed)
    assert sealed.backup("--verify").returncode == 0
    path = dump.with_name(f"{dump.name}{which}")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    said = f"{path.name} is not what was written, by the sum in"
    done = sealed.backup("--verify")
    assert done.returncode == 1 and said in done.stderr
    target = sealed.cluster.new_database(template="template0")
    done = sealed.restore("--into", target, "--identity", str(readable))
    assert said in done.stderr
    if which:  # the rows are whole, and this may be all that is left
        assert done.returncode == 0, done.stderr
        assert fingerprint(sealed.cluster, target) == fingerprint(sealed.cluster, sealed.database)
    else:
        assert done.returncode == 1
    url = f"postgresql://postgres@127.0.0.1:{sealed.cluster.port}/postgres"
    done = sealed.restore(
        "--into", "sealed_roles", "--identity", str(readable), "--as-administrator", url, "--with-roles"
    )  # fmt: skip
    if which == ".globals.gz.age":
        assert done.returncode == 1 and f"{said} its manifest: take another one" in done.stderr
    else:
        sealed.cluster.ask("postgres", "DROP DATABASE IF EXISTS sealed_roles")


def test_dump_under_another_name_is_told_what_it_was_called(sealed: Host, identity: Path) -> None:
    dump = made(sealed)
    for path in list(sealed.backups.glob(f"{dump.name}*")):
        path.rename(path.with_name(path.name.replace(dump.name, "medaction_2026-01-01_02-00-00.sql.gz.age")))
    done = sealed.backup("--verify", str(dump.with_name("medaction_2026-01-01_02-00-00.sql.gz.age")))
    assert done.returncode == 1
    assert f"has another name than its manifest says: call it {dump.name} again" in done.stderr


def test_key_may_come_by_a_pipe_and_need_not_lie_there(sealed: Host, identity: Path) -> None:
    made(sealed)
    target = sealed.cluster.new_database(template="template0")
    key = identity.read_text()
    line = f'./scripts/restore-database.sh --into {target} --identity <(printf "%s" "$KEY")'
    done = subprocess.run(
        [*PREFIX, "bash", "-c", line], cwd=sealed.app_dir, capture_output=True, text=True,
        env={**sealed.environment, "KEY": key},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert fingerprint(sealed.cluster, target) == fingerprint(sealed.cluster, sealed.database)


def test_planted_dump_that_the_manifest_agrees_with_is_none_of_what_was_dumped(sealed: Host, identity: Path) -> None:
    """Whoever may write there has the public key, and can make a file that opens: not one with that sum in plain."""
    dump = made(sealed)
    recipient = Path(sealed.settings.backup_recipients_file).read_text().strip()
    planted = subprocess.run(
        ["age", "-r", recipient], input=gzip.compress(b"\\! touch /tmp/planted\n"), capture_output=True, check=True
    ).stdout
    dump.write_bytes(planted)
    manifest = dump.with_name(f"{dump.name}.json")
    told = json.loads(manifest.read_text())
    next(each for each in told["encrypted"] if each["name"] == dump.name)["sha256"] = sum_of(planted)
    manifest.write_text(json.dumps(told))
    done = sealed.restore("--into", "sealed_not", "--identity", str(readable_to_the_user(identity, sealed)))
    assert done.returncode == 1
    assert f"{dump.name} does not hold what was dumped, by the sum in its manifest" in done.stderr


def test_restore_test_without_a_key_says_who_makes_it(sealed: Host) -> None:
    dump = made(sealed)
    for arguments in ((), ("--from", str(dump))):
        done = sealed.restore("--test", *arguments)
        assert done.returncode == 2
        assert "no key on this host opens one: a vault restores each" in done.stderr
    sealed.configure()  # turned off again, and no dump in plain yet
    assert "a vault restores each" in sealed.restore("--test", "--from", str(dump)).stderr


@pytest.mark.parametrize(("to", "databases"), [("", 1), ("127.0.0.1", 1), ("127.0.0.1", 2)])
def test_newest_dump_that_is_still_encrypted_after_all_is_turned_off_is_not_taken_for_a_bad_one(
    sealed: Host, to: str, databases: int
) -> None:
    if databases == 2:
        names = [sealed.database, sealed.cluster.new_database()]
        encrypt_to(
            sealed, Path(sealed.settings.backup_recipients_file).read_text().strip(), backup_databases=names
        )  # fmt: skip
    dump = made(sealed)
    sealed.configure(backup_restore_test_host=to, backup_restore_test_on_production=True)
    done = sealed.restore("--test") if to else sealed.restore_test()
    assert done.returncode == 2
    assert "encrypted: make " in done.stderr and "one first (backup-database.sh)" in done.stderr
    verdict = dump.with_name(f"{dump.name}.restore-test.json")
    assert not verdict.exists() or json.loads(verdict.read_text())["verdict"] == "not made"


def test_name_of_what_is_opened_is_the_plain_ones_whatever_the_database_is_called() -> None:
    dump = "medaction-x.age.globals.gz.age_2026-01-01_02-00-00.sql.gz"
    names = {
        f"{dump}.age": dump,
        f"{dump}.age.globals.gz.age": f"{dump}.globals.gz",
        f"{dump}.age.properties.json.age": f"{dump}.properties.json",
    }
    done = subprocess.run(
        ["bash", "-c", f'. {FILES}/backup/lib/encrypted.sh; for n; do opened_name "$n"; echo; done', "-", *names],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == list(names.values())


@pytest.mark.skipif(not AS_ROOT, reason="only root can mount a disk of three megabytes")
def test_disk_that_is_full_while_a_dump_is_opened_is_told_as_that(sealed: Host, identity: Path) -> None:
    dump = made(sealed)
    elsewhere = sealed.directory / "elsewhere"
    elsewhere.mkdir()
    for path in sealed.backups.glob(f"{dump.name}*"):
        path.rename(elsewhere / path.name)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=1m,mode=0700,uid={USER.pw_uid}", "tmpfs", sealed.backups],
                   check=True)  # fmt: skip
    sealed.shim("df", "echo Avail; echo 1000000000000")
    try:
        done = sealed.restore("--into", "not_made", "--from", str(elsewhere / dump.name), "--identity",
                              str(readable_to_the_user(identity, sealed)))  # fmt: skip
    finally:
        subprocess.run(["umount", sealed.backups], check=True)
    assert done.returncode == 1
    assert "make room on the disk of" in done.stderr and "name a key" not in done.stderr, done.stderr


def test_what_was_opened_while_the_clock_was_ahead_is_swept(sealed: Host) -> None:
    left = sealed.backups / ".open.aaaaaa"
    left.mkdir(mode=0o700)
    (left / "medaction.sql.gz").write_text("rows")
    give_to_user(left), give_to_user(left / "medaction.sql.gz")
    os.utime(left, (time.time() + 400 * 86400,) * 2)
    made(sealed)
    assert not left.exists()


def test_encrypted_dump_is_restored_and_made_where_no_directory_can_be_locked(host: Host, identity: Path) -> None:
    """flock(2): over NFS what is locked must be open for writing, and a directory never is."""
    dump = host.good_backup()
    encrypt_to(host, key_pair(identity))
    host.shim(
        "flock",
        """for file in "$@" "/proc/$$/fd/${!#}"; do
        [[ ! -d $file ]] || { echo "flock: $file: Bad file descriptor" >&2; exit 65; }
    done
    exec "${real[@]}" "$@" """,
    )
    said = host.backup("--encrypt-stored").stderr
    assert "Bad file" not in said and "is encrypted" in said, said
    target = host.cluster.new_database(template="template0")
    done = host.restore("--into", target, "--identity", str(readable_to_the_user(identity, host)))
    assert done.returncode == 0, done.stderr
    assert not dump.exists()
