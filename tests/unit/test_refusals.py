"""What root does not touch: a link that somebody else made, a directory in which somebody else may write."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from provision.debian.entries import Directory, File, Log, Step, refusals
from provision.debian.files import Steps

HOUSE = Directory("/opt/app", "root", "app", 0o1775, formerly=("app",))
BACKUPS = Directory("/opt/app/backups", "backup", "backup", 0o750)
LIBRARY = Directory("/opt/app/lib", "root", "app", 0o1775, formerly=("app",))
MODULE = File("/opt/app/lib/a.ts", "x\n")
LOG = Log("/opt/app/backups/log", "backup", "backup")
ENTRIES = [HOUSE, BACKUPS, LIBRARY, MODULE, LOG]
AS_DEPLOYED = {
    "/": Step("directory", 0o755, "root", "root"),
    "/opt": Step("directory", 0o755, "root", "root"),
    "/opt/app": Step("directory", 0o1775, "root", "app"),
    "/opt/app/backups": Step("directory", 0o750, "backup", "backup"),
    "/opt/app/lib": Step("directory", 0o1775, "root", "app"),
    "/opt/app/lib/a.ts": Step("regular file", 0o644, "root", "app"),
    "/opt/app/backups/log": Step("regular file", 0o640, "backup", "backup"),
    "/etc": Step("directory", 0o755, "root", "root"),
    "/srv": Step("directory", 0o755, "root", "root"),
    "/srv/app": Step("directory", 0o755, "root", "root"),
}


def link(user: str, to: str) -> Step:
    return Step("symbolic link", 0o777, user, user, to)


def test_nothing_is_in_the_way_on_a_host_as_deployed():
    assert refusals(ENTRIES, AS_DEPLOYED) == []


def test_nothing_is_in_the_way_where_nothing_is():
    assert refusals(ENTRIES, {"/": AS_DEPLOYED["/"], "/opt": AS_DEPLOYED["/opt"]}) == []


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/opt/app", Step("directory", 0o755, "app", "app")),
        ("/opt/app/lib", Step("directory", 0o755, "app", "app")),
        ("/opt/app", link("root", "/srv/app")),
        ("/opt/app/lib/a.ts", Step("regular file", 0o644, "app", "app")),
        ("/opt", Step("directory", 0o2775, "root", "staff")),
    ],
    ids=[
        "the app owned its house",
        "and its lib",
        "root moved it to another disk",
        "a file to replace",
        "staff's /opt",
    ],
)
def test_what_is_usual_on_a_host_is_no_obstacle(path: str, there: Step):
    assert refusals(ENTRIES, {**AS_DEPLOYED, path: there}) == []


@pytest.mark.parametrize(
    ("path", "there", "said"),
    [
        ("/opt/app/lib", link("app", "/etc"), "/opt/app/lib: is a link of app's to /etc"),
        ("/opt/app/lib/a.ts", link("app", "/etc/shadow"), "a.ts: is a link of app's to /etc/shadow"),
        ("/opt/app/lib/a.ts", link("root", "/etc/shadow"), "a.ts: is a link of root's to /etc/shadow"),
        ("/opt/app/backups", link("app", "/etc"), "backups: is a link of app's to /etc"),
        ("/opt/app/backups", Step("directory", 0o755, "app", "app"), "backups: belongs to app"),
        ("/opt/app/backups/log", link("backup", "/etc/shadow"), "log: is a link of backup's to /etc/shadow"),
        ("/opt/app/lib/a.ts", Step("directory", 0o755, "app", "app"), "a.ts: is a directory of app's, where a file"),
        ("/opt/app/backups/log", Step("directory", 0o755, "backup", "backup"), "log: is a directory of backup's"),
        ("/opt/app/lib", link("app", ""), "is a link of app's to nowhere"),
        ("/opt", Step("directory", 0o777, "root", "root"), "/opt: can be written in by others (0777)"),
        ("/opt", Step("directory", 0o755, "somebody", "root"), "/opt: belongs to somebody"),
        ("/opt/app", link("root", "/home/app/app"), "/opt/app: is a link of root's to /home/app/app"),
    ],
)
def test_what_somebody_else_put_in_the_way_is_refused_in_a_sentence(path: str, there: Step, said: str):
    beyond = {
        "/home/app": Step("directory", 0o755, "app", "app"),
        "/home/app/app": Step("directory", 0o755, "root", "root"),
    }
    told = refusals(ENTRIES, {**AS_DEPLOYED, **beyond, path: there})
    assert any(said in sentence for sentence in told), told


def test_steps_are_told_without_following(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    command = Steps().command(paths=(str(tmp_path / "link"), str(tmp_path / "missing"))).get_raw_value()
    printed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    found = Steps().process(printed.splitlines())
    assert found[str(tmp_path / "link")].leads_to == str(tmp_path / "real")
    assert found[str(tmp_path / "real")].kind == "directory" and str(tmp_path / "missing") not in found
