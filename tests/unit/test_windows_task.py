"""A scheduled task: its XML is what Windows takes, and a difference is told however Windows writes it back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from provision.settings.schedule import daily, weekly
from provision.windows.task import Action, Task, Trigger, differences, is_ours, parse

etree = pytest.importorskip("lxml.etree", reason="not run: lxml, which checks XML by a schema, is not installed")

DATA = Path(__file__).parent.parent / "data" / "windows"
SCHEMA = etree.XMLSchema(etree.parse(DATA / "task-subset.xsd"))
EXPORTED = (DATA / "weekly-as-windows-exports-it.xml").read_text(encoding="utf-8")
MARK = "managed by the pyinfra project medaction"
WEEKLY = Task(
    folder="\\MedAction",
    name="MedAction Backup Weekly",
    description="The weekly backup.",
    source=MARK,
    action=Action("powershell.exe", '-File "C:\\MedAction\\scripts\\backup-database.ps1" -Tier weekly'),
    triggers=(Trigger(weekly("sunday", "01:00"), random_delay_minutes=5),),
    time_limit_hours=36,
)
DAILY = replace(WEEKLY, triggers=(Trigger(daily("02:00")),))


def _valid(xml: str) -> bool:
    return SCHEMA.validate(etree.fromstring(xml.replace('<?xml version="1.0" encoding="UTF-16"?>', "")))


@pytest.mark.parametrize(
    "task",
    [
        WEEKLY,
        DAILY,
        replace(WEEKLY, triggers=()),
        replace(WEEKLY, triggers=(*DAILY.triggers, *WEEKLY.triggers)),
        replace(WEEKLY, user="WIN1\\sauvegarde", highest_run_level=False, enabled=False, wake=True),
        replace(WEEKLY, time_limit_hours=None, multiple_instances="Queue", stop_on_batteries=True),
        replace(WEEKLY, action=Action("C:\\Été & <Cie>\\a.exe", 'x "y" & <z>', "C:\\Été & <Cie>")),
    ],
)
def test_every_task_is_valid_by_the_published_schema(task):
    SCHEMA.assertValid(etree.fromstring(task.to_xml()))


def test_the_schema_refuses_a_trigger_whose_enabled_comes_late():
    xml = WEEKLY.to_xml()
    late = xml.replace("<Enabled>true</Enabled>\n      ", "", 1).replace(
        "<RandomDelay>", "<Enabled>true</Enabled><RandomDelay>"
    )
    assert _valid(xml) and not _valid(late)


def test_an_export_as_windows_writes_it_is_no_difference():
    assert _valid(EXPORTED)
    assert differences(WEEKLY, EXPORTED) == []


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ("<UserId>S-1-5-18</UserId>", "<UserId>SYSTEM</UserId>"),
        ("<UserId>S-1-5-18</UserId>", "<UserId>NT AUTHORITY\\SYSTEM</UserId>"),
        ("P1DT12H", "PT36H"),
        ("P1DT12H", "PT2160M"),
        ("PT300S", "PT5M"),
        ("2026-11-02T01:00:00.0000000+01:00", "1999-12-31T01:00:00"),
        ("<Priority>7</Priority>", ""),
        ("<WakeToRun>false</WakeToRun>", ""),
        ("<Command>powershell.exe</Command>", "<Command>PowerShell.exe</Command>"),
        ("2026-11-02T09:14:33.1234567", "2025-01-01T00:00:00"),
    ],
)
def test_windows_other_ways_of_writing_are_no_difference(written, instead):
    assert written in EXPORTED
    assert differences(WEEKLY, EXPORTED.replace(written, instead)) == []


@pytest.mark.parametrize(
    ("written", "instead", "told"),
    [
        (
            "T01:00:00",
            "T03:30:00",
            "starts sundays at 03:30, up to 5 minutes later at random, should start sundays at 01:00",
        ),
        ("<Sunday />", "<Monday /><Sunday />", "starts sundays and mondays at 01:00"),
        ("2026-11-02T01:00:00.0000000+01:00", "2026-11-02T01:00:00Z", "starts sundays at 01:00 UTC"),
        ("2026-11-02T", "2999-01-01T", "starts sundays at 01:00 from 2999-01-01"),
        ("<DaysOfWeek>", "<WeeksInterval>2</WeeksInterval><DaysOfWeek>", "every 2 weeks"),
        ("PT300S", "PT10M", "up to 10 minutes later"),
        ("<StartBoundary>", "<Enabled>false</Enabled><StartBoundary>", "switched off"),
        ("<Enabled>true</Enabled>", "<Enabled>false</Enabled>", "enabled is false, should be true"),
        ("P1DT12H", "PT1H", "time limit is 1 hours, should be 36 hours"),
        ("IgnoreNew", "Parallel", "when it is still running is Parallel, should be IgnoreNew"),
        ("HighestAvailable", "LeastPrivilege", "run level is LeastPrivilege, should be HighestAvailable"),
        ("S-1-5-18", "S-1-5-21-1-2-3-1001", "user is S-1-5-21-1-2-3-1001, should be S-1-5-18"),
        ("<WakeToRun>false", "<WakeToRun>true", "wake the computer is true"),
        ("<StartWhenAvailable>true", "<StartWhenAvailable>false", "catch up a missed start is false"),
        ("OnBatteries>false</Stop", "OnBatteries>true</Stop", "stop on batteries is true"),
        ("<DisallowStartIfOnBatteries>false", "<DisallowStartIfOnBatteries>true", "stay off on batteries is true"),
        ("<RunOnlyIfIdle>false", "<RunOnlyIfIdle>true", "only when idle is true"),
        ("-Tier weekly", "-Tier daily", "runs 'powershell.exe -File"),
        ("The weekly backup.", "Hello", "description is Hello"),
    ],
)
def test_an_edit_by_hand_is_told_in_words_once(written, instead, told):
    assert written in EXPORTED
    sentences = differences(WEEKLY, EXPORTED.replace(written, instead))
    assert len(sentences) == 1
    assert sentences[0].startswith("\\MedAction\\MedAction Backup Weekly: ")
    assert told in sentences[0]


@pytest.mark.parametrize("added", ["<LogonTrigger />", "<BootTrigger><Enabled>true</Enabled></BootTrigger>"])
def test_a_trigger_that_we_never_write_is_told(added):
    assert "by a " in differences(WEEKLY, EXPORTED.replace("</Triggers>", f"{added}</Triggers>"))[0]


def test_the_order_of_days_and_triggers_is_no_difference():
    both = replace(WEEKLY, triggers=(*DAILY.triggers, *WEEKLY.triggers))
    assert differences(both, replace(both, triggers=both.triggers[::-1]).to_xml()) == []


def test_a_named_user_is_known_by_the_sid_that_windows_writes():
    named = replace(WEEKLY, user="WIN1\\sauvegarde")
    sid = "S-1-5-21-1-2-3-1001"
    found = named.to_xml().replace("WIN1\\sauvegarde", sid)
    assert differences(named, found, {"WIN1\\sauvegarde": sid}) == []
    assert differences(named, found, {"WIN1\\sauvegarde": "S-1-5-21-1-2-3-1002"}) != []


def test_only_a_task_with_our_mark_is_ours():
    assert is_ours(EXPORTED, MARK)
    assert not is_ours(EXPORTED.replace(MARK, "somebody"), MARK)


@pytest.mark.parametrize("text", ["", "no XML", "<Task/>", "<a xmlns='b'/>"])
def test_what_is_no_task_is_an_error(text):
    with pytest.raises(ValueError, match="this is no"):
        parse(text)


@pytest.mark.parametrize("name", ["", "a\\b", "a/b", 'a"b', "a|b"])
def test_a_name_that_windows_would_read_as_a_path_is_refused(name):
    with pytest.raises(ValueError, match="no task name"):
        replace(WEEKLY, name=name)
