"""When a backup runs, as cron reads it."""

from __future__ import annotations

import pytest

from provision.settings import schedule
from provision.settings.schedule import WEEKDAYS, Schedule, TimeOfDay


def test_a_daily_schedule_is_every_day_of_cron():
    assert schedule.daily("02:00").cron == "0 2 * * *"


@pytest.mark.parametrize(("number", "day"), list(enumerate(WEEKDAYS)))
def test_a_weekly_schedule_is_one_day_of_cron_with_sunday_first(number: int, day: str):
    assert schedule.weekly(day, "01:30").cron == f"30 1 * * {number}"


@pytest.mark.parametrize("text", ["00:00", "09:05", "23:59"])
def test_a_time_reads_back_as_it_was_written(text: str):
    assert str(TimeOfDay.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["24:00", "25:00", "12:60", "2:00", "02:0", "0200", "02:00:00", " 02:00", "02:00\n", ""]
)
def test_a_time_that_is_none_is_refused_with_the_way_to_write_it(text: str):
    with pytest.raises(ValueError, match="00:00 to 23:59, written HH:MM"):
        TimeOfDay.parse(text)


def test_a_day_that_is_none_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match="must be one of sunday, monday"):
        Schedule(TimeOfDay(1, 0), "Sunday")


def test_schedules_are_told_in_words():
    assert [str(schedule.daily("02:00")), str(schedule.weekly("sunday", "01:00"))] == [
        "daily at 02:00",
        "sundays at 01:00",
    ]


def test_times_are_in_the_order_of_the_day():
    assert TimeOfDay.parse("09:59") < TimeOfDay.parse("10:00")
