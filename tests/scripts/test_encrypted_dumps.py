"""Dumps that lie encrypted on the backup host: made to public keys alone, opened by whoever holds a key."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import re
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from provision.settings.render import FILES

from .cluster import ROLE, Cluster, fingerprint
from .conftest import new_host
from .host import Host, ended, until
from .test_docker import in_docker
from .test_retention import stamp
from .unprivileged import AS_ROOT, PREFIX, USER, give_to_user

FORMATS = {"plain": ".sql.gz", "plain-zstd": ".sql.zst", "custom": ".dump"}
MARKER = "Marqueur-Q7 Dupont"


def key_pair(path: Path) -> str:
    """An age identity in this file, 0600 and root's where the test runs as root; returns its public key."""
    path.unlink(missing_ok=True)
    subprocess.run(["age-keygen", "-o", path], check=True, capture_output=True)
    return subprocess.run(["age-keygen", "-y", path], check=True, capture_output=True, text=True).stdout.strip()


def encrypt_to(host: Host, *keys: str, **settings: object) -> None:
    host.configure(backup_encrypt_local=True, **settings)
    host.place("".join(f"{key}\n" for key in keys), Path(host.settings.backup_recipients_file), 0o644)


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    return tmp_path / "identity"


@pytest.fixture
def sealed(cluster: Cluster, identity: Path) -> Iterator[Host]:
    """A host whose dumps are encrypted to `identity`, with a marker among its rows."""
    with new_host(cluster) as host:
        encrypt_to(host, key_pair(identity))
        table = f"CREATE TABLE marked (t text); INSERT INTO marked VALUES ('{MARKER}')"
        cluster.ask(host.database, table, user=ROLE)
        cluster.ask(host.database, f"ALTER DATABASE \"{host.database}\" SET app.key = 'a-key-of-the-app'")
        yield host


def newest(host: Host) -> Path:
    return (host.backups / f"medaction_latest{host.settings.backup_suffix}").resolve()


def made(host: Host, *arguments: str, **options) -> Path:
    done = host.backup(*arguments, **options)
    assert done.returncode == 0, done.stderr
    return newest(host)


def opened(path: Path, identity: Path) -> bytes:
    return subprocess.run(["age", "--decrypt", "-i", identity, path], check=True, capture_output=True).stdout


def sum_of(content: bytes) -> str:
    return subprocess.run(["sha256sum"], input=content, capture_output=True, check=True).stdout.split()[0].decode()


def readable_to_the_user(identity: Path, host: Host) -> Path:
    path = host.directory / f"{identity.name}-of-the-user"
    path.write_bytes(identity.read_bytes())
    path.chmod(0o600)
    give_to_user(path)
    return path


@pytest.mark.parametrize("form", FORMATS)
def test_dump_is_encrypted_from_its_first_byte_and_restores_with_the_key(
    sealed: Host, identity: Path, form: str
) -> None:
    encrypt_to(sealed, Path(sealed.settings.backup_recipients_file).read_text().strip(), backup_format=form)
    dump = made(sealed)
    assert dump.name.endswith(f"{FORMATS[form]}.age")
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    beside = {path.name.removeprefix(dump.name) for path in sealed.backups.glob(f"{dump.name}?*")}
    assert beside == {".json", ".globals.gz.age", ".properties.json.age"}
    assert not sealed.leftovers()
    target = sealed.cluster.new_database(template="template0")
    done = sealed.restore("--into", target, "--identity", str(readable_to_the_user(identity, sealed)))
    assert done.returncode == 0, done.stderr
    assert fingerprint(sealed.cluster, target) == fingerprint(sealed.cluster, sealed.database)
    assert not list(sealed.backups.glob(".open.*"))
    assert sealed.history()[-1]["file"] == str(dump)


@pytest.mark.parametrize(("mode", "form"), [("compose", "plain"), ("container", "custom"), ("container", "plain-zstd")])
def test_dump_from_a_container_is_encrypted_and_restored_into_one(
    host: Host, identity: Path, mode: str, form: str
) -> None:
    in_docker(host, mode, backup_format=form, backup_encrypt_local=True)
    host.place(f"{key_pair(identity)}\n", Path(host.settings.backup_recipients_file), 0o644)
    made(host)
    target = host.cluster.new_database(template="template0")
    done = host.restore("--into", target, "--identity", str(readable_to_the_user(identity, host)))
    assert done.returncode == 0, done.stderr
    assert fingerprint(host.cluster, target) == fingerprint(host.cluster, host.database)


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


