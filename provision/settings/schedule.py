"""When a backup runs: one model that cron and the Windows Task Scheduler are both written from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")


@dataclass(frozen=True, order=True)
class TimeOfDay:
    """A wall-clock time on the host, to the minute."""

    hour: int
    minute: int

    @classmethod
    def parse(cls, text: str) -> TimeOfDay:
        """Read `HH:MM`, 00:00 to 23:59. Raise ValueError with the reason otherwise."""
        match = re.fullmatch(r"(\d{2}):(\d{2})", text)
        if not match or int(match[1]) > 23 or int(match[2]) > 59:
            raise ValueError("must be a time of day from 00:00 to 23:59, written HH:MM")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.hour:02}:{self.minute:02}"


@dataclass(frozen=True)
class Schedule:
    """Every day at a time, or every week on one day of it."""

    at: TimeOfDay
    weekday: str | None = None

    def __post_init__(self) -> None:
        if self.weekday is not None and self.weekday not in WEEKDAYS:
            raise ValueError(f"must be one of {', '.join(WEEKDAYS)}")

    @property
    def cron(self) -> str:
        """The five time fields of a crontab line (crontab(5): Sunday is 0)."""
        day = "*" if self.weekday is None else str(WEEKDAYS.index(self.weekday))
        return f"{self.at.minute} {self.at.hour} * * {day}"

    def next_after(self, now: datetime) -> datetime:
        """When it runs next, given the host's wall clock."""
        run = now.replace(hour=self.at.hour, minute=self.at.minute, second=0, microsecond=0)
        # Monday is 0 for Python, 1 in WEEKDAYS.
        while run <= now or (self.weekday is not None and WEEKDAYS[(run.weekday() + 1) % 7] != self.weekday):
            run += timedelta(days=1)
        return run

    def __str__(self) -> str:
        return f"daily at {self.at}" if self.weekday is None else f"{self.weekday}s at {self.at}"


def daily(at: str) -> Schedule:
    return Schedule(TimeOfDay.parse(at))


def weekly(day: str, at: str) -> Schedule:
    return Schedule(TimeOfDay.parse(at), day)
