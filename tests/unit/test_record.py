"""The list of what of a host came from us: its text, and what is read back from it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from provision.record import history, layout
from provision.record.history import LastDone
from provision.record.layout import Listed, things

OURS = things(
    {"files": {"/etc/cron.d/app", "/b", "/etc/systemd/system/app.timer"}, "users": {"app"}, "packages": {"isal"}}
)


def listed(ours: layout.Things, **others: dict[str, layout.Things]) -> Listed:
    return Listed("1.0.0", "staging", ours, **others)


def test_the_same_host_gives_the_same_text_and_it_reads_back():
    of = {"app": things({"files": {"/b"}, "data": {"/c"}})}
    text = layout.text(listed(OURS, of=of), ["redis", "app"])
    assert text == layout.text(
        listed({kind: set(sorted(each)) for kind, each in OURS.items()}, of=of), ["app", "redis"]
    )
    assert layout.read(text, []) == listed(OURS, of=of)


def test_cron_files_and_units_are_named_apart():
    whole = json.loads(layout.text(listed(OURS), []))
    assert (whole["cron"], whole["units"]) == (["/etc/cron.d/app"], ["app.timer"])


def test_what_a_deploy_that_was_cut_off_was_about_to_make_is_ours():
    text = layout.text(listed(things({"packages": ["isal"]})), [])
    read = layout.read(text, ["packages\tcron", "users\tapp", "packages\t", "torn"])
    assert read.ours == things({"users": {"app"}, "packages": {"isal", "cron"}})


def test_a_host_without_a_list_has_nothing_of_ours():
    assert not any(layout.read("", []).ours.values())


@pytest.mark.parametrize(
    "text", ["{", "[]", '"x"', "7", '{"of": 3}', '{"files": 3}', '{"of": {"app": 1}}', '{"sums": []}']
)
def test_what_is_no_list_is_refused(text: str):
    with pytest.raises(ValueError):
        layout.read(text, [])


@pytest.mark.parametrize("planted", ["a pipe", "a link", "a directory", "nothing", "binary"])
def test_what_the_backup_user_puts_where_restores_are_told_holds_nobody_up(planted: str, tmp_path: Path) -> None:
    roots, theirs = tmp_path / "root.jsonl", tmp_path / "history.jsonl"
    line = {"time": "2026-11-26T04:00:00Z", "who": "a", "what": "deploy", "result": "ok"}
    roots.write_text(json.dumps(line) + "\n")
    secret = tmp_path / "shadow"
    secret.write_text(json.dumps(line | {"time": "2027-01-01T00:00:00Z", "who": "secret"}) + "\n")
    {
        "a pipe": lambda: os.mkfifo(theirs), "a link": lambda: theirs.symlink_to(secret), "a directory": theirs.mkdir,
        "nothing": lambda: None, "binary": lambda: theirs.write_bytes(b"\xff\x00\x1b[2J\n"),
    }[planted]()  # fmt: skip
    command = str(LastDone().command(files=[str(roots), str(theirs)]))
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=20, check=True)
    assert LastDone().process(done.stdout.decode(errors="replace").splitlines()) == [line]


def test_what_this_machine_kept_of_a_host_is_told_the_newest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kept.jsonl"
    monkeypatch.setattr(history, "file_here", lambda _: file)
    assert history.here("production", "win1") == []

    def line(day: int, host: str, what: str = "deploy") -> str:
        return json.dumps(
            {"time": f"2026-11-{day:02}T02:00:00Z", "who": "a@b", "host": host, "what": what, "result": "ok"}
        )

    damaged = ["{", '{"host": "win1"}', '["win1"]', line(9, "win1").replace("2026", "soon")]
    lines = [
        line(1, "win1"),
        line(2, "db1", "win1"),
        line(3, "@winssh/win1"),
        *damaged,
        line(4, "win1"),
        line(5, "win11"),
    ]
    file.write_text("\n".join(lines) + "\n")
    assert [each["time"][8:10] for each in history.here("production", "win1", 5)] == ["04", "01"]
    assert [each["time"][8:10] for each in history.here("production", "win1")] == ["04"]