def test_nothing_but_the_manifest_lies_in_plain_while_a_dump_is_made_or_after(sealed: Host, identity: Path) -> None:
    """Whatever is written is looked at as it is written: every file below the backups' directory, until the end."""
    sealed.shim("pg_dump", '"${real[@]}" "$@"; status=$?; sleep 1; exit $status')
    run = sealed.popen("backup-database.sh")
    seen: dict[str, bytes] = {}

    def look() -> bool:
        for directory, _, names in os.walk(sealed.backups):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    path = Path(directory, name)
                    if path.is_file():
                        seen[name] = seen.get(name, b"") + path.read_bytes()
        return run.poll() is not None

    until(look, "the dump is made", seconds=60)
    look()
    assert run.returncode == 0
    words = (MARKER.encode(), b"a-key-of-the-app", b"SCRAM-SHA-256", b"CREATE ROLE")
    assert any(name.endswith(".sql.gz.age.part") for name in seen)
    for name, content in seen.items():
        for each in (content, *([gzip.decompress(content)] if content[:2] == b"\x1f\x8b" else [])):
            assert not [word for word in words if word in each], name
    assert MARKER.encode() in gzip.decompress(opened(newest(sealed), identity))  # the same search finds it there


def test_manifest_has_both_sums_of_every_file_and_who_can_open_them(sealed: Host, identity: Path) -> None:
    dump = made(sealed)
    told = json.loads(dump.with_name(f"{dump.name}.json").read_text())
    assert told["recipients"] == [Path(sealed.settings.backup_recipients_file).read_text().strip()]
    assert {each["name"] for each in told["encrypted"]} == {
        dump.name, f"{dump.name}.globals.gz.age", f"{dump.name}.properties.json.age"
    }  # fmt: skip

    for each in told["encrypted"]:
        path = dump.with_name(each["name"])
        assert each["sha256"] == sum_of(path.read_bytes()), path
        assert each["plain_sha256"] == sum_of(opened(path, identity)), path
    assert b"CREATE ROLE" in gzip.decompress(opened(dump.with_name(f"{dump.name}.globals.gz.age"), identity))
    assert b"a-key-of-the-app" in opened(dump.with_name(f"{dump.name}.properties.json.age"), identity)
    assert "a-key-of-the-app" not in dump.with_name(f"{dump.name}.json").read_text()


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


def test_keys_that_change_while_a_dump_is_made_are_the_next_ones(sealed: Host, identity: Path, tmp_path: Path) -> None:
    new = key_pair(tmp_path / "new")
    file = sealed.settings.backup_recipients_file
    sealed.shim("pg_dump", f'[[ $* != *--snapshot* ]] || echo {new} >{file}; exec "${{real[@]}}" "$@"')
    dump = made(sealed)
    told = json.loads(dump.with_name(f"{dump.name}.json").read_text())
    assert new not in told["recipients"] and Path(file).read_text().strip() == new
    for each in told["encrypted"]:
        assert sum_of(opened(dump.with_name(each["name"]), identity)) == each["plain_sha256"]


def test_suspect_weekly_run_for_a_new_key_is_not_made_again_at_each_deploy(
    sealed: Host, identity: Path, tmp_path: Path
) -> None:
    sealed.cluster.ask(sealed.database, "CREATE TABLE many AS SELECT generate_series(1, 1000) n", user=ROLE)
    made(sealed, "--tier", "weekly")
    old = Path(sealed.settings.backup_recipients_file).read_text().strip()
    new = key_pair(tmp_path / "new")
    encrypt_to(sealed, old, new)
    sealed.cluster.ask(sealed.database, "TRUNCATE many")
    assert "weekly\tmedaction" in sealed.backup("--overdue", "encrypted", old, new).stdout
    done = sealed.backup("--tier", "weekly", before=("faketime", "-f", "+60s"))
    assert "suspect" in done.stderr
    due = sealed.backup("--overdue", "encrypted", old, new, before=("faketime", "-f", "+70s")).stdout
    assert "weekly\tmedaction" not in due, due


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


