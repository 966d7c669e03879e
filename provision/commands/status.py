"""`make status`: the fleet at a glance, the worst first, and what is wrong in words: Redis, backups, restore tests."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gevent.pool import Pool
from pyinfra.api import Host
from pyinfra.context import ctx_host

from provision.backup import layout as backup_layout
from provision.backup.facts import BackupReport, Report, made_at
from provision.commands import table
from provision.commands.health import NOT_ASKED, WORDS, Health, Vault, databases, good, own
from provision.engine import environments, inventory, reach
from provision.engine import run as runs
from provision.engine.private import PrivateInput
from provision.engine.shown import shown
from provision.record import history
from provision.redis.facts import ExporterSilence, Redis, question
from provision.redis.running import in_words
from provision.settings import Settings
from provision.vault.facts import VaultReport
from provision.windows import facts as windows
from provision.windows import layout as windows_layout

NO_ANSWER = "could not be asked"
BY_A_VAULT = "by a vault"  # no key on the backup host opens its dumps
_AT_ONCE = 50
_LAST = 3  # lines of what people did last
SCHEMA_VERSION = 1  # docs/status.md
COLUMNS = (
    "state",
    "host",
    "redis",
    "database",
    "age",
    "restore test",
    "off-site",
    "last run",
    "last good backup",
    "size",
    "kept",
    "next run",
)

# What goes first where the table does not fit. What is wrong stands below it in words.
DISPENSABLE = ("kept", "next run", "last good backup", "size", "last run")


def run(arguments: Namespace) -> int:
    """Print the fleet, or with --json the same for programs. Exit 0 all well, 1 warning, 2 critical, 3 not asked."""
    try:
        healths = fleet(arguments)
    except environments.InventoryError as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_ASKED
    if arguments.json:
        print(json.dumps(document(arguments.env, healths), indent=2).replace("\x7f", "\\u007f"))
    else:
        show(healths)
    return max(health.severity for health in healths)


def fleet(arguments: Namespace, lines: int = 1) -> list[Health]:
    """What every host of the command line says, the worst first; of its history the last lines."""
    environment = inventory.Environment(arguments.env)
    members = environment.chosen(arguments.limit, arguments.skip)
    with runs.connected(environment, [member.name for member in members]) as hosts:
        pairs = list(zip(hosts, members, strict=True))
        asked = Pool(_AT_ONCE).map(lambda pair: health_of(*pair, lines), pairs)
        vaults = [vault for vault in Pool(_AT_ONCE).map(lambda pair: _proven(*pair), pairs) if vault]
    healths = [
        # No vault fetches from a Windows host yet, and none keeps lines of what was done to it.
        replace(each, done=history.here(environment.name, each.member.name, lines)) if each.member.is_windows
        else replace(each, vaults=tuple(vaults))
        for each in asked
    ]  # fmt: skip
    return sorted(healths, key=lambda health: -health.severity)


def show(healths: list[Health]) -> None:
    rows = [row for health in healths for row in rows_of(health)]
    columns = [column for column in COLUMNS if any(row[column] for row in rows)]
    dispensable = [column for column in DISPENSABLE if column in columns]
    table.show(rows, columns, dispensable, "JSON=1 (--json) has them")
    told = [(each, health.member.name) for health in healths for each in health.findings]
    if told:
        print()
    for finding, host in sorted(told, key=lambda pair: -pair[0].severity):
        subject = f"{host} {finding.database}".strip()
        print(shown(f"{WORDS[finding.severity]} {subject}: {finding.what}; {finding.do}"))
    _tell_of_the_last(healths)


def _tell_of_the_last(healths: list[Health]) -> None:
    """The newest of what people did, the same on many hosts told once."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for health in healths:
        if health.last:
            what = f"{health.last['what']} {health.last.get('database', '')}".strip()
            told = (health.last["time"][:16], what, health.last["who"], health.last["result"])
            alike.setdefault(told, []).append(health.member.name)
    if alike:
        print()
    for (time, what, who, result), hosts in sorted(alike.items(), reverse=True)[:_LAST]:
        names = ", ".join(hosts) if len(hosts) <= 3 else f"{len(hosts)} hosts"
        print(shown(f"last done: {time.replace('T', ' ')} UTC, {what} on {names} by {who}: {result}"))


