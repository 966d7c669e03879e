"""Settings of what a backup contains, and in which form it is written."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from provision.settings.fields import Count, Host, Line, Port, matching

Databases = Literal["all"] | Annotated[list[Line], Field(min_length=1)]
Tables = Literal["all", "none"] | Annotated[list[Line], Field(min_length=1)]
# A name as PostgreSQL writes it: in quotes where it is not of small letters, digits and "_" alone.
_NAME = r'(?:[a-z_][a-z0-9_$]*|"(?:[^"\x00-\x1f\x7f]|"")+")'
Exclusion = Annotated[
    str,
    matching(
        rf"schema:{_NAME}|(?:table|data):{_NAME}\.{_NAME}",
        "must be 'table:SCHEMA.TABLE' (no such table), 'data:SCHEMA.TABLE' (the table without its rows) or"
        " 'schema:SCHEMA', each name as PostgreSQL writes it: in double quotes where it has capitals",
    ),
]

# A file's name has 255 bytes at most, and beside what tells the database, at its longest
# `_2026-01-01_02-00-00.sql.zst.restore-test.json.part`, or `….sql.zst.age.properties.json.age.part`
# (files/backup/lib/store.sh: longest_prefix).
_LONGEST_PREFIX, _LONGEST_PREFIX_ENCRYPTED = 204, 198


def too_long_for_files(app_name: str, database: str, *, encrypted: bool) -> str:
    """Why the dumps of a database other than the app's own cannot be named after it: a sentence, or "".

    Each of its bytes but letters, digits, "." and "-" takes three there (`spelt_for_files`).
    """
    prefix = len(app_name) + 1 + len(re.sub(rb"[^A-Za-z0-9.-]", b"%00", database.encode()))
    longest = _LONGEST_PREFIX_ENCRYPTED if encrypted else _LONGEST_PREFIX
    if prefix <= longest:
        return ""
    return (
        f"cannot have dumps of '{database}': their files' names would begin with {prefix} bytes, and 255 in all leave"
        f" {longest} for that: list the databases without it, or give it or the app (app_name) a shorter name"
    )


class BackupContentSettings(BaseModel):
    backup_encrypt_local: bool = Field(
        False,
        description="Whether dumps lie encrypted on the backup host too, from their first byte, to the keys of the"
        " vaults and of `backup_encrypt_to`: then no key on that host opens one, and it is a vault that restores them"
        " as a test.",
    )
    backup_databases: Databases = Field(
        default_factory=lambda data: [data["postgres_database"]],
        description='The databases to dump, each into files of its own: a list of names, or "all".',
        examples=[["medaction", "medaction_audit"]],
    )
    backup_postgres_host: Host = Field(
        default_factory=lambda data: data["postgres_host"],
        description="The server as the backups reach it: past a pooler such as PgBouncer that the app connects to.",
    )
    backup_postgres_port: Port = Field(
        default_factory=lambda data: data["postgres_port"], description="The TCP port of `backup_postgres_host`."
    )
    backup_format: Literal["plain", "plain-zstd", "custom", "directory"] = Field(
        "plain",
        description="How a dump is written: SQL in .sql.gz or .sql.zst, or pg_dump's own custom or directory format.",
    )
    backup_parallel_jobs: Count = Field(
        1, description="How many tables are dumped (directory) or restored (custom, directory) at a time."
    )
    backup_include_globals: bool = Field(
        True, description="Whether roles and their memberships are saved beside each dump."
    )
    backup_count_tables: Tables = Field(
        "all",
        description='Whose rows the manifest counts, for restore tests to compare: "all", "none" or table names.',
        examples=[["public.patients", "public.reclamations"]],
    )
    backup_size_change_percent: Count = Field(
        50, description="By how much a dump's size or a table's rows may fall before the dump is suspect."
    )
    backup_volatile_tables: list[Line] = Field(
        default_factory=list,
        description="Tables whose rows come and go, such as sessions and queues: losing them is no alarm.",
    )
    backup_exclude: list[Exclusion] = Field(
        default_factory=list,
        description="What no dump holds: `table:public.audit`, `data:public.sessions` (the table without its rows),"
        " `schema:archive`. What something else in the dump needs stays in it, and that is told.",
        examples=[["table:public.audit", "data:public.sessions"]],
    )
    backup_reserve_mb: Count = Field(
        100,
        description="How many MiB must stay free on the disk of the dumps; a backup does not start with less.",
    )
    backup_lock_wait_seconds: Count = Field(
        60, description="How long a dump waits for a table that a migration holds before it gives up."
    )

    @property
    def backup_suffix(self) -> str:
        """How a dump's name ends; what accompanies it adds `.json`, `.globals.gz`, `.restore-test.json`."""
        endings = {"plain": ".sql.gz", "plain-zstd": ".sql.zst", "custom": ".dump", "directory": ".dir"}
        return endings[self.backup_format] + (".age" if self.backup_encrypt_local else "")

    @field_validator("backup_databases")
    @classmethod
    def _hold_the_apps_own(cls, names: list[str] | str, info: ValidationInfo) -> list[str] | str:
        own = info.data.get("postgres_database")
        if names != "all" and own is not None and own not in names:
            raise ValueError(f"lacks the app's own, postgres_database = '{own}': add it, or set postgres_database")
        if names != "all" and (len({*names}) < len(names) or "all" in names):
            again = next((name for name in names if name == "all" or names.count(name) > 1), "")
            told = (
                '"all" in a list: it stands alone, backup_databases = "all"' if again == "all" else f"'{again}' twice"
            )
            raise ValueError(f"holds {told}")
        for name in names if names != "all" else []:
            encrypted = bool(info.data.get("backup_encrypt_local"))
            told = too_long_for_files(info.data.get("app_name", ""), name, encrypted=encrypted) if name != own else ""
            if told:
                raise ValueError(told)
        return names

    @field_validator("backup_format")
    @classmethod
    def _format_suits_the_mode(cls, form: str, info: ValidationInfo) -> str:
        mode = info.data.get("postgres_mode", "direct")
        if form == "directory" and mode != "direct":
            raise ValueError(
                f"needs postgres_mode = 'direct': in mode '{mode}' pg_dump writes inside a container; use 'custom'"
            )
        if form == "directory" and info.data.get("backup_encrypt_local"):
            raise ValueError(
                "is many files that pg_dump writes by itself, so they would lie in plain: with backup_encrypt_local ="
                " True use 'custom'"
            )
        return form

    @field_validator("backup_parallel_jobs")
    @classmethod
    def _jobs_have_work(cls, jobs: int, info: ValidationInfo) -> int:
        form = info.data.get("backup_format", "")
        if jobs > 1 and form in ("plain", "plain-zstd"):
            raise ValueError(
                f"has no effect on backup_format = '{form}': leave it at 1, or use 'directory' or 'custom'"
            )
        return jobs