def test_new_key_makes_a_dump_due_that_it_opens(sealed: Host, identity: Path, tmp_path: Path) -> None:
    made(sealed)
    made(sealed, "--tier", "weekly")
    old = Path(sealed.settings.backup_recipients_file).read_text().strip()
    new = key_pair(tmp_path / "new")
    assert "other keys" not in sealed.backup("--overdue", old).stdout
    due = sealed.backup("--overdue", "encrypted", old, new).stdout.splitlines()
    assert [line.split("\t")[0] for line in due if "is encrypted to other keys than it should be" in line] == [
        "daily", "weekly"
    ]  # fmt: skip
    encrypt_to(sealed, old, new)
    assert sealed.backup("--check").returncode == 1
    dump = made(sealed)
    made(sealed, "--tier", "weekly")
    assert sealed.backup("--check").returncode == 0
    assert opened(dump, tmp_path / "new") == opened(dump, identity)
    assert "other keys" not in sealed.backup("--overdue", old, new).stdout


def test_dumps_that_lay_in_plain_before_stay_good_ones_and_are_told(host: Host, identity: Path) -> None:
    plain = host.good_backup()
    encrypt_to(host, key_pair(identity))
    assert f"daily\tmedaction: {plain.name} lies in plain" in host.backup("--overdue").stdout
    host.configure()
    assert "lies in plain" not in host.backup("--overdue", "age1a").stdout  # the keys of copies alone
    assert "lies in plain" in host.backup("--overdue", "encrypted", "age1a").stdout  # a deploy is about to set it
    encrypt_to(host, Path(host.settings.backup_recipients_file).read_text().strip())
    dump = made(host)
    assert not host.latest.exists()  # the link to the one in plain
    assert plain.exists()
    assert host.backup("--check").returncode == 0
    listed = host.restore("--list").stdout
    assert re.search(rf"daily .* encrypted +{dump}", listed), listed
    # And back.
    host.configure()
    assert host.good_backup().name.endswith(".sql.gz")
    assert not (host.backups / "medaction_latest.sql.gz.age").exists()


def test_tiers_keep_and_prune_them_as_any_other(sealed: Host) -> None:
    dump = made(sealed, before=("faketime", "-f", "@2026-01-01 02:00:00"))
    kept = sealed.backups / "monthly" / dump.name
    assert kept.stat().st_ino == dump.stat().st_ino
    assert kept.with_name(f"{dump.name}.globals.gz.age").exists()
    assert kept.with_name(f"{dump.name}.properties.json.age").exists()
    for day in (2, 3, 4, 5):
        made(sealed, before=("faketime", "-f", f"@2026-01-0{day} 02:00:00"), BACKUP_RETENTION_DAYS="1")
    left = {path.name for path in sealed.backups.glob("medaction_2026*")}
    assert not [name for name in left if name.startswith(dump.name)], left
    assert len([name for name in left if name.endswith(".sql.gz.age")]) == 3


def test_loss_of_rows_is_told_though_the_dump_before_cannot_be_opened_here(sealed: Host) -> None:
    sealed.cluster.ask(sealed.database, "CREATE TABLE many AS SELECT generate_series(1, 1000) n", user=ROLE)
    made(sealed)
    sealed.cluster.ask(sealed.database, "TRUNCATE many")
    done = sealed.backup(before=("faketime", "-f", "+60s"))
    assert done.returncode == 0
    assert "suspect: " in done.stderr and "public.many" in done.stderr


def test_what_a_killed_run_or_restore_has_left_is_swept_and_what_is_at_work_stays(sealed: Host) -> None:
    dump = made(sealed)
    left, at_work, begun = (sealed.backups / f".open.{each * 6}" for each in "abc")
    for path in (left, at_work, begun):
        path.mkdir(mode=0o700)
        (path / "medaction.sql.gz").write_text("rows")
        give_to_user(path), give_to_user(path / "medaction.sql.gz")
    lone = dump.with_name("medaction_2026-01-01_02-00-00.sql.gz.age.globals.gz.age")
    lone.write_text("")
    give_to_user(lone)
    theirs = dump.with_name("medaction_notes.sql.gz.age.globals.gz.age")
    theirs.write_text("")
    give_to_user(theirs)
    for path in (left, at_work):
        os.utime(path, (time.time() - 90, time.time() - 90))
    os.utime(begun, (time.time() + 60, time.time() + 60))  # by the clock of the next run
    holder = os.open(at_work, os.O_RDONLY)
    try:
        subprocess.run(["flock", "--nonblock", str(holder)], pass_fds=(holder,), check=True)
        made(sealed, before=("faketime", "-f", "+60s"))
    finally:
        os.close(holder)
    assert not left.exists() and at_work.exists() and begun.exists()
    assert not lone.exists() and theirs.exists()


