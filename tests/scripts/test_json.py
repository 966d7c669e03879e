"""The JSON files that runs leave behind: written and read by jq, whatever their texts are, and with few of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from provision.settings.render import FILES

from .cluster import ROLE
from .host import Host

PART = FILES / "backup/lib/json.sh"


def bash(program: str, *arguments: object) -> str:
    done = subprocess.run(
        ["bash", "-euc", f". {PART}; {program}", "-", *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "text", ["plain", 'a "quoted" \\ one', "two\nlines\tand a tab", "\x01\x1f", "$HOME `id`", "é…", ""]
)
def test_any_text_is_written_as_it_is(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a file.json"
    bash('write_json "$1" --null-input --arg text "$2" --argjson number 7 "$named_values"', file, text)
    assert json.loads(file.read_text()) == {"text": text or None, "number": 7}


def test_many_files_are_read_at_once_and_a_damaged_one_hides_no_other(tmp_path: Path) -> None:
    texts = {
        "good 1.json": '{"state": "failed", "message": "first\\nsecond\\t\\"x\\" \\\\"}',
        "cut.json": '{"state": "fai',
        "empty.json": "",
        "no object.json": "[1]",
        "null.json": '{"state": null}',
        "number.json": '{"state": 5}',
    }
    paths = [tmp_path / name for name in [*texts, "missing.json"]]
    for path in paths[:-1]:
        path.write_text(texts[path.name])
    read = bash(
        """load_json 'state message' "$@"
        for f in "$@"; do printf '%s=%s;%s\\n' "${f##*/}" "${json[$f state]:-}" "${json[$f message]:-}"; done""",
        *paths,
    )
    assert read.splitlines() == [
        'good 1.json=failed;first second "x" \\', "cut.json=;", "empty.json=;", "no object.json=;", "null.json=;",
        "number.json=5;", "missing.json=;",
    ]  # fmt: skip
    for path, line in zip(paths, read.splitlines(), strict=True):
        assert bash('json_value "$1" state', path).rstrip() == line.partition("=")[2].partition(";")[0]


def test_sequence_at_the_end_of_its_range_restores(host: Host) -> None:
    host.cluster.ask(host.database, f"CREATE SEQUENCE far START {2**63 - 2}; SELECT nextval('far')", user=ROLE)
    host.good_backup()
    assert host.manifest()["sequences_after"]["public.far"] == str(2**63 - 2)
    done = host.restore_test()
    assert done.returncode == 0, done.stderr


def test_number_of_jq_runs_does_not_grow_with_the_dumps(host: Host) -> None:
    started = host.directory / "state/started"
    host.shim("jq", f'echo >> {started}; exec "${{real[@]}}" "$@"')
    host.good_backup()
    few = started.read_text().count("\n")
    started.unlink()
    host.plant(*(f"2026-10-{day:02}_02-00-00" for day in range(1, 31)), verdict="ok")
    host.good_backup()
    assert started.read_text().count("\n") <= few + 2 < 25
    for command in (("backup-database.sh", "--check"), ("restore-database.sh", "--list")):
        started.unlink()
        host.run(*command)
        assert started.read_text().count("\n") <= 10


@pytest.mark.fault
def test_host_without_jq_says_so_and_publishes_nothing(host: Host) -> None:
    host.good_backup()
    before = host.published()
    host.shim("jq", "exit 127")
    bare = host.directory / "bin"
    bare.mkdir()
    for path in Path("/usr/bin").iterdir():
        if path.name != "jq":
            (bare / path.name).symlink_to(path)
    for script, option in (
        ("backup-database.sh", ""),
        ("backup-database.sh", "--check"),
        ("restore-database.sh", "--list"),
    ):
        done = without_jq(host, bare, script, *filter(None, [option]))
        assert done.returncode == 2 and "jq is missing" in done.stderr, done
    assert host.published() == before


def without_jq(host: Host, bare: Path, script: str, *options: str) -> subprocess.CompletedProcess:
    program = Path(host.settings.backup_program_dir) / script
    program.write_text(program.read_text().replace("PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\n", ""))
    return host.run(script, *options, PATH=f"{Path('/usr/lib/postgresql')}:{bare}")
