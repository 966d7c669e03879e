"""Windows settings: what derives from the app's name, and what is refused."""

from __future__ import annotations

import pytest

from provision.windows import layout
from tests.windows.settings import settings


def test_the_default_is_the_guides_own_names():
    found = settings()
    assert found.windows_app_dir == "C:\\MedAction"
    assert [task.path for task in layout.tasks(found)] == [
        "\\MedAction\\MedAction Backup", "\\MedAction\\MedAction Backup Weekly",
    ]  # fmt: skip


def test_another_app_has_names_of_its_own():
    found = settings(app_name="soins-plus")
    assert found.windows_backup_dir == "C:\\SoinsPlus\\backups"
    assert layout.tasks(found)[0].path == "\\SoinsPlus\\SoinsPlus Backup"


def test_each_tier_has_its_own_minimum_in_the_script():
    found = settings(backup_daily_minimum_kept=14, backup_weekly_minimum_kept=20)
    text = layout.script_settings(found)
    assert "$DailyMinimumKept = 14\n" in text and "$WeeklyMinimumKept = 20\n" in text


def test_the_tasks_start_when_cron_would():
    first, second = layout.tasks(settings(backup_daily_at="03:15", backup_weekly_day="monday"))
    assert str(first.triggers[0].schedule) == "daily at 03:15"
    assert str(second.triggers[0].schedule) == "mondays at 01:00"
    assert second.action.arguments.endswith("-Tier weekly -RetentionDays 90 -WaitMinutes 60")
    assert '-ExecutionPolicy Bypass -File "C:\\MedAction\\scripts\\backup-database.ps1"' in first.action.arguments


@pytest.mark.parametrize(
    "path",
    [
        "MedAction",
        "\\\\server\\share",
        "C:",
        "C:\\",
        "C:/x",
        "C:\\..\\x",
        "C:\\a%b",
        'C:\\a"b',
        "C:\\a\nb",
        "C:\\a.",
        "/opt/x",
        "C:\\" + "long" * 40,
    ],
)
def test_what_is_no_windows_path_is_refused(path):
    with pytest.raises(ValueError, match="windows_app_dir"):
        settings(windows_app_dir=path)


def test_everything_can_be_printed_without_a_host_and_without_a_secret():
    shown = layout.rendered(settings())
    assert "C/MedAction/scripts/backup-database.ps1" in shown
    assert "tasks/MedAction/MedAction Backup.xml" in shown
    assert not any(b"p@ss" in content for content in shown.values())