def test_restore_test_without_a_key_says_who_makes_it(sealed: Host) -> None:
    dump = made(sealed)
    for arguments in ((), ("--from", str(dump))):
        done = sealed.restore("--test", *arguments)
        assert done.returncode == 2
        assert "no key on this host opens one: a vault restores each" in done.stderr
    sealed.configure()  # turned off again, and no dump in plain yet
    assert "a vault restores each" in sealed.restore("--test", "--from", str(dump)).stderr


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no keys", "names no key to encrypt dumps to: deploy again"),
        ("age fails at once", "properties.json.age.part: age: error: something: "),
        ("age is killed at once", "properties.json.age.part: it gave no reason: see that the disks of"),
        ("age fails", "age ended with exit code 3: age: error: something"),
        ("age is killed", "age ended with exit code 137: killed by signal 9"),
    ],
)
def test_dump_that_cannot_be_encrypted_is_none(sealed: Host, what: str, said: str) -> None:
    good = made(sealed)
    if what == "no keys":
        Path(sealed.settings.backup_recipients_file).write_text("")
    else:
        # The dump and the roles yield to everybody else; the database's settings are a moment's work.
        first = f'[[ $(nice) {"!=" if what.endswith("at once") else "=="} 10 ]] || exec "${{real[@]}}" "$@";'
        fails = "echo 'age: error: something' >&2; exit 3" if "fails" in what else "kill -9 $$"
        sealed.shim("age", f"{first} {fails}")
    done = sealed.backup(before=("faketime", "-f", "+60s"))
    assert done.returncode != 0
    assert said in done.stderr
    assert newest(sealed) == good
    assert not sealed.leftovers()


def test_dump_cut_short_is_found_on_its_way(sealed: Host) -> None:
    """What is read of a dump in plain after it was written is read of this one as it passes."""
    for form, said in (("plain", "the dump is cut short"), ("custom", "look ended with exit code")):
        encrypt_to(
            sealed, Path(sealed.settings.backup_recipients_file).read_text().strip(), backup_format=form
        )  # fmt: skip
        sealed.shim("pg_dump", '"${real[@]}" "$@" | head -c 3000')
        done = sealed.backup()
        assert done.returncode == 1, done.stderr
        assert said in done.stderr
        sealed.unshim()
    assert not [path for path in sealed.backups.glob("medaction_2*")]


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
    host.shim("sync", "echo 'sync: Input/output error' >&2; exit 1")
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


def test_test_of_before_keeps_no_dump_in_plain_for_ever(host: Host, identity: Path) -> None:
    now = datetime.now()
    host.plant(*(stamp(day, now) for day in range(1, 33)))
    host.plant(stamp(33, now), verdict="ok")
    host.good_backup()
    assert list(host.backups.glob(f"medaction_{stamp(33, now)}*")) and not list(
        host.backups.glob(f"medaction_{stamp(32, now)}*")
    )
    encrypt_to(host, key_pair(identity))
    made(host)
    assert not list(host.backups.glob(f"medaction_{stamp(33, now)}*"))


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


SUM = "0" * 64
TOLD = {"name": "d.age", "sha256": SUM, "plain_sha256": SUM}
ODD = [
    {"encrypted": [TOLD | {"sha256": f"{SUM}\n../../etc/cron.d/x {SUM} {SUM}"}]},
    {"encrypted": [TOLD | {"plain_sha256": f"{SUM}\n"}]},
    {"encrypted": [TOLD, TOLD]},
    {"encrypted": [TOLD, TOLD | {"name": "d.age.globals.gz.age", "sha256": 7}]},
    {"encrypted": [TOLD | {"name": "../d.age"}]},
    {"encrypted": {"d.age": SUM}},
    {"encrypted": "d.age"},
    {"encrypted": [["d.age"]]},
    {"encrypted": None},
    [],
    7,
]


