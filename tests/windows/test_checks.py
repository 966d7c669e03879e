"""What verification sees of a Windows host, over testinfra's own SSH backend, on a host of wine."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path

import pytest
import testinfra

from provision.windows import checks, layout
from provision.windows.role import windows_backup
from tests.windows.conftest import WindowsHost
from tests.windows.runs import deploy
from tests.windows.settings import default_settings

SETTINGS = default_settings()
pytestmark = pytest.mark.usefixtures("postgres")


@pytest.fixture
def host(win: WindowsHost, tmp_path: Path):
    deploy(win.data, lambda: windows_backup(SETTINGS))
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host win1\n HostName 127.0.0.1\n Port {win.port}\n User root\n IdentityFile {win.key}\n"
        " StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n"
    )
    return testinfra.get_host("ssh://win1", ssh_config=str(config))


def test_a_deployed_host_has_no_fault(win: WindowsHost, host):
    assert checks.files(host.run, SETTINGS) == []
    assert checks.tasks(host.run, SETTINGS) == []
    assert checks.newest_backup(host.run, SETTINGS) == []


def test_each_fault_is_seen(win: WindowsHost, host):
    os.setxattr(win.file(SETTINGS.windows_pgpass_file), "user.sddl", b"D:PAI(A;;FA;;;SY)(A;;FA;;;BA)(A;;FR;;;WD)")
    win.file(f"{SETTINGS.windows_script_dir}\\restore-database.ps1").write_text("edited")
    assert checks.files(host.run, SETTINGS) == [
        f"{SETTINGS.windows_pgpass_file}: Everyone has read, and should not",
        f"{SETTINGS.windows_script_dir}\\restore-database.ps1: its content differs",
    ]
    task = win.task("\\MedAction", "MedAction Backup")
    task.write_text(task.read_text("utf-16").replace("<Enabled>true</Enabled>", "<Enabled>false</Enabled>"), "utf-16")
    assert any("is disabled" in told for told in checks.tasks(host.run, SETTINGS))
    task.unlink()
    assert checks.tasks(host.run, SETTINGS) == ["\\MedAction\\MedAction Backup: is missing"]


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (0x80070569 - 2**32, 'code 0x80070569: its account lacks the right "Log on as a batch job"'),
        (0xFFFD0000 - 2**32, "code 0xFFFD0000: PowerShell did not find the script, or a policy forbids it"),
        (3, "code 3: a dump was made, and something was left undone"),
        (1, "ended with code 1"),
    ],
)
def test_why_a_task_did_not_run_is_told_in_words(win: WindowsHost, host, result: int, told: str):
    runs = win.file("C:\\Windows\\Tasks\\MedAction")
    runs.mkdir(exist_ok=True)
    for task in layout.tasks(SETTINGS):
        (runs / f"{task.name}.json").write_text(json.dumps({"result": result, "time": "2026-11-22T02:00:00"}))
    found = checks.tasks(host.run, SETTINGS)
    assert len(found) == 2 and told in found[0] and told in found[1]


def test_an_old_a_cut_and_a_missing_backup_are_seen(win: WindowsHost, host):
    (dump,) = win.file(SETTINGS.windows_backup_dir).glob("medaction_2*.sql.gz")
    os.utime(dump, (0, time.time() - 40 * 3600))
    assert "is 40 hours old" in checks.newest_backup(host.run, SETTINGS)[0]
    dump.write_bytes(gzip.compress(b"cut"))
    assert "is not complete" in checks.newest_backup(host.run, SETTINGS)[0]
    dump.unlink()
    assert "holds no dump" in checks.newest_backup(host.run, SETTINGS)[0]


def test_a_legacy_code_page_does_not_hurt_and_a_refusal_is_said(win: WindowsHost, host):
    win.fail(code_page="cp850")
    assert checks.tasks(host.run, SETTINGS) == []
    win.fail(deny=["tasks"], code_page="cp850")
    with pytest.raises(RuntimeError, match=r"tasks: Acc.*s refus"):
        checks.tasks(host.run, SETTINGS)
