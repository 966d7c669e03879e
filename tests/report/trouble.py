"""A fleet that has every kind of trouble at once, as its hosts would tell of it; no host is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import SecretStr

from provision.backup.facts import Report
from provision.commands.health import Health, Vault
from provision.engine.inventory import Member
from provision.settings import Settings, check

NOW = datetime(2026, 6, 15, 14, 0, 1)
HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e&\"'"
INFO = {
    "redis_version": "8.0.2", "used_memory": "46137344", "maxmemory": "268435456", "connected_clients": "24",
    "maxclients": "1000", "rejected_connections": "3", "acl_access_denied_auth": "2", "acl_access_denied_cmd": "0",
    "acl_access_denied_key": "1", "acl_access_denied_channel": "0", "evicted_keys": "0",
}  # fmt: skip


def settings(**values: object) -> Settings:
    checked = check(values, lambda name, _: SecretStr(f"zq-{name}-9f3"))
    assert isinstance(checked, Settings), checked
    return checked


def member(name: str, *groups: str, **values: object) -> Member:
    return Member(name, groups, settings(**values), {})


def dump(made: datetime, database: str = "medaction", **more: Any) -> dict[str, Any]:
    prefix = "medaction" if database == "medaction" else f"medaction-{database}"
    name = f"{prefix}_{made:%Y-%m-%d_%H-%M-%S}.sql.gz"
    return {"dump": name, "database": database, "bytes": 52_000_000, "started": f"{made:%Y-%m-%dT%H:%M:%S}Z"} | more


def nights(amount: int, database: str = "medaction", late: int = 0) -> list[dict[str, Any]]:
    """So many, the newest first, growing a little."""
    found = []
    for night in range(late, late + amount):
        size = 52_000_000 - 200_000 * night + int(1_500_000 * math.sin(night))
        found.append(dump(NOW - timedelta(days=night, hours=12), database, bytes=size, seconds=40 + 7 * (night % 5)))
    return found


def tested(database: str, verdict: str, day: str = "2026-06-14", **more: Any) -> dict[str, Any]:
    return {"database": database, "verdict": verdict, "tested": f"{day}T04:12:00Z", "dump": "", **more}


def run(database: str, state: str, message: str = "") -> dict[str, Any]:
    return {"database": database, "tier": "daily", "state": state, "message": message}


def report(
    manifests: list[dict[str, Any]], runs: list[dict[str, Any]], tests: list[dict[str, Any]], unread: Mapping[str, int]
) -> Report:
    tiers = {"daily": tuple(manifests), "weekly": tuple(manifests[::7]), "monthly": tuple(manifests[-1:])}
    return Report(NOW, tuple(runs), tuple(tests), tiers, unread)


def done(time: str, what: str, who: str, result: str = "ok", **more: str) -> dict[str, str]:
    return {"time": time, "what": what, "who": who, "result": result, **more}


def fleet() -> list[Health]:
    """The worst first."""
    suspect = nights(12, "archive")
    suspect[0] |= {"suspect": "table visits has 0 rows, it had 41233", "bytes": 9_000_000}
    trouble = report(
        [*nights(30, late=2), *suspect, *nights(3, HOSTILE)],
        [run("medaction", "failed", "pg_dump: error: connection to server failed: Connection refused"),
         run("archive", "ok"), run(HOSTILE, "ok")],
        [tested("medaction", "failed", message="relation public.visits has 12 rows less than its dump"),
         tested("archive", "ok", "2026-05-12")],
        {"daily": 2},
    )  # fmt: skip
    well = report(nights(60), [run("medaction", "ok")], [tested("medaction", "ok")], {})
    deployed = done("2026-06-15T09:30:00Z", "deploy", "anna@laptop")
    proven = {("db1", "medaction"): 60, ("db1", "archive"): 9, ("db2", "medaction"): 9}
    vault, silent = (Vault(name, settings(), what) for name, what in (("vault1", proven), ("vault2", None)))
    failed = done("2026-06-14T16:02:00Z", "deploy", "ben@laptop", "failed: Check redis.conf")
    return [
        Health(member("app2", "app"), lost="gave no sign of life for 45 s"),
        Health(member("vault2", "vault"), vaults=(silent,)),
        Health(
            member("db1", "backup", backup_databases="all"), report=trouble, vaults=(vault, silent),
            done=(done("2026-06-14T17:40:00Z", "restore", "root@db1", database="archive"), deployed),
        ),
        Health(member("redis2", "redis"), redis="up, refuses writes: its memory is full (OOM)",
               redis_info=INFO | {"used_memory": "268435456", "redis_version": HOSTILE}, done=(failed,)),
        Health(member("redis3", "redis"), redis="DOWN"),
        Health(member("db2", "backup"), report=well, vaults=(vault, silent), done=(deployed,)),
        Health(member("redis1", "app", "redis"), redis="up", redis_info=INFO, done=(deployed,)),
        Health(member("vault1", "vault"), vaults=(vault,), done=(deployed,)),
    ]  # fmt: skip
