"""What the app finds on its host, rendered: its directories, its `.env`, the limiters' module. Pure."""

from __future__ import annotations

import re

from provision.app.readers import quoted
from provision.debian.entries import Directory, Entry, File
from provision.postgres import layout as postgres
from provision.postgres import tls
from provision.settings import Settings
from provision.settings.render import plain, render, reveal, url


def directory(settings: Settings, group: str) -> Directory:
    # Whoever may write here may still not rename or delete what others own (the sticky bit): the backups.
    return Directory(settings.app_dir, "root", group, 0o1775, formerly=(settings.app_user,))


def files(settings: Settings) -> list[Entry]:
    """The app's directories and the limiters' module. `.env` is merged on the host: see `variables`."""
    group, root = settings.app_user, settings.app_dir
    return [
        directory(settings, group),
        *(
            Directory(f"{root}/{path}", "root", group, 0o1775, formerly=(settings.app_user,))
            for path in ("lib", "lib/security")
        ),
        *postgres.root_certificate(settings),
        *(File(f"{root}/{path}", text, "root", group, 0o644) for path, text in limiters(settings).items()),
    ]


def limiters(settings: Settings) -> dict[str, str]:
    """The limiters' module and its table of limits: path below the app's directory to text."""
    library = plain("redis/rate-limit.lua")
    script = re.search(r"^local function take\b.*?^end$", library, re.MULTILINE | re.DOTALL)
    assert script, "files/redis/rate-limit.lua has no function `take`"
    return {
        "lib/security/rate-limits.ts": render("app/rate-limits.ts.j2", settings, script=script[0]),
        "lib/security/rate-limiter-redis.ts": plain("app/rate-limiter-redis.ts"),
    }


def env_file(settings: Settings) -> str:
    return f"{settings.app_dir}/.env"


def variables(settings: Settings) -> dict[str, str]:
    """The variables of `.env` that are ours, quoted."""
    return {name: quoted(value) for name, value in values(settings).items()}


def values(settings: Settings) -> dict[str, str]:
    """What they hold. Passwords only inside URLs, where every reader agrees."""
    redis = f"{settings.redis_user}:{url(reveal(settings.redis_password))}"
    role = f"{url(settings.postgres_user)}:{url(reveal(settings.postgres_password))}"
    database = f"{_in_url(settings.postgres_host)}:{settings.postgres_port}/{url(settings.postgres_database)}"
    return {
        "REDIS_URL": f"{'rediss' if settings.redis_tls else 'redis'}://{redis}@{_in_url(settings.redis_host)}:{settings.redis_port}",
        "DATABASE_URL": f"postgresql://{role}@{database}{tls.in_url(settings)}",
        "POSTGRES_HOST": settings.postgres_host,
        "POSTGRES_PORT": str(settings.postgres_port),
        "POSTGRES_DATABASE": settings.postgres_database,
        "POSTGRES_USER": settings.postgres_user,
        **settings.app_env,
    }


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host  # IPv6 (RFC 3986, 3.2.2)
