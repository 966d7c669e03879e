r"""A scheduled task: a typed description, its XML, and what differs from a host's, told in words. Pure.

The XML is Microsoft's Task Scheduler schema (MS-TSCH 2.5, https://learn.microsoft.com/openspecs/
windows_protocols/ms-tsch/). Windows hands a task back rewritten: elements in another order, defaults
filled in or left out, `SYSTEM` as S-1-5-18, PT72H as P3D, a StartBoundary with an offset. So two tasks are
compared field by field, each field in one way of writing, and not as text.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from provision.settings.schedule import WEEKDAYS, Schedule, TimeOfDay

NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"
SYSTEM = "S-1-5-18"
_SERVICE_ACCOUNTS = {SYSTEM: "SYSTEM", "S-1-5-19": "LOCAL SERVICE", "S-1-5-20": "NETWORK SERVICE"}
_DAYS = tuple(day.capitalize() for day in WEEKDAYS)

# Windows' defaults, which an export may leave out (MS-TSCH 2.5.4 and 2.5.5), and how a person would say the field.
_FIELDS: dict[str, tuple[str, str]] = {
    "Settings/Enabled": ("true", "enabled"),
    "Settings/StartWhenAvailable": ("false", "catch up a missed start"),
    "Settings/ExecutionTimeLimit": ("PT72H", "time limit"),
    "Settings/MultipleInstancesPolicy": ("IgnoreNew", "when it is still running"),
    "Settings/DisallowStartIfOnBatteries": ("true", "stay off on batteries"),
    "Settings/StopIfGoingOnBatteries": ("true", "stop on batteries"),
    "Settings/WakeToRun": ("false", "wake the computer"),
    "Settings/AllowStartOnDemand": ("true", "may be started by hand"),
    "Settings/AllowHardTerminate": ("true", "may be ended by force"),
    "Settings/RunOnlyIfNetworkAvailable": ("false", "only with a network"),
    "Settings/RunOnlyIfIdle": ("false", "only when idle"),
    "Settings/Hidden": ("false", "hidden"),
    "Settings/DeleteExpiredTaskAfter": ("PT0S", "deleted after it expires"),
    "Settings/Priority": ("7", "priority"),
    "Settings/RestartOnFailure/Interval": ("", "restart after a failure"),
    "Settings/RestartOnFailure/Count": ("", "restarts after a failure"),
    "Principals/Principal/UserId": ("", "user"),
    "Principals/Principal/GroupId": ("", "group"),
    "Principals/Principal/LogonType": ("", "logon type"),
    "Principals/Principal/RunLevel": ("LeastPrivilege", "run level"),
    "RegistrationInfo/Description": ("", "description"),
    "RegistrationInfo/Source": ("", "source"),
}
_DURATIONS = ("Settings/ExecutionTimeLimit", "Settings/DeleteExpiredTaskAfter", "Settings/RestartOnFailure/Interval")
_TRIGGERS, _ACTIONS = "triggers", "actions"


@dataclass(frozen=True)
class Trigger:
    """When a task starts: a schedule, host time, and up to how many minutes later at random."""

    schedule: Schedule
    random_delay_minutes: int = 0
    enabled: bool = True


@dataclass(frozen=True)
class Action:
    """The program that a task starts."""

    command: str
    arguments: str = ""
    working_directory: str = ""


@dataclass(frozen=True, kw_only=True)
class Task:
    r"""A scheduled task as it should be. `folder` is `\Name`; `user` an account's name or SID.

    A user who is no service account runs it by S4U: logged on or not, no password stored, no network drives.
    """

    folder: str
    name: str
    description: str
    source: str
    action: Action
    triggers: tuple[Trigger, ...]
    user: str = SYSTEM
    highest_run_level: bool = True
    start_when_available: bool = True
    time_limit_hours: int | None = None
    multiple_instances: Literal["IgnoreNew", "Parallel", "Queue", "StopExisting"] = "IgnoreNew"
    start_on_batteries: bool = True
    stop_on_batteries: bool = False
    wake: bool = False
    enabled: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\\[^\\/:*?\"<>|]+", self.folder):
            raise ValueError(rf"{self.folder!r} is no task folder: write \Name, without \ / : * ? \" < > |")
        if not self.name or re.search(r"[\\/:*?\"<>|]", self.name):
            raise ValueError(f'{self.name!r} is no task name: it holds one of \\ / : * ? " < > |')

    @property
    def path(self) -> str:
        return rf"{self.folder}\{self.name}"

    @property
    def runs_as_system(self) -> bool:
        return _account(self.user, {}) == SYSTEM

    @property
    def service_account(self) -> bool:
        return _account(self.user, {}) in _SERVICE_ACCOUNTS

    def to_xml(self) -> str:
        """The task as Windows takes it, elements in the schema's order."""
        task = ET.Element("Task", {"version": "1.2", "xmlns": NAMESPACE})
        _add(task, "RegistrationInfo", {"Source": self.source, "Description": self.description})
        triggers = _add(task, "Triggers", {})
        for trigger in self.triggers:
            _add_trigger(triggers, trigger)
        principals = _add(task, "Principals", {})
        logon = {} if self.service_account else {"LogonType": "S4U"}
        level = "HighestAvailable" if self.highest_run_level else "LeastPrivilege"
        user = _account(self.user, {}) if self.service_account else self.user
        _add(principals, "Principal", {"UserId": user, **logon, "RunLevel": level}).set("id", "Author")
        limit = "PT0S" if self.time_limit_hours is None else f"PT{self.time_limit_hours}H"
        _add(task, "Settings", {
            "MultipleInstancesPolicy": self.multiple_instances,
            "DisallowStartIfOnBatteries": _boolean(not self.start_on_batteries),
            "StopIfGoingOnBatteries": _boolean(self.stop_on_batteries),
            "StartWhenAvailable": _boolean(self.start_when_available),
            "WakeToRun": _boolean(self.wake),
            "Enabled": _boolean(self.enabled),
            "ExecutionTimeLimit": limit,
        })  # fmt: skip
        actions = _add(task, "Actions", {})
        actions.set("Context", "Author")
        parts = {"Command": self.action.command, "Arguments": self.action.arguments}
        _add(actions, "Exec", {**parts, "WorkingDirectory": self.action.working_directory})
        ET.indent(task)
        return ET.tostring(task, encoding="unicode") + "\n"


