"""`move-dumps.sh` brings the dumps to where `backup_dir` is now: all of them, killed or not, and over no other."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .host import Host
from .unprivileged import PREFIX, USER, give_to_user

NIGHTS = ("2026-06-13_02-00-00", "2026-06-14_02-00-00")


class Moving:
    """A host whose `backup_dir` was `old` and is `new`."""

    def __init__(self, host: Host, new: Path) -> None:
        self.host, self.old, self.new = host, host.backups, new
        host.backups = new
        new.chmod(0o750)
        give_to_user(new)
        host.configure(backup_dir=str(new))

    def argv(self, old: Path | None = None) -> list[str]:
        return [*PREFIX, f"{self.host.settings.backup_program_dir}/move-dumps.sh", str(old or self.old)]

    def run(self, old: Path | None = None) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.argv(old), env=self.host.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            cwd="/", timeout=60, check=False,
        )  # fmt: skip


@pytest.fixture
def moved_to(host: Host) -> Iterator[Callable[[str], Moving]]:
    """`moved_to("here" or "elsewhere")`: what lies on the host by then is to go to the same disk, or to another."""
    other_disk = Path(tempfile.mkdtemp(prefix="medaction-test-", dir="/dev/shm"))
    assert other_disk.stat().st_dev != host.app_dir.stat().st_dev

    def to(where: str) -> Moving:
        new = other_disk if where == "elsewhere" else host.directory / "new"
        new.mkdir(exist_ok=True)
        return Moving(host, new)

    yield to
    shutil.rmtree(other_disk)


def lying(directory: Path) -> dict[str, tuple[str, int, int, int]]:
    """Each file of dumps below, with the SHA-256 of its contents, its mode, owner and time."""
    found = {}
    for path in directory.rglob("medaction_[0-9]*"):
        if path.is_file() and not path.is_symlink():
            stat = path.stat()
            sum_ = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(directory))] = (sum_, stat.st_mode & 0o7777, stat.st_uid, int(stat.st_mtime))
    return found


def plant(host: Host) -> dict[str, tuple[str, int, int, int]]:
    """Nights of all tiers: each with its own contents, one by two names, one a directory."""
    for tier in ("daily", "weekly"):
        host.plant(*NIGHTS, tier=tier, verdict="ok")
    for path in sorted(host.backups.rglob("medaction_*.sql.gz")):
        path.write_text(f"the dump {path}\n" * 2000)
        path.chmod(0o600)
    monthly = host.backups / "monthly"
    monthly.mkdir()
    for path in host.backups.glob(f"medaction_{NIGHTS[0]}.sql.gz*"):
        os.link(path, monthly / path.name)
    parts = host.backups / f"medaction-a%20b_{NIGHTS[1]}.dir"
    parts.mkdir()
    for name in ("toc.dat", "1.dat"):
        (parts / name).write_text(name)
        give_to_user(parts / name)
    for path in (monthly, parts):
        give_to_user(path)
    host.latest.symlink_to(f"medaction_{NIGHTS[1]}.sql.gz")
    return lying(host.backups)


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_all_tiers_move_with_what_lies_beside_and_nothing_is_left(
    host: Host, moved_to: Callable[[str], Moving], where: str
) -> None:
    before = plant(host)
    moving = moved_to(where)
    done = moving.run()
    assert done.returncode == 0, done.stderr
    assert lying(moving.new) == before and (moving.new / "medaction-a%20b_2026-06-14_02-00-00.dir/1.dat").is_file()
    assert list(moving.old.iterdir()) == []
    name = f"medaction_{NIGHTS[0]}.sql.gz"
    assert (moving.new / name).stat().st_ino == (moving.new / "monthly" / name).stat().st_ino, "two of one file"
    assert "moved 6 dump(s)" in done.stderr
    assert host.history()[-1]["what"] == "move"


def test_a_real_dump_is_the_newest_and_whole_in_its_new_place(host: Host, moved_to: Callable[[str], Moving]) -> None:
    dump = host.good_backup()
    moving = moved_to("elsewhere")
    assert moving.run().returncode == 0
    done = host.backup("--verify")
    assert done.returncode == 0 and f"{moving.new / dump.name} is whole" in done.stderr, done.stderr


KILL = """n=$(cat {count}); echo $(( n + 1 )) >{count}
if (( n == {at} )); then kill -KILL $PPID; exit 1; fi
exec "${{real[@]}}" "$@"
"""


def killed_at(moving: Moving, at: int) -> bool:
    """Kill the program as it calls a tool for the `at`th time; return whether it came so far."""
    count = moving.host.directory / "count"
    count.write_text("0\n")
    give_to_user(count)
    for tool in ("cp", "mv", "rm", "sync", "rmdir", "diff"):
        moving.host.shim(tool, KILL.format(count=count, at=at))
    moving.run()
    moving.host.unshim()
    return int(count.read_text()) > at


def survives(moving: Moving, before: dict[str, tuple[str, int, int, int]]) -> None:
    """Every dump lies whole in one of the two places, and after another run in the new one."""
    there = lying(moving.new)
    dumps = {name: value for name, value in before.items() if name.endswith((".sql.gz", ".dat"))}
    assert {name for name in dumps if dumps[name] not in (there.get(name), lying(moving.old).get(name))} == set()
    for name in (name for name in there if name.endswith(".sql.gz")):
        assert f"{name}.json" in there, "a dump came without its manifest"
    again = moving.run()
    assert again.returncode == 0, again.stderr
    assert lying(moving.new) == before and list(moving.old.iterdir()) == []
    assert not [path for path in moving.new.rglob("*.part")]


def kill_at_each(host: Host, moved_to: Callable[[str], Moving], where: str, moments: list[int]) -> int:
    tried = 0
    for at in moments:
        host.backups = host.app_dir / "backups"
        before = plant(host)
        moving = moved_to(where)
        reached = killed_at(moving, at)
        survives(moving, before)
        for path in moving.new.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        tried += reached
        if not reached:
            break
    return tried


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_killed_half_way_it_has_lost_none_and_goes_on(
    host: Host, moved_to: Callable[[str], Moving], where: str, chance: random.Random
) -> None:
    assert kill_at_each(host, moved_to, where, chance.sample(range(100), 3)) >= 1


@pytest.mark.prove
@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_killed_at_every_step_it_has_lost_none_and_goes_on(
    host: Host, moved_to: Callable[[str], Moving], where: str, proved: Callable[[str], None]
) -> None:
    tried = kill_at_each(host, moved_to, where, list(range(1000)))
    assert tried > 50
    proved(f"killed at each of {tried} steps: no dump lost, none doubled, none without its manifest, the next run done")


def test_another_dump_of_that_name_is_not_overwritten(host: Host, moved_to: Callable[[str], Moving]) -> None:
    before = plant(host)
    moving = moved_to("here")
    name = f"medaction_{NIGHTS[0]}.sql.gz"
    for path, text in ((moving.new / name, "another one"), (moving.new / f"medaction_{NIGHTS[1]}.sql.gz.json", "[]")):
        path.write_text(text)
        give_to_user(path)
    done = moving.run()
    assert done.returncode == 3 and f"{moving.old / name} stays: another one lies at" in done.stderr, done.stderr
    assert (moving.new / name).read_text() == "another one"
    left = lying(moving.old)
    assert {name, f"{name}.json", f"medaction_{NIGHTS[1]}.sql.gz"} <= left.keys()
    assert left.items() <= before.items()


def test_what_is_no_dump_of_ours_stays_and_is_told(host: Host, moved_to: Callable[[str], Moving]) -> None:
    before = plant(host)
    others = [host.backups / name for name in ("notes.txt", f"medaction_{NIGHTS[1]}.sql.gz.txt", "weekly/my.sql")]
    for path in others:
        path.write_text("mine")
    empty = host.backups / "kept"
    empty.mkdir()
    moving = moved_to("elsewhere")
    done = moving.run()
    assert done.returncode == 3 and lying(moving.new).items() <= before.items()
    assert [path for path in (*others, empty) if f"{path} stays: it is none" not in done.stderr] == []
    assert all(path.read_text() == "mine" for path in others)


def test_no_link_is_followed(host: Host, moved_to: Callable[[str], Moving]) -> None:
    secret = host.directory / "somebody-elses"
    secret.write_text("a secret")
    outside = host.directory / "medaction_2026-06-16_02-00-00.sql.gz"
    outside.write_text("outside")
    for path in (secret, outside):  # the backup user's own, or it could do them no harm
        give_to_user(path)
    plant(host)
    (host.backups / "medaction_2026-06-15_02-00-00.sql.gz").symlink_to(secret)
    shutil.rmtree(host.backups / "weekly")
    (host.backups / "weekly").symlink_to(host.directory)
    moving = moved_to("here")
    assert moving.run().returncode == 3
    assert (secret.read_text(), outside.read_text()) == ("a secret", "outside")
    assert not [name for name in ("15", "16") if [*moving.new.rglob(f"medaction_2026-06-{name}*")]]


@pytest.mark.parametrize("kind", ["a link", "others may write", "the new place", "a file", "a part of a path"])
def test_a_directory_that_is_not_the_backups_own_is_refused(
    host: Host, moved_to: Callable[[str], Moving], kind: str
) -> None:
    before = plant(host)
    moving = moved_to("here")
    link = host.directory / "link"
    link.symlink_to(moving.old)
    if kind == "others may write":
        moving.old.chmod(0o770)
    named = {"a link": link, "the new place": moving.new, "a file": host.log, "a part of a path": Path("backups")}
    done = moving.run(named.get(kind))
    assert done.returncode == 2 and "stopped at line" not in done.stderr, done.stderr
    assert lying(moving.old) == before and list(moving.new.iterdir()) == []


@pytest.mark.skipif(not PREFIX, reason="only root can give a directory to somebody else")
def test_a_directory_of_another_account_is_refused(host: Host, moved_to: Callable[[str], Moving]) -> None:
    plant(host)
    moving = moved_to("here")
    os.chown(moving.old, 12345, USER.pw_gid)
    assert moving.run().returncode == 2


@pytest.mark.parametrize("whose", ["new", "old"])
def test_it_gives_way_to_a_backup_at_work(host: Host, moved_to: Callable[[str], Moving], whose: str) -> None:
    before = plant(host)
    moving = moved_to("here")
    lock = getattr(moving, whose) / ".lock"
    with lock.open("w") as file:
        give_to_user(lock)
        fcntl.flock(file, fcntl.LOCK_EX)
        assert moving.run().returncode == 75
    assert lying(moving.old) == before


def test_a_disk_without_room_is_told_before_anything_is_written(host: Host, moved_to: Callable[[str], Moving]) -> None:
    before = plant(host)
    moving = moved_to("elsewhere")
    host.configure(backup_dir=str(moving.new), backup_reserve_mb=10**9)
    done = moving.run()
    assert done.returncode == 1 and "make room there, then run this again" in done.stderr, done.stderr
    assert lying(moving.old) == before and lying(moving.new) == {}
