"""What a deploy would give the app: the module's template, its settings, its `.env`."""

from __future__ import annotations

from pydantic import SecretStr

from provision.app import dotenv
from provision.app import layout as app_layout
from provision.settings import SECRET_SETTINGS, Settings, check
from tests.limiter.redis_server import free_port

LIMITS = {"crowd": "150/h", "moment": "3/2s"}  # beside the guide's six: one for crowds, one that ends soon


def settings_with(**values: object) -> Settings:
    secrets = {name: str(values.pop(name, f"zq-{name}")) for name in SECRET_SETTINGS}
    data = {"redis_port": free_port(), "rate_limits": LIMITS, **values}
    checked = check(data, lambda name, _: SecretStr(secrets[name]))
    assert isinstance(checked, Settings), checked
    return checked


def env_text(settings: Settings) -> str:
    """The `.env` that a deploy writes for these settings."""
    return dotenv.merge("", app_layout.variables(settings))


def redis_url(settings: Settings, port: int | None = None) -> str:
    """REDIS_URL as it stands in `.env`; `port` leads through a proxy."""
    url = app_layout.variables(settings)["REDIS_URL"]
    return url.replace(f":{settings.redis_port}", f":{port}") if port else url
