"""What verification sees of a Windows host, over testinfra's own SSH backend, on the stand-in."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path

import pytest
import testinfra

from provision.windows import checks
from provision.windows.role import windows_backup
from tests.windows.conftest import StandIn
from tests.windows.runs import deploy
from tests.windows.settings import default_settings

SETTINGS = default_settings()


@pytest.fixture
def host(standin: StandIn, tmp_path: Path):
    deploy(standin.data, lambda: windows_backup(SETTINGS))
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host win1\n HostName 127.0.0.1\n Port {standin.port}\n User root\n IdentityFile {standin.key}\n"
        " StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n"
    )
    return testinfra.get_host("ssh://win1", ssh_config=str(config))


def test_a_deployed_host_has_no_fault(standin: StandIn, host):
    assert checks.files(host.run, SETTINGS) == []
    assert checks.tasks(host.run, SETTINGS) == []
    assert checks.newest_backup(host.run, SETTINGS) == []


def test_each_fault_is_seen(standin: StandIn, host):
    os.setxattr(standin.file(SETTINGS.windows_pgpass_file), "user.sddl", b"D:PAI(A;;FA;;;SY)(A;;FA;;;BA)(A;;FR;;;WD)")
    standin.file(f"{SETTINGS.windows_script_dir}\\restore-database.ps1").write_text("edited")
    assert checks.files(host.run, SETTINGS) == [
        f"{SETTINGS.windows_pgpass_file}: Everyone has read, and should not",
        f"{SETTINGS.windows_script_dir}\\restore-database.ps1: its content differs",
    ]
    task = standin.task("\\MedAction", "MedAction Backup")
    task.write_text(task.read_text().replace("<Enabled>true</Enabled>", "<Enabled>false</Enabled>"))
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
def test_why_a_task_did_not_run_is_told_in_words(standin: StandIn, host, result: int, told: str):
    standin.set("last_run", result=result)
    found = checks.tasks(host.run, SETTINGS)
    assert len(found) == 2 and told in found[0] and told in found[1]


def test_an_old_a_cut_and_a_missing_backup_are_seen(standin: StandIn, host):
    (dump,) = standin.file(SETTINGS.windows_backup_dir).glob("*.sql.gz")
    os.utime(dump, (0, time.time() - 40 * 3600))
    assert "is 40 hours old" in checks.newest_backup(host.run, SETTINGS)[0]
    dump.write_bytes(gzip.compress(b"cut"))
    assert "is not complete" in checks.newest_backup(host.run, SETTINGS)[0]
    dump.unlink()
    assert "holds no dump" in checks.newest_backup(host.run, SETTINGS)[0]


def test_a_legacy_code_page_does_not_hurt_and_a_refusal_is_said(standin: StandIn, host):
    standin.set("faults", code_page="cp850")
    assert checks.tasks(host.run, SETTINGS) == []
    standin.set("faults", deny=["tasks"], code_page="cp850")
    with pytest.raises(RuntimeError, match=r"tasks: Acc.*s refus"):
        checks.tasks(host.run, SETTINGS)
