"""A Windows host's backups: files, tasks and the newest dump, asked over plain SSH with encoded PowerShell."""

from __future__ import annotations

from provision.windows import checks
from tests.verify.target import Target


def test_scripts_and_their_access_lists_are_as_described(windows_backup_host: Target) -> None:
    wrong = checks.files(windows_backup_host.host.run, windows_backup_host.settings)
    windows_backup_host.expect(not wrong, "; ".join(wrong))


def test_tasks_are_as_described_and_their_last_run_was_good(windows_backup_host: Target) -> None:
    wrong = checks.tasks(windows_backup_host.host.run, windows_backup_host.settings)
    windows_backup_host.expect(not wrong, "; ".join(wrong))


def test_newest_backup_is_complete_and_fresh(windows_backup_host: Target) -> None:
    wrong = checks.newest_backup(windows_backup_host.host.run, windows_backup_host.settings)
    windows_backup_host.expect(not wrong, "; ".join(wrong))