def parse(xml: str, accounts: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """A task's XML as fields, each in one way of writing; `accounts` gives the SIDs of named accounts.

    Raise ValueError when it is no task.
    """
    try:
        root = ET.fromstring(re.sub(r"^\ufeff?\s*<\?xml[^>]*\?>", "", xml))
    except ET.ParseError as error:
        raise ValueError(f"this is no XML: {error}") from None
    if root.tag != f"{{{NAMESPACE}}}Task":
        raise ValueError(f"this is no scheduled task: it begins with {root.tag}")
    fields = {}
    for path, (default, _) in _FIELDS.items():
        fields[path] = _text(root, path) or default
    for path in _DURATIONS:
        fields[path] = _duration(fields[path])
    user = "Principals/Principal/UserId"
    fields[user] = _account(fields[user], accounts or {})
    # ServiceAccount is what Windows itself makes of a service account; ours is written without it.
    logon = "Principals/Principal/LogonType"
    if fields[user] in _SERVICE_ACCOUNTS:
        fields[logon] = ""
    fields[_TRIGGERS] = "; ".join(sorted(_trigger_words(item) for item in _children(root, "Triggers")))
    fields[_ACTIONS] = "; ".join(_action_words(item) for item in _children(root, "Actions"))
    return fields


def differences(wanted: Task, found_xml: str, accounts: Mapping[str, str | None] | None = None) -> list[str]:
    """What is different about a host's task, a sentence for each field."""
    want, found = parse(wanted.to_xml(), accounts), parse(found_xml, accounts)
    told = []
    if want[_TRIGGERS] != found[_TRIGGERS]:
        told.append(f"{wanted.path}: starts {found[_TRIGGERS] or 'never'}, should start {want[_TRIGGERS] or 'never'}")
    if want[_ACTIONS].casefold() != found[_ACTIONS].casefold():
        told.append(f"{wanted.path}: runs {found[_ACTIONS]!r}, should run {want[_ACTIONS]!r}")
    for path, (_, label) in _FIELDS.items():
        if want[path] != found[path]:
            told.append(f"{wanted.path}: {label} is {found[path] or 'not set'}, should be {want[path] or 'not set'}")
    return told


def is_ours(found_xml: str, mark: str) -> bool:
    """Whether a task on a host carries our mark (its Source)."""
    return mark in parse(found_xml)["RegistrationInfo/Source"]


def _add(parent: ET.Element, name: str, children: Mapping[str, str]) -> ET.Element:
    element = ET.SubElement(parent, name)
    for child, value in children.items():
        if value:
            ET.SubElement(element, child).text = value
    return element


def _add_trigger(parent: ET.Element, trigger: Trigger) -> None:
    # StartBoundary's date has passed, so that it is only a time of day and never differs from one run to the next.
    at = f"2000-01-01T{trigger.schedule.at}:00"
    # Enabled comes first: triggerBaseType is a sequence.
    calendar = _add(parent, "CalendarTrigger", {"Enabled": _boolean(trigger.enabled), "StartBoundary": at})
    if trigger.random_delay_minutes:
        ET.SubElement(calendar, "RandomDelay").text = f"PT{trigger.random_delay_minutes}M"
    if trigger.schedule.weekday is None:
        _add(calendar, "ScheduleByDay", {"DaysInterval": "1"})
        return
    week = _add(calendar, "ScheduleByWeek", {"WeeksInterval": "1"})
    ET.SubElement(ET.SubElement(week, "DaysOfWeek"), trigger.schedule.weekday.capitalize())


def _trigger_words(trigger: ET.Element) -> str:
    kind = _local(trigger)
    extra = []
    if _text(trigger, "Enabled") == "false":
        extra.append("switched off")
    delay = _duration(_text(trigger, "RandomDelay") or "PT0S")
    if delay != "none":
        extra.append(f"up to {delay} later at random")
    for name in ("EndBoundary", "ExecutionTimeLimit", "Repetition/Interval"):
        value = _text(trigger, name)
        if value:
            extra.append(f"{name} {value}")
    return ", ".join([_calendar_words(trigger) if kind == "CalendarTrigger" else f"by a {kind}", *extra])


def _calendar_words(trigger: ET.Element) -> str:
    boundary = _text(trigger, "StartBoundary")
    clock = re.search(r"T(\d{2}):(\d{2})(?::(\d{2}))?", boundary)
    at = str(TimeOfDay(int(clock[1]), int(clock[2]))) if clock else "an unknown time"
    if clock and clock[3] not in (None, "00"):
        at += f":{clock[3]}"
    # Absolute time does not follow summer time, and a date that is still to come is no schedule yet.
    if boundary.endswith("Z"):
        at += " UTC"
    if boundary[:10] > date.today().isoformat():
        at += f" from {boundary[:10]}"
    if _child(trigger, "ScheduleByDay") is not None:
        days = int(_text(trigger, "ScheduleByDay/DaysInterval") or 1)
        return f"daily at {at}" if days == 1 else f"every {days} days at {at}"
    if _child(trigger, "ScheduleByWeek") is not None:
        weeks = int(_text(trigger, "ScheduleByWeek/WeeksInterval") or 1)
        named = {_local(day) for day in _children(trigger, "ScheduleByWeek/DaysOfWeek")}
        days_text = " and ".join(f"{day.lower()}s" for day in _DAYS if day in named)
        return f"{days_text} at {at}" + ("" if weeks == 1 else f", every {weeks} weeks")
    return f"monthly at {at}"


def _action_words(action: ET.Element) -> str:
    if _local(action) != "Exec":
        return f"a {_local(action)}"
    words = f"{_text(action, 'Command')} {_text(action, 'Arguments')}".strip()
    folder = _text(action, "WorkingDirectory")
    return words + (f" in {folder}" if folder else "")


def _duration(text: str) -> str:
    """An ISO 8601 duration in one way of writing: PT72H and P3D are both `72 hours`; zero is `none`."""
    match = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", text)
    if not match:
        return text
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total == 0:
        return "none"
    for size, unit in ((3600, "hours"), (60, "minutes")):
        if total % size == 0:
            return f"{total // size} {unit}"
    return f"{total} seconds"


def _account(name: str, accounts: Mapping[str, str | None]) -> str:
    """An account as its SID where that is known: `SYSTEM`, `NT AUTHORITY\\SYSTEM` and S-1-5-18 are one."""
    known = {sid.casefold(): sid for sid in _SERVICE_ACCOUNTS}
    known |= {alias.casefold(): sid for sid, alias in _SERVICE_ACCOUNTS.items()}
    known |= {alias.replace(" ", "").casefold(): sid for sid, alias in _SERVICE_ACCOUNTS.items()}
    short = name.rpartition("\\")[2] if name.upper().startswith("NT AUTHORITY\\") else name
    given = {alias.casefold(): sid for alias, sid in accounts.items() if sid}
    return known.get(short.casefold()) or given.get(name.casefold()) or name


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _child(element: ET.Element, path: str) -> ET.Element | None:
    return element.find("/".join(f"{{{NAMESPACE}}}{name}" for name in path.split("/")))


def _children(element: ET.Element, path: str) -> Iterable[ET.Element]:
    found = _child(element, path)
    return [] if found is None else list(found)


def _text(element: ET.Element, path: str) -> str:
    found = _child(element, path)
    return "" if found is None or found.text is None else found.text.strip()


def _boolean(value: bool) -> str:
    return "true" if value else "false"
