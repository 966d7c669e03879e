"""Settings for the tests of Windows hosts."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from provision.settings import Settings, check

PASSWORD = "p@ss:/?#[]!$&'()*+,;=% \"\\ `$(x) \u2019é日本"


def settings(password: str = PASSWORD, **values: Any) -> Settings:
    """Settings that hold these values, and the defaults. Raise ValueError with what is wrong with them."""
    found = check(values, lambda name, reference: SecretStr(password))
    if not isinstance(found, Settings):
        raise ValueError("; ".join(f"{fault.setting} {fault.reason}" for fault in found))
    return found


def default_settings() -> Settings:
    return settings()


def hostile_settings() -> Settings:
    """Names that break whatever is quoted wrongly; Windows itself allows all of them."""
    return settings(
        windows_app_dir="D:\\Été & l'Hôpital (1)\\$env `x",
        postgres_database="l'hôpital (2) $(x) \u2019 `n",
        postgres_user="rôle 'x'",
        windows_pg_dump="C:\\Program Files\\L'été\\bin\\pg_dump.exe",
    )
