"""Settings of the backups: where they lie, when they run, how long they stay."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from provision.settings import schedule
from provision.settings.app import AppSettings
from provision.settings.backup_content import BackupContentSettings
from provision.settings.backup_watch import BackupWatchSettings
from provision.settings.fields import AbsolutePath, Count, Days, Time, User, Weekday

DaysOrNever = Annotated[int, Field(strict=True, ge=0, le=36500)]


class BackupTierSettings(AppSettings):
    backup_dir: AbsolutePath = Field(
        default_factory=lambda data: f"{data['app_dir']}/backups", description="Where the dumps are kept."
    )
    backup_user: User = Field(
        default_factory=lambda data: f"{data['app_name']}-backup"[:32],
        validate_default=True,
        description="The system user that runs the backups and owns the dumps.",
    )
    backup_daily_at: Time = Field("02:00", description="When the daily backup starts, host time.")
    backup_daily_retention_days: Days = Field(30, description="How many days a daily dump is kept.")
    backup_weekly_day: Weekday = Field("sunday", description="The day of the weekly backup.")
    backup_weekly_at: Time = Field(
        "01:00", validate_default=True, description="When the weekly backup starts, host time."
    )
    backup_weekly_retention_days: Days = Field(
        90, validate_default=True, description="How many days a weekly dump is kept."
    )
    backup_minimum_kept: Count = Field(
        3, description="How many good dumps of each tier stay, however old they are; a tier may have its own number."
    )
    backup_monthly_retention_days: DaysOrNever = Field(
        366, description="How many days the first dump of a month is kept; 0: there is no monthly tier."
    )
    backup_yearly_retention_days: DaysOrNever = Field(
        0, description="How many days the first dump of a year is kept; 0: there is no yearly tier."
    )
    backup_daily_minimum_kept: Count = Field(
        default_factory=lambda data: data["backup_minimum_kept"],
        description="How many good daily dumps stay, however old they are.",
    )
    backup_weekly_minimum_kept: Count = Field(
        default_factory=lambda data: data["backup_minimum_kept"],
        description="How many good weekly dumps stay, however old they are.",
    )
    backup_monthly_minimum_kept: Count = Field(
        default_factory=lambda data: data["backup_minimum_kept"],
        description="How many good monthly dumps stay, however old they are.",
    )
    backup_yearly_minimum_kept: Count = Field(
        default_factory=lambda data: data["backup_minimum_kept"],
        description="How many good yearly dumps stay, however old they are.",
    )

    @property
    def backup_program_dir(self) -> str:
        """What cron and root run: nobody but root may write there, unlike in the app's directory."""
        return f"/usr/local/lib/{self.app_name}"

    @property
    def backup_config_dir(self) -> str:
        """What the scripts read and nobody else may."""
        return f"/etc/{self.app_name}"

    @property
    def backup_pgpass_file(self) -> str:
        return f"{self.backup_config_dir}/pgpass"

    @property
    def backup_recipients_file(self) -> str:
        """Whose public keys copies, and with `backup_encrypt_local` the dumps themselves, are encrypted to."""
        return f"{self.backup_program_dir}/recipients"

    @property
    def dump_role_file(self) -> str:
        """The SQL that makes `postgres_backup_user`; it holds what PostgreSQL keeps of its password."""
        return f"{self.backup_config_dir}/dump-role.sql"

    @property
    def backup_log_dir(self) -> str:
        return f"/var/log/{self.app_name}"

    @property
    def backup_log(self) -> str:
        return f"{self.backup_log_dir}/backup.log"

    @property
    def backup_weekly_log(self) -> str:
        return f"{self.backup_log_dir}/backup-weekly.log"

    @property
    def backup_logs(self) -> list[str]:
        """What cron's runs append to: it must be theirs before the first of them."""
        return [self.backup_log, self.backup_weekly_log, f"{self.backup_log_dir}/restore-test.log"]

    @property
    def backup_state_dir(self) -> str:
        """What the runs write about themselves: status.json before and after each, restore-test.json."""
        return f"/var/lib/{self.app_name}-backup"

    @property
    def backup_restore_test_user(self) -> str:
        """Who restores dumps to test them, and may read nothing else: neither dumps, nor passwords."""
        return f"{self.app_name[:19]}-restore-test"

    @property
    def backup_status_file(self) -> str:
        return f"{self.backup_state_dir}/status.json"

    @property
    def backup_daily(self) -> schedule.Schedule:
        return schedule.daily(self.backup_daily_at)

    @property
    def backup_weekly(self) -> schedule.Schedule:
        return schedule.weekly(self.backup_weekly_day, self.backup_weekly_at)

    # Rules across settings hang on one field each, see redis.py.
    @field_validator("backup_dir")
    @classmethod
    def _does_not_hold_the_app(cls, directory: str, values: ValidationInfo) -> str:
        app_dir = values.data.get("app_dir", "")
        if f"{app_dir}/".startswith(f"{directory}/"):
            raise ValueError(f"holds app_dir = '{app_dir}', which is the app's: name a directory of the dumps alone")
        return directory

    @field_validator("backup_user")
    @classmethod
    def _is_not_the_apps(cls, user: str, values: ValidationInfo) -> str:
        if user == values.data.get("app_user"):
            raise ValueError("is app_user too: the app could delete its backups")
        if user == "root":
            raise ValueError("must be a user of its own, not root: what is restored and dumped would run as root")
        return user

    @field_validator("backup_weekly_at")
    @classmethod
    def _does_not_meet_the_daily_run(cls, at: str, values: ValidationInfo) -> str:
        if at == values.data.get("backup_daily_at"):
            raise ValueError("is backup_daily_at too: the two runs would meet; move one of them by an hour")
        return at

    @field_validator("backup_weekly_retention_days")
    @classmethod
    def _is_not_shorter_than_the_daily_one(cls, days: int, values: ValidationInfo) -> int:
        daily = values.data.get("backup_daily_retention_days", 0)
        if days < daily:
            raise ValueError(f"is shorter than backup_daily_retention_days = {daily}: weekly dumps are kept longer")
        return days


class BackupSettings(BackupWatchSettings, BackupContentSettings, BackupTierSettings):
    """All settings of the backups: the tiers, what is in a dump, who watches."""

    @property
    def backup_latest(self) -> str:
        """The link to the newest good dump of all tiers."""
        return f"{self.backup_dir}/{self.app_name}_latest{self.backup_suffix}"