def health_of(host: Host, member: inventory.Member, lines: int = 1) -> Health:
    """What a host says; one that cannot be asked, or gives no answer, is no end for the others."""
    if not host.connected:
        return Health(member, "it could not be connected to, why not stands above")
    settings = member.settings
    with ctx_host.use(host):
        redis, exporter, info, report = "", "", dict[str, str](), None
        if "redis" in member.groups and not member.is_windows:
            password = PrivateInput(question(settings.redis_operator_password.get_secret_value()))
            live = host.get_fact(Redis, port=settings.redis_port, _stdin=password, _ignore_errors=True)
            redis, info = in_words(live), live.info
            if settings.redis_exporter_bind:
                exporter = host.get_fact(
                    ExporterSilence, address=settings.redis_exporter_bind, port=settings.redis_exporter_port,
                    _ignore_errors=True,
                )  # fmt: skip
        if "backup" in member.groups:
            report = ask_backups(host, member)
        done: list[dict[str, str]] = []
        if not member.is_windows:
            files = history.files_of(settings)
            done = host.get_fact(history.LastDone, files=files, most=lines, _ignore_errors=True)
    lost = reach.why_lost(host)
    if lost:
        return Health(member, lost)
    return Health(member, redis=redis, exporter=exporter, report=report, done=done, redis_info=info)


def _proven(host: Host, member: inventory.Member) -> Vault | None:
    """What a vault has of whom; None of a host that is no vault, or does not answer."""
    if "vault" not in member.groups or not host.connected:
        return None
    settings = member.settings
    program = backup_layout.program(settings, "vault.sh")
    beside = (f"{settings.vault_dir}/store", f"{settings.vault_dir}/state", settings.vault_config_dir)
    with ctx_host.use(host):
        report = host.get_fact(VaultReport, program=program, beside=beside, _ignore_errors=True)
    if report is None:
        return Vault(member.name, member.settings, None)
    proven = {(str(each["host"]), each["database"]): each["proven_hours"] for each in report}
    return Vault(member.name, member.settings, proven)


def ask_backups(host: Host, member: inventory.Member) -> Report:
    """A connected host's report on its backups; one without a `now` when it gave none."""
    settings = member.settings
    # One host that refuses to answer is a row of the table, not the end of it.
    if member.is_windows:
        return host.get_fact(
            windows.BackupReport, backup_dir=settings.windows_backup_dir, tiers=windows_layout.tiers(settings),
            pattern=windows_layout.dump_pattern(settings), database=settings.postgres_database, _ignore_errors=True,
        )  # fmt: skip
    return host.get_fact(
        BackupReport, state_dir=settings.backup_state_dir, tiers=_directories(settings),
        programs=settings.backup_program_dir, user=settings.backup_user,
        cron_files=backup_layout.cron_files(settings), _ignore_errors=True,
    )  # fmt: skip


def _directories(settings: Settings) -> dict[str, str]:
    """Where the dumps of each tier lie."""
    longer = ("weekly", "monthly", "yearly")
    return {"daily": settings.backup_dir, **{tier: f"{settings.backup_dir}/{tier}" for tier in longer}}


def rows_of(health: Health) -> list[dict[str, str]]:
    """A host's rows: one; with several databases, one for each of them. The state is that of the row."""
    member, report = health.member, health.report
    row = dict.fromkeys(COLUMNS, "") | {"host": member.name, "redis": health.redis, "state": _state(health, "")}
    if not health.asked:
        return [row]
    if report is None or report.now is None:
        return [row | ({} if report is None else {"last good backup": NO_ANSWER})]
    row["next run"] = f"{_next_run(member.settings, report.now):%a %H:%M}"
    names = databases(member.settings, report)
    return [
        row
        | {"state": _state(health, name), "off-site": _off_site(health, name)}
        | _database_row(name, report, report.now)
        | ({"restore test": BY_A_VAULT} if member.settings.backup_encrypt_local else {})
        for name in names
    ]


