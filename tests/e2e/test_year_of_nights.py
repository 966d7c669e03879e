"""A year of nights on db1: the installed cron lines, each at its hour, with the clock moved instead of waited for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta

import pytest

from provision.engine.private import PrivateInput
from tests.e2e.operator import Operator

pytestmark = pytest.mark.servers

# What the handbook and the defaults promise, in days.
DAILY, WEEKLY, MONTHLY = 30, 90, 366
DAILY_AT, WEEKLY_AT, RESTORE_AT = time(2, 0, 1), time(1, 0, 1), time(4, 0, 1)

# Runs a line of /etc/cron.d at a moment of a year as cron would: its user, its environment, nothing else.
AT = """
set -eu
line() { awk -v want="$1" -v not="$2" '/^[0-9]/ && $0 ~ want && (not == "" || $0 !~ not)' /etc/cron.d/medaction-* |
    cut -d ' ' -f 7-; }
daily=$(line backup-database.sh weekly) weekly=$(line weekly '') restore=$(line restore-database.sh '')
at() { runuser -u "${3:-medaction-backup}" -- env -i SHELL=/bin/sh PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    HOME=/nonexistent faketime -f "@$1" sh -c "$2"; }
while read -r what moment; do
    case $what in
        daily) at "$moment" "$daily" ;;
        weekly) at "$moment" "$weekly" ;;
        restore) at "$moment" "$restore" root ;;
    esac || { echo "$what at $moment failed"; tail -n 5 /var/log/medaction/*.log; exit 1; }
done
"""


@pytest.fixture
def year(project_copy: Operator) -> Iterator[Operator]:
    """A small database of its own on db1, backed up into a directory of its own, empty still."""
    project_copy.postgres("drop database if exists small", "postgres")
    project_copy.postgres("create database small owner medaction", "postgres")
    project_copy.postgres(
        "create table visites (id serial primary key, motif text);"
        " insert into visites (motif) select 'contrôle n° ' || i from generate_series(1, 500) i;"
        " alter table visites owner to medaction; create extension citext",
        "small",
    )
    group_data = project_copy.checkout / "inventories/group_data/sandbox.py"
    # Roles are in every night's dump alike, and a fifth of such a small one's time.
    changed = 'postgres_database = "small"\nbackup_dir = "/opt/medaction/year"\nbackup_include_globals = False\n'
    group_data.write_text(f"{group_data.read_text()}\n{changed}")
    project_copy.deploy("db1")
    project_copy.read("db1", "apt-get -qq -y install faketime >/dev/null 2>&1")
    project_copy.read("db1", "find /opt/medaction/year -name 'medaction_*' -delete")
    # The real clock's cron has nothing to say in it.
    project_copy.read("db1", "systemctl stop cron")
    yield project_copy
    project_copy.read("db1", "systemctl start cron; rm -r /opt/medaction/year /run/year.sh")
    project_copy.postgres("drop database small", "postgres")


@pytest.mark.parametrize(
    "count", [pytest.param(40, id="forty nights"), pytest.param(365, id="year", marks=pytest.mark.prove)]
)
def test_nights_leave_the_right_files_in_the_right_tiers(
    year: Operator, count: int, proved: Callable[[str], None]
) -> None:
    # The last night is the one that is just over, so that the present can be asked about it afterwards.
    now = datetime.fromisoformat(year.read("db1", "date +%Y-%m-%dT%H:%M:%S").strip())
    last = now.date() if now.time() > time(4, 1) else now.date() - timedelta(days=1)
    nights = [last - timedelta(days=back) for back in range(count - 1, -1, -1)]
    year.on("db1", "cat > /run/year.sh", PrivateInput(AT))
    calendar = _calendar(nights, now)
    done = year.on("db1", "bash /run/year.sh", PrivateInput(calendar), timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr

    sundays = [night for night in nights if night.isoweekday() == 7]
    firsts = [night for night in nights if night == nights[0] or night.day == 1]
    assert _days(year, "") == [night for night in nights if (last - night).days <= DAILY]
    assert _days(year, "weekly") == [night for night in sundays if (sundays[-1] - night).days <= WEEKLY]
    assert _days(year, "monthly") == [night for night in firsts if (last - night).days <= MONTHLY]
    assert year.on("db1", "ls /opt/medaction/year/yearly").returncode != 0  # no such tier by default

    told = year.run(sys.executable, "-m", "provision", "status", "--env", "sandbox", "--limit", "db1", "--json").stdout
    (row,) = json.loads(told[told.index("{\n") :])["hosts"][0]["backups"]
    kept = {tier or "daily": len(_days(year, tier)) for tier in ("", "weekly", "monthly")}
    assert row["kept"] == kept
    tested = row["restore_test"]
    assert (row["database"], row["last_run"], tested["verdict"], tested["tested"][:10]) == (
        "small", "ok", "ok", f"{sundays[-1]}"
    )  # fmt: skip
    newest = max(_moment(last, DAILY_AT, last), _moment(sundays[-1], WEEKLY_AT, last))
    named = datetime.strptime(row["newest_good"], "medaction_%Y-%m-%d_%H-%M-%S.sql.gz")
    assert timedelta() <= named - newest < timedelta(minutes=1)  # as long as the script takes to look at the clock
    hours = (now - newest).total_seconds() / 3600
    assert abs(row["age_seconds"] / 3600 - hours) < 0.5  # the simulation itself takes its minutes
    checked = year.on("db1", "/opt/medaction/scripts/backup-database.sh --check")
    assert checked.returncode == 0, checked.stdout
    tests = calendar.count("restore")
    proved(f"{count} nights, {calendar.count(chr(10)) - tests} backups, {tests} restore tests, {row['kept']} kept")


def _calendar(nights: list[date], now: datetime) -> str:
    """Each backup of the crontab that falls into these nights, one a line, in the order of the clock.

    Of the restore tests, which take longest and change nothing, the first of each month and the last.
    """
    lines = []
    sundays = [night for night in nights if night.isoweekday() == 7]
    for night in nights:
        runs = [("daily", DAILY_AT)]
        if night in sundays:
            runs.insert(0, ("weekly", WEEKLY_AT))
        if night in sundays and (night.day <= 7 or night == sundays[-1]):
            runs.append(("restore", RESTORE_AT))
        moments = [(what, _moment(night, at, nights[-1])) for what, at in runs]
        lines += [f"{what} {moment}" for what, moment in moments if moment < now]
    return "\n".join(lines) + "\n"


def _moment(night: date, at: time, last: date) -> datetime:
    """Each night two seconds earlier than the one before: a dump that is just as old as it may get stays, though
    the run that prunes takes its time."""
    return datetime.combine(night, at) + timedelta(seconds=2 * (last - night).days)


def _days(operator: Operator, tier: str) -> list[date]:
    """The days of a tier's dumps, each of which must be there with its manifest, oldest first."""
    directory = f"/opt/medaction/year/{tier}"
    names = operator.read("db1", f"cd {directory} && ls | grep -x 'medaction_2.*[.]sql[.]gz'").split()
    for name in names:
        operator.read("db1", f"cd {directory} && gzip -t {name} && test -s {name}.json")
    return sorted(datetime.strptime(name[10:20], "%Y-%m-%d").date() for name in names)
