"""Settings of the application itself: its name, which every path derives from, and its `.env`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo, field_validator

from provision.settings.fields import AbsolutePath, EnvironmentName, EnvironmentValue, Name, User

# Directories of /etc and /var/log that belong to packages: `/etc/<app_name>` is made ours, owner and mode.
_TAKEN = frozenset(
    [
        "alternatives", "apache2", "apparmor", "apt", "audit", "ca-certificates", "containerd", "dbus-1", "default",
        "dhcp", "docker", "dpkg", "fonts", "grub", "gss", "init", "iproute2", "iptables", "journal", "kernel", "ldap",
        "logrotate", "lvm", "modprobe", "netplan", "network", "nginx", "opt", "pam", "perl", "php", "postfix",
        "postgresql", "postgresql-common", "ppp", "profile", "python3", "redis", "rsyslog", "security", "selinux",
        "sensors", "skel", "ssh", "ssl", "sudoers", "supervisor", "sysctl", "systemd", "terminfo", "ucf", "udev",
        "ufw", "valkey", "vim", "xdg",
    ]
)  # fmt: skip


def _not_taken(value: str) -> str:
    if value in _TAKEN:
        raise ValueError(f"would take over /etc/{value}, which is the system's: choose another name")
    return value


# How the names of users and groups that others of our services have end, after app_name.
_OTHERS_USERS = ("redis", "exporter", "restore-test", "vault", "offsite")


def others_user(user: str, app_name: str) -> str:
    """Why a user cannot be one of its own: a sentence, or ""."""
    names = {f"{app_name}-{ending}"[:32] for ending in _OTHERS_USERS} | {f"{app_name[:19]}-restore-test"}
    return "is the user of another service of this app: choose another name" if user in names else ""


# Below these a deploy gives nothing to anybody: programs that root runs, the system's own settings and data.
_OF_THE_SYSTEM = re.compile(
    r"(/etc|/bin|/boot|/dev(?!/shm/)|/lib\w*|/proc|/run|/sbin|/sys|/root/\.\w+|/usr/(?!local/)\w+|/var/(spool|backups)"
    r"|/usr/local/(bin|etc|include|lib|sbin|share)|/var/lib/(apt|docker|dpkg|postgresql|redis|systemd|valkey))(?=/|$)"
)


def own_directory(path: str, app_name: str) -> str:
    """The directory of the system's, or of root's and called after the app, that a path is, lies in or holds."""
    if found := _OF_THE_SYSTEM.match(path):
        return found[0]
    below = [f"/etc/{app_name}", f"/usr/local/lib/{app_name}", f"/var/log/{app_name}"]
    roots = [
        *below,
        *(f"/etc/{app_name}-{ending}" for ending in ("redis", "redis-exporter", "vault", "offsite")),
        *(f"/var/lib/{app_name}-{ending}" for ending in ("backup", "deploy", "redis", "redis-scripts")),
    ]
    return next((each for each in roots if f"{path}/".startswith(f"{each}/") or f"{each}/".startswith(f"{path}/")), "")


class AppSettings(BaseModel):
    app_name: Annotated[Name, AfterValidator(_not_taken)] = Field(
        "medaction", description="The app's name; every path, user and file name derives from it."
    )
    app_dir: AbsolutePath = Field(
        default_factory=lambda data: f"/opt/{data['app_name']}",
        description="Where the app lives on a host.",
    )
    app_user: User = Field(
        default_factory=lambda data: data["app_name"],
        description="The system user that the app runs as; it may read `.env`, never the backups.",
    )
    app_env: dict[EnvironmentName, EnvironmentValue] = Field(
        default_factory=dict,
        description="Further variables for the app's `.env`, written as they stand; a plan tells which of its"
        " readers take one for something else.",
        examples=[{"NODE_ENV": "production"}],
    )

    @field_validator("app_dir", "backup_dir", "vault_dir", "backup_restore_test_dir", check_fields=False)
    @classmethod
    def _is_no_directory_of_roots(cls, path: str, values: ValidationInfo) -> str:
        if there := own_directory(path, values.data.get("app_name", "")):
            raise ValueError(f"meets {there}, which is root's or the system's: choose another directory")
        return path

    @field_validator("app_user", "backup_user", check_fields=False)
    @classmethod
    def _is_of_no_other_service(cls, user: str, values: ValidationInfo) -> str:
        if told := others_user(user, values.data.get("app_name", "")):
            raise ValueError(told)
        return user