def off_site(health: Health, database: str) -> dict[str, str]:
    """How old the newest copy in each vault is that was proven and lacks nothing."""
    return {vault.name: _age_off_site(vault, health.member.name, database) for vault in health.vaults}


def _off_site(health: Health, database: str) -> str:
    ages = off_site(health, database)
    return ", ".join(f"{name} {age}" if len(ages) > 1 else age for name, age in ages.items())


def _age_off_site(vault: Vault, host: str, database: str) -> str:
    hours = vault.hours(host, database)
    if vault.proven is None:
        return NO_ANSWER
    if hours is None:
        return "NONE"
    return f"{hours} h" if hours < 48 else f"{hours // 24} d"


def _state(health: Health, database: str) -> str:
    found = [each.severity for each in health.findings if each.database in ("", database)]
    return WORDS[max(found, default=0)]


def _next_run(settings: Settings, now: datetime) -> datetime:
    return min(schedule.next_after(now) for schedule in (settings.backup_daily, settings.backup_weekly))


def _database_row(database: str, report: Report, now: datetime) -> dict[str, str]:
    dumps, tests = good(database, report), own(database, report.restore_tests)
    kept = {tier: len(own(database, manifests)) for tier, manifests in report.manifests.items()}
    row = {
        "database": database,
        "last good backup": "NONE",
        "age": "NONE",
        "kept": ", ".join(f"{amount} {tier}" for tier, amount in kept.items() if amount),
        "last run": _worst(run["state"] for run in own(database, report.last_runs)),
        "restore test": f"{tests[0]['verdict']} {tests[0]['tested'][:10]}" if tests else "never",
    }
    if dumps:
        row["last good backup"] = dumps[0]["dump"]
        row["age"] = age(now, dumps[0]["dump"])
        row["size"] = size(dumps[0]["bytes"]) + _trend(dumps)
    return row


def document(environment: str, healths: list[Health]) -> dict[str, Any]:
    """What docs/status.md describes."""
    return {
        "version": SCHEMA_VERSION,
        "environment": environment,
        "asked": datetime.now(UTC).isoformat(timespec="seconds"),
        "severity": max(health.severity for health in healths),
        "hosts": [_of_host(health) for health in healths],
    }


def _of_host(health: Health) -> dict[str, Any]:
    report = health.report
    return {
        "host": health.member.name,
        "severity": health.severity,
        "asked": health.asked,
        "redis": health.redis or None,
        "last_done": dict(health.last) or None,
        "backups": [_of_database(name, health, report) for name in databases(health.member.settings, report)]
        if report and report.now
        else [],
        "findings": [vars(finding) for finding in health.findings],
    }


def _of_database(name: str, health: Health, report: Report) -> dict[str, Any]:
    settings = health.member.settings
    dumps, runs_ = good(name, report), own(name, report.last_runs)
    tests = [] if settings.backup_encrypt_local else own(name, report.restore_tests)
    assert report.now is not None
    made = made_at(dumps[0]["dump"]) if dumps else None
    return {
        "database": name,
        "newest_good": dumps[0]["dump"] if dumps else None,
        "made": made.isoformat() if made else None,
        "age_seconds": int((report.now - made).total_seconds()) if made else None,
        "bytes": dumps[0]["bytes"] if dumps else None,
        "kept": {tier: len(own(name, manifests)) for tier, manifests in report.manifests.items()},
        "last_run": _worst(run["state"] for run in runs_),
        "restore_test": {"verdict": tests[0]["verdict"], "tested": tests[0]["tested"]} if tests else None,
        "off_site": {vault.name: vault.hours(health.member.name, name) for vault in health.vaults},
        "next_run": _next_run(settings, report.now).isoformat(),
    }


def _worst(states: Iterable[str]) -> str:
    """Of the last runs of the tiers the one to look at: a failure is not made good by another tier's success."""
    rank = {"running": 1, "failed": 2}
    return max(states, key=lambda state: rank.get(state, 0), default="never")


def age(now: datetime, dump: str) -> str:
    made = made_at(dump)
    assert made is not None
    hours = (now - made).total_seconds() / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} d"


def size(amount: float) -> str:
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