@pytest.mark.parametrize("manifest", [*ODD, None], ids=lambda manifest: json.dumps(manifest)[:60])
def test_manifest_of_whoever_writes_there_names_no_file_but_the_dumps_own(manifest: object, tmp_path: Path) -> None:
    """Root writes to what these names say, so nothing of a manifest becomes one."""
    (tmp_path / "m").write_text("x" if manifest is None else json.dumps(manifest))
    program = f'. {FILES}/backup/lib/encrypted.sh; encrypted_files_of "$@"'
    done = subprocess.run(
        ["bash", "-euc", program, "-", "/somewhere/d.age", tmp_path / "m"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "d.age (none) (none)\n"


def test_manifest_of_ours_names_its_files_the_dump_first(tmp_path: Path) -> None:
    beside = [TOLD | {"name": f"d.age{end}"} for end in (".globals.gz.age", ".properties.json.age")]
    (tmp_path / "m").write_text(json.dumps({"encrypted": [*beside, TOLD, TOLD | {"name": "other"}]}))
    program = f'. {FILES}/backup/lib/encrypted.sh; encrypted_files_of "$@"'
    done = subprocess.run(
        ["bash", "-euc", program, "-", "/somewhere/d.age", tmp_path / "m"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"{each['name']} {SUM} {SUM}" for each in (TOLD, *beside)]


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


@pytest.mark.fault
@pytest.mark.parametrize("times", [pytest.param(6, id="six"), pytest.param(100, id="many", marks=pytest.mark.prove)])
def test_run_that_is_killed_at_any_moment_leaves_no_half_dump(
    sealed: Host, identity: Path, times: int, chance: random.Random, proved: Callable[[str], None]
) -> None:
    started = time.monotonic()
    made(sealed)
    seconds = time.monotonic() - started
    at_work = 0
    for _ in range(times):
        run = sealed.popen("backup-database.sh")
        time.sleep(chance.uniform(0, 1.1 * seconds))  # chance's own moment is what this is about
        if run.poll() is None:
            at_work += 1
            (os.killpg if chance.random() < 0.5 else os.kill)(run.pid, signal.SIGKILL)
        ended(run)
        until(lambda: not sealed.processes(), "all have ended")
        for dump in sealed.backups.glob("medaction_[0-9]*.sql.gz.age"):
            told = json.loads(dump.with_name(f"{dump.name}.json").read_text())
            for each in told["encrypted"]:
                assert sum_of(opened(dump.with_name(each["name"]), identity)) == each["plain_sha256"]
        assert newest(sealed).exists()
    made(sealed)
    assert not sealed.leftovers()
    assert at_work > times / 2, "most runs were through before they were killed"
    proved(f"{times} kills over a run's {seconds:.1f} s, {at_work} of them before its end, each dump opens whole")


@pytest.mark.fault
@pytest.mark.skipif(not AS_ROOT, reason="only root can mount a disk of four megabytes")
@pytest.mark.parametrize("form", FORMATS)
def test_full_disk_is_told_and_leaves_the_dump_before(sealed: Host, form: str) -> None:
    encrypt_to(sealed, Path(sealed.settings.backup_recipients_file).read_text().strip(), backup_format=form)
    sealed.cluster.ask(
        sealed.database,
        "CREATE TABLE large AS SELECT gen_random_uuid() u, md5(i::text) m FROM generate_series(1, 120000) i", user=ROLE,
    )  # fmt: skip
    good = made(sealed)
    small = sealed.backups / "weekly"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=3m,mode=0700,uid={USER.pw_uid}", "tmpfs", small], check=True)
    sealed.shim("df", "echo Avail; echo 1000000000000")
    try:
        done = sealed.backup("--tier", "weekly")
        left = list(small.iterdir())
    finally:
        subprocess.run(["umount", small], check=True)
    assert done.returncode == 1
    assert re.search("write ended with exit code 1: .*No space left on device: make room", done.stderr), done.stderr
    assert not left and not sealed.leftovers() and newest(sealed) == good
