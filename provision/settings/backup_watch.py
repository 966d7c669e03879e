"""Settings of who watches the backups: freshness, failures, restore tests."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from provision.settings import schedule
from provision.settings.fields import AbsolutePath, Count, Host, Line, SecretAddresses, SecretUrl, Time, Weekday


class BackupWatchSettings(BaseModel):
    backup_maximum_age_hours: Count = Field(
        26, description="How old the newest good dump may be before verification and monitoring call it stale."
    )
    backup_failure_hook: Line | Literal[""] = Field(
        "",
        description="A shell command for each failure; its environment holds BACKUP_TIER, BACKUP_STEP, BACKUP_MESSAGE"
        " and BACKUP_EXIT_CODE. Empty: none.",
        examples=['logger -p daemon.err "$BACKUP_TIER: $BACKUP_MESSAGE"'],
    )
    backup_hook: Line | Literal[""] = Field(
        "",
        description="A shell command that the backup user runs before and after each backup of a database, what"
        " happened as JSON on its standard input; it has a minute, and no backup fails by it. Empty: none.",
        examples=["/usr/local/bin/tell-dashboard"],
    )
    backup_ping_url: SecretUrl = Field(
        None,
        description="The address, in healthchecks.io's form, that a Debian host tells when a backup or restore test"
        " begins, and how it or a vault's visit ends: `env:NAME`, `file:PATH`, `command:...`. {name} in it is daily,"
        " weekly, restore-test, vault.",
    )
    notify: SecretAddresses = Field(
        None,
        description="Whom a Debian host tells by Apprise when the state of its backups changes, and once a day as long"
        " as it is not well: `env:NAME`, `file:PATH`, `command:...`; its addresses, separated by blanks.",
    )
    backup_metrics_dir: AbsolutePath | Literal[""] = Field(
        "",
        description="The directory of node_exporter's textfile collector, where Prometheus is told about the backups;"
        " empty: it is told nothing.",
        examples=["/var/lib/prometheus/node-exporter"],
    )
    backup_restore_test_day: Weekday = Field("sunday", description="The day of the weekly restore test.")
    backup_restore_test_at: Time = Field("04:00", description="When the weekly restore test starts, host time.")
    backup_restore_test_maximum_age_days: Count = Field(
        15, description="How old the last good restore test may be before monitoring warns."
    )
    backup_restore_test_on_production: bool = Field(
        False, description="Whether a restore test may use the very server that is backed up."
    )
    backup_restore_test_host: Host | Literal[""] = Field(
        "",
        description="A PostgreSQL server for restore tests, reached with `postgres_host`'s port, role and password."
        " Empty: a temporary server of the same major version on the backup host itself.",
    )
    backup_restore_test_dir: AbsolutePath = Field(
        default_factory=lambda data: f"/var/lib/{data['app_name']}-restore-test",
        validate_default=True,
        description="Where the temporary server of a restore test keeps its data: a directory of root's.",
    )

    @property
    def backup_restore_test(self) -> schedule.Schedule:
        return schedule.weekly(self.backup_restore_test_day, self.backup_restore_test_at)

    @field_validator("backup_restore_test_dir")
    @classmethod
    def _is_nobody_elses(cls, directory: str, info: ValidationInfo) -> str:
        """Root makes and removes directories there, so nobody else may rename what lies on the way to it."""
        for setting in ("app_dir", "backup_dir"):
            other = info.data.get(setting)
            if other is not None and PurePosixPath(directory).is_relative_to(other):
                raise ValueError(
                    f"lies in {setting} = '{other}', which is not root's: name a directory of its own, such as"
                    f" /var/lib/{info.data.get('app_name')}-restore-test"
                )
        return directory

    @field_validator("backup_restore_test_host")
    @classmethod
    def _production_is_spared(cls, host: str, info: ValidationInfo) -> str:
        if host and info.data.get("postgres_mode") == "compose":
            raise ValueError("cannot be reached in postgres_mode = 'compose', which knows one server: leave it empty")
        if host and host == info.data.get("postgres_host") and not info.data.get("backup_restore_test_on_production"):
            raise ValueError(
                "is the production server (postgres_host): name another one, or allow it with"
                " backup_restore_test_on_production = True"
            )
        return host
