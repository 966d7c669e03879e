"""Settings of the application itself: its name, which every path derives from, and its `.env`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from provision.settings.fields import AbsolutePath, EnvironmentName, EnvironmentValue, Name, User

# Directories of /etc and /var/log that belong to packages: `/etc/<app_name>` is made ours, owner and mode.
_TAKEN = frozenset(
    [
        "alternatives", "apache2", "apparmor", "apt", "audit", "ca-certificates", "containerd", "dbus-1", "default",
        "dhcp", "docker", "dpkg", "fonts", "grub", "gss", "init", "iproute2", "iptables", "journal", "kernel", "ldap",
        "logrotate", "lvm", "modprobe", "netplan", "network", "nginx", "opt", "pam", "perl", "php", "postfix",
        "postgresql", "postgresql-common", "ppp", "profile", "python3", "redis", "rsyslog", "security", "selinux",
        "sensors", "skel", "ssh", "ssl", "sudoers", "supervisor", "sysctl", "systemd", "terminfo", "ucf", "udev",
        "ufw", "vim", "xdg",
    ]
)  # fmt: skip


def _not_taken(value: str) -> str:
    if value in _TAKEN:
        raise ValueError(f"would take over /etc/{value}, which is the system's: choose another name")
    return value


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
