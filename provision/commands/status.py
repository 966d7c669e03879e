"""`make status`: one table of the fleet: each host's Redis, last good backup, last restore test, next run."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pyinfra.api import Host
from pyinfra.context import ctx_host

from provision.backup import layout as backup_layout
from provision.backup.facts import BackupReport, Report
from provision.commands import table
from provision.engine import inventory
from provision.engine import run as runs
from provision.engine.private import PrivateInput
from provision.redis.facts import Redis, question
from provision.redis.running import in_words
from provision.settings import Settings
from provision.vault.facts import VaultReport
from provision.windows import facts as windows
from provision.windows import layout as windows_layout

NO_ANSWER = "could not be asked"
COLUMNS = (
    "host",
    "redis",
    "database",
    "last good backup",
    "age",
    "size",
    "kept",
    "last run",
    "restore test",
    "off-site",
    "next run",
)

# What goes first where the table does not fit.
DISPENSABLE = ("kept", "size", "next run", "database", "restore test", "age")


def run(arguments: Namespace) -> int:
    """Print the table, or with --json the same as JSON. Exit 1 when a host could not be asked."""
    environment = inventory.Environment(arguments.env)
    members = {member.name: member for member in environment.chosen(arguments.limit, arguments.skip)}
    with runs.connected(environment, members) as hosts:
        rows = [row for host in hosts for row in rows_of(members[host.name], *_ask(host, members[host.name]))]
        add_off_site(rows, _ask_vaults(hosts, members))
    if arguments.json:
        print(json.dumps(rows, indent=2))
    else:
        table.show(rows, COLUMNS, DISPENSABLE, "JSON=1 (--json) has them")
    return 1 if any(row["redis"] == "unreachable" or row["last good backup"] == NO_ANSWER for row in rows) else 0


def _ask(host: Host, member: inventory.Member) -> tuple[str, Report | None]:
    if not host.connected:
        return "unreachable", None
    settings = member.settings
    with ctx_host.use(host):
        redis, report = "", None
        if "redis" in member.groups and not member.is_windows:
            password = PrivateInput(question(settings.redis_operator_password.get_secret_value()))
            live = host.get_fact(Redis, port=settings.redis_port, _stdin=password)
            redis = in_words(live)
        if "backup" in member.groups:
            report = ask_backups(host, member)
        return redis, report


def _ask_vaults(hosts: list[Host], members: dict[str, inventory.Member]) -> dict[str, list[dict[str, Any]]]:
    """What each vault among these hosts has to report, by its name; nothing of one that did not answer."""
    reports = {}
    for host in hosts:
        if "vault" in members[host.name].groups and host.connected:
            program = backup_layout.program(members[host.name].settings, "vault.sh")
            with ctx_host.use(host):
                reports[host.name] = host.get_fact(VaultReport, program=program, _ignore_errors=True)
    return reports


def add_off_site(rows: list[dict[str, str]], reports: dict[str, list[dict[str, Any]]]) -> None:
    """Say in each database's row how old the newest copy in each vault is that was proven and lacks nothing."""
    for row in rows:
        told = []
        for vault, report in reports.items() if row["database"] else ():
            own = [each for each in report if (each["host"], each["database"]) == (row["host"], row["database"])]
            hours = own[0]["proven_hours"] if own else None
            age = "NONE" if hours is None else f"{hours} h" if hours < 48 else f"{hours // 24} d"
            told.append(f"{vault} {age}" if len(reports) > 1 else age)
        row["off-site"] = ", ".join(told)


def ask_backups(host: Host, member: inventory.Member) -> Report:
    """A connected host's report on its backups; one without a `now` when it gave none."""
    settings = member.settings
    # One host that refuses to answer is a row of the table, not the end of it.
    if member.is_windows:
        return host.get_fact(
            windows.BackupReport, backup_dir=settings.windows_backup_dir, tiers=windows_layout.tiers(settings),
            pattern=windows_layout.dump_pattern(settings), database=settings.postgres_database, _ignore_errors=True,
        )  # fmt: skip
    tiers = _directories(settings)
    return host.get_fact(BackupReport, state_dir=settings.backup_state_dir, tiers=tiers, _ignore_errors=True)


def _directories(settings: Settings) -> dict[str, str]:
    """Where the dumps of each tier lie."""
    longer = ("weekly", "monthly", "yearly")
    return {"daily": settings.backup_dir, **{tier: f"{settings.backup_dir}/{tier}" for tier in longer}}


def rows_of(member: inventory.Member, redis: str, report: Report | None) -> list[dict[str, str]]:
    """A host's rows: one; with several databases, one for each of them."""
    row = dict.fromkeys(COLUMNS, "") | {"host": member.name, "redis": redis}
    if report is None:
        return [row]
    if report.now is None:
        return [row | {"last good backup": NO_ANSWER}]
    schedules = (member.settings.backup_daily, member.settings.backup_weekly)
    row["next run"] = f"{min(schedule.next_after(report.now) for schedule in schedules):%a %H:%M}"
    return [row | _database_row(name, report, report.now) for name in _databases(member.settings, report)]


def _databases(settings: Settings, report: Report) -> list[str]:
    """Those that are to be backed up; where that means all, those that were, the app's own first."""
    if settings.backup_databases != "all":
        return list(settings.backup_databases)
    dumps = [manifest for manifests in report.manifests.values() for manifest in manifests]
    seen = {each["database"] for each in (*dumps, *report.last_runs)} - {settings.postgres_database}
    return [settings.postgres_database, *sorted(seen)]


def _database_row(database: str, report: Report, now: datetime) -> dict[str, str]:
    def own(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        return [entry for entry in entries if entry.get("database") == database]

    tiers = {tier: own(manifests) for tier, manifests in report.manifests.items()}
    # Those of the longer tiers are some of these by a second name.
    made = sorted(tiers.get("daily", []) + tiers.get("weekly", []), key=lambda one: one["started"], reverse=True)
    last_runs, tests = own(report.last_runs), own(report.restore_tests)
    row = {
        "database": database,
        "last good backup": "NONE",
        "kept": ", ".join(f"{len(manifests)} {tier}" for tier, manifests in tiers.items() if manifests),
        "last run": _worst(run["state"] for run in last_runs),
        "restore test": f"{tests[0]['verdict']} {tests[0]['tested'][:10]}" if tests else "never",
    }
    if made:
        row["last good backup"] = made[0]["dump"]
        row["age"] = _age(now, made[0]["dump"])
        row["size"] = _size(made[0]["bytes"]) + _trend(made)
    return row


def _worst(states: Iterable[str]) -> str:
    """Of the last runs of the tiers the one to look at: a failure is not made good by another tier's success."""
    rank = {"running": 1, "failed": 2}
    return max(states, key=lambda state: rank.get(state, 0), default="never")


def _age(now: datetime, dump: str) -> str:
    stamp = dump.rsplit("_", 2)[1:]  # NAME_YYYY-MM-DD_HH-MM-SS.sql.gz, by the host's own clock
    made = datetime.strptime(f"{stamp[0]}_{stamp[1][:8]}", "%Y-%m-%d_%H-%M-%S")
    hours = (now - made).total_seconds() / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} d"


def _size(amount: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def _trend(manifests: list[dict[str, Any]]) -> str:
    """How much larger the newest dump is than the median of the seven before it."""
    before = sorted(manifest["bytes"] for manifest in manifests[1:8])
    if not before or not before[len(before) // 2]:
        return ""
    return f" ({(manifests[0]['bytes'] / before[len(before) // 2] - 1) * 100:+.0f} %)"
