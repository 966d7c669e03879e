"""Settings of Windows hosts: where things lie there, and how the Task Scheduler runs the backups."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo, field_validator

from provision.settings.fields import Count, Line, matching


def _windows_path(value: str) -> str:
    parts = value.split("\\")
    whole = len(parts) > 1 and len(parts[0]) == 2 and parts[0][0].isalpha() and parts[0][1] == ":"
    # A "%" would be expanded in a task's arguments, and the rest is what Windows allows in no name.
    if not whole or any(mark in value[2:] for mark in '/:*?"<>|%') or any(part in ("", ".", "..") for part in parts):
        raise ValueError(r"must be a path such as C:\MedAction, with a drive, without '..', / : * ? \" < > | %")
    if any(ord(letter) < 32 for letter in value) or any(part != part.rstrip(" .") for part in parts):
        raise ValueError("must hold no line break, and no part that ends with a space or a dot")
    # The longest that a run makes of it, 80 more, must fit into the 259 characters that PostgreSQL's programs take.
    if len(value) > 160:
        raise ValueError("must be at most 160 characters long: PostgreSQL's programs take paths of 259")
    return value


# Windows' own, which a deploy would give other rights.
_OF_WINDOWS = re.compile(
    r"[a-z]:\\(windows|program files|program files \(x86\)|users|programdata|recovery|\$recycle\.bin"
    r"|system volume information)(\\(system32|syswow64|public|default|microsoft|[^\\]*-deploy)(\\.*)?)?",
    re.IGNORECASE,
)


def _below(path: str, directory: str) -> bool:
    return f"{path}\\".lower().startswith(f"{directory}\\".lower())


WindowsPath = Annotated[str, AfterValidator(_windows_path)]
WindowsName = Annotated[str, matching(r"[A-Za-z][A-Za-z0-9 _-]{0,39}", "must be letters, digits, spaces, '_' and '-'")]
# The spelling of the guide; any other name is made of its parts.
_SPELT = {"medaction": "MedAction"}


def _name(data: dict[str, Any]) -> str:
    name: str = data["app_name"]
    return _SPELT.get(name) or "".join(part.capitalize() for part in name.split("-"))


class WindowsSettings(BaseModel):
    windows_name: WindowsName = Field(
        default_factory=_name, description="The app's name as Windows shows it: its folder, its tasks."
    )
    windows_app_dir: WindowsPath = Field(
        default_factory=lambda data: rf"C:\{data['windows_name']}", description="Where the app lives on a Windows host."
    )
    windows_backup_dir: WindowsPath = Field(
        default_factory=lambda data: rf"{data['windows_app_dir']}\backups",
        description="Where a Windows host keeps its dumps.",
    )
    windows_app_account: Line | None = Field(
        None,
        description="The Windows account that the app runs as, such as `WIN1\\medaction`: it may read `.env`, and write"
        " in the app's directory.",
    )
    windows_pg_dump: WindowsPath | None = Field(
        None, description="The pg_dump.exe to use; by default the one where PostgreSQL's installer puts it."
    )
    windows_allow_winget: bool = Field(
        False, description="Whether winget may install PostgreSQL where a Windows host has no pg_dump.exe."
    )
    windows_winget_package: Line = Field(
        "PostgreSQL.PostgreSQL.17",
        description="The package that winget installs where `windows_allow_winget` lets it: of the server's own major"
        " version.",
    )
    windows_task_user: Line = Field(
        "SYSTEM", description="The account that the backup tasks run as; it needs no password here."
    )
    windows_task_time_limit_hours: Count = Field(12, description="After how many hours a backup is ended by Windows.")
    windows_task_random_delay_minutes: Annotated[int, Field(strict=True, ge=0, le=1440)] = Field(
        0, description="How many minutes later, at random, a backup may start, so that hosts do not start at once."
    )

    @field_validator("windows_app_dir", "windows_backup_dir")
    @classmethod
    def _is_not_of_windows(cls, path: str, _: ValidationInfo) -> str:
        if _OF_WINDOWS.fullmatch(path):
            raise ValueError("is Windows' own: name a directory of its own, to which a deploy gives an access list")
        return path

    @field_validator("windows_backup_dir")
    @classmethod
    def _is_of_the_dumps_alone(cls, path: str, values: ValidationInfo) -> str:
        app = values.data.get("windows_app_dir")
        for other in [app, *(rf"{app}\{name}" for name in ("config", "logs", "scripts"))] if app else []:
            if _below(other, path) or (other != app and _below(path, other)):
                raise ValueError(f"meets {other}, which has another access list: name a directory of the dumps alone")
        return path

    @property
    def windows_config_dir(self) -> str:
        """What the scripts read and nobody but administrators may."""
        return rf"{self.windows_app_dir}\config"

    @property
    def windows_pgpass_file(self) -> str:
        return rf"{self.windows_config_dir}\pgpass.conf"

    @property
    def windows_log_dir(self) -> str:
        return rf"{self.windows_app_dir}\logs"

    @property
    def windows_script_dir(self) -> str:
        return rf"{self.windows_app_dir}\scripts"

    @property
    def windows_env_file(self) -> str:
        return rf"{self.windows_app_dir}\.env"

    @property
    def windows_task_folder(self) -> str:
        return rf"\{self.windows_name}"
