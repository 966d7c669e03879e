"""Dumps that lie encrypted on the backup host: made to public keys alone, from their first byte."""

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
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from provision.settings.render import FILES

from .cluster import ROLE, fingerprint
from .host import Host, ended, until
from .sealing import MARKER, encrypt_to, key_pair, made, newest, opened, readable_to_the_user, sum_of
from .test_docker import in_docker
from .test_retention import stamp
from .unprivileged import AS_ROOT, USER, give_to_user

FORMATS = {"plain": ".sql.gz", "plain-zstd": ".sql.zst", "custom": ".dump"}


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
    holder = os.open(at_work / ".lock", os.O_WRONLY | os.O_CREAT)
    try:
        subprocess.run(["flock", "--nonblock", str(holder)], pass_fds=(holder,), check=True)
        made(sealed, before=("faketime", "-f", "+60s"))
    finally:
        os.close(holder)
    assert not left.exists() and at_work.exists() and begun.exists()
    assert not lone.exists() and theirs.exists()


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


@pytest.mark.parametrize(
    "reading", [{"PERL_UNICODE": "SD"}, {"PERL5OPT": "-CSD"}, {"PERL5OPT": "-MGone", "PERLIO": ":crlf"}]
)
def test_shell_of_a_person_who_reads_perl_otherwise_breaks_nothing(sealed: Host, reading: dict[str, str]) -> None:
    done = sealed.backup(**reading)
    assert done.returncode == 0, done.stderr
    verified = sealed.backup("--verify", **reading)
    assert verified.returncode == 0, verified.stderr


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


def bare(host: Host) -> str:
    """A database of one table without an index: its rows are the last that a dump holds."""
    name = host.cluster.new_database(template="template0")
    host.cluster.ask(name, f"CREATE TABLE marked (t text); INSERT INTO marked VALUES ('{MARKER}');"
                     "ALTER TABLE marked OWNER TO medaction")  # fmt: skip
    return name


def test_no_row_lies_in_plain_while_an_encrypted_dump_is_made_or_restored(sealed: Host, identity: Path) -> None:
    name = bare(sealed)
    encrypt_to(sealed, Path(sealed.settings.backup_recipients_file).read_text().strip(), postgres_database=name)
    found = sealed.directory / "state/found"
    look_there = f'grep -rlas "{MARKER}" {sealed.backups} >>{found}; exec "${{real[@]}}" "$@"'
    sealed.shim("sync", look_there)
    made(sealed)
    assert found.exists() and found.read_text() == ""
    temporary = sealed.directory / "state/tmp"
    temporary.mkdir()
    give_to_user(temporary)
    sealed.unshim()
    sealed.shim("psql", f'grep -rlas "{MARKER}" {temporary} >>{found}; exec "${{real[@]}}" "$@"')
    target = sealed.cluster.new_database(template="template0")
    done = sealed.restore("--into", target, "--identity", str(readable_to_the_user(identity, sealed)),
                          TMPDIR=str(temporary))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sealed.cluster.ask(target, "SELECT t FROM marked") == MARKER
    assert found.read_text() == ""


def test_accepted_dump_is_the_newest_also_where_the_one_before_has_another_ending(host: Host, identity: Path) -> None:
    host.cluster.ask(host.database, "CREATE TABLE many AS SELECT generate_series(1, 1000) n", user=ROLE)
    plain = host.good_backup()
    encrypt_to(host, key_pair(identity))
    host.cluster.ask(host.database, "TRUNCATE many")
    done = host.backup(before=("faketime", "-f", "+60s"))
    assert "suspect" in done.stderr
    sealed = next(path for path in host.backups.glob("medaction_2*.sql.gz.age"))
    later = ("faketime", "-f", "+120s")
    assert host.backup("--accept", sealed.name, before=later).returncode == 0
    done = host.restore("--into", "not_made", "--identity", str(readable_to_the_user(identity, host)), before=later)
    assert f"{sealed}: the newest good one" in done.stderr or f"{sealed}: there is none of" in done.stderr, done.stderr
    host.cluster.ask("postgres", "DROP DATABASE IF EXISTS not_made")
    assert plain.exists()
