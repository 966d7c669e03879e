"""Every setting there is, in one typed schema, and the one place where they are checked.

`Settings` is what the rest of the project works with: complete, valid, secrets wrapped. Values come from
`inventories/` (see `provision.engine.inventory`), secrets from where the inventory points (see
`provision.settings.secrets`). The parts: `app`, `redis`, `rate_limits`, `postgres`, `backup`, `vault`, `windows`,
`deploy`; the kinds of value: `fields`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import ConfigDict, SecretStr, ValidationError

from provision.settings.app import AppSettings
from provision.settings.backup import BackupSettings
from provision.settings.deploy import DeploySettings
from provision.settings.postgres import PostgresSettings
from provision.settings.rate_limits import RateLimitSettings
from provision.settings.redis import RedisSettings
from provision.settings.secrets import SecretError
from provision.settings.vault import VaultSettings
from provision.settings.windows import WindowsSettings


class Settings(
    DeploySettings,
    WindowsSettings,
    VaultSettings,
    BackupSettings,
    PostgresSettings,
    RateLimitSettings,
    RedisSettings,
    AppSettings,
):
    """All settings of one host, as a deploy uses them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def postgres_sslrootcert_file(self) -> str:
        """Where `postgres_sslrootcert` lies on each host, for everybody to read; "" where there is none."""
        return f"{self.backup_program_dir}/postgres-ca.crt" if self.postgres_sslrootcert else ""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with one setting: its name, what was found (never a secret), what is right."""

    setting: str
    found: str | None
    reason: str


SECRET_SETTINGS = tuple(name for name, field in Settings.model_fields.items() if field.annotation is SecretStr)
# Those that one may do without: read only where the inventory points at them.
OPTIONAL_SECRETS = tuple(name for name, field in Settings.model_fields.items() if field.annotation == SecretStr | None)
_PREFIXES = tuple({f"{name.split('_')[0]}_" for name in Settings.model_fields})


def check(data: Mapping[str, Any], read_secret: Callable[[str, Any], SecretStr]) -> Settings | list[Fault]:
    """Given a host's data, return its Settings, or every fault that they have.

    `read_secret(setting, reference)` turns what stands in the inventory into the secret; it raises
    SecretError. Keys of others (`ssh_port`, ...) are passed over, unless they look like a misspelt one
    of ours.
    """
    faults = [_unknown(key) for key in data if _is_misspelt(key)]
    values = {key: value for key, value in data.items() if key in Settings.model_fields}
    if once := [key for key, value in values.items() if isinstance(value, Iterator)]:
        reason = "gives its values once, and so to one host alone: write list(...) around it"
        return [*faults, *(Fault(key, None, reason) for key in once)]
    for name in (*SECRET_SETTINGS, *(name for name in OPTIONAL_SECRETS if values.get(name) is not None)):
        try:
            values[name] = read_secret(name, values.get(name))
        except SecretError as error:
            faults.append(Fault(name, None, str(error)))
            values[name] = SecretStr("not-read") if name in SECRET_SETTINGS else None
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        # Defaults that are derived from others wait until every field is valid: no fault of their own.
        told = [item for item in error.errors() if item["type"] != "default_factory_not_called"]
        return faults + [_fault(item) for item in _one_for_each(told)]
    return faults or settings


def _one_for_each(errors: list[Any]) -> Iterator[Any]:
    """Of a setting that may be one of several kinds pydantic tells what keeps it from being each: that is one error."""
    choices: dict[str, list[Any]] = {}
    for error in errors:
        name, *rest = error["loc"] or ("",)
        if name in _CHOICES and rest:
            choices.setdefault(name, []).append({**error, "loc": (name, *rest[1:])})
        else:
            yield error
    for told in choices.values():
        deepest = max(len(error["loc"]) for error in told)
        first, *others = [error for error in told if len(error["loc"]) == deepest]
        if deepest == 1:
            reasons = [_reason(error).removeprefix("must be ") for error in (first, *others)]
            first = {**first, "msg": f"must be {', or '.join(reasons)}"}
        yield first


def _reason(error: Any) -> str:
    told = str(error["msg"]).removeprefix("Value error, ")
    return told.replace("Input should be", "must be").replace("List should have", "must be a list with")


def _is_choice(annotation: Any) -> bool:
    kinds = [each for each in get_args(annotation) if each is not NoneType]
    return get_origin(annotation) in (Union, UnionType) and len(kinds) > 1


_CHOICES = frozenset(name for name, field in Settings.model_fields.items() if _is_choice(field.annotation))
# What a person gives to the app, or has a shell run, may hold a secret as well.
_PRIVATE = frozenset(
    (*SECRET_SETTINGS, *OPTIONAL_SECRETS, "app_env", "deploy_hook", "backup_hook", "backup_failure_hook")
)


def _fault(error: Any) -> Fault:
    name = str(error["loc"][0]) if error["loc"] else ""
    reason = _reason(error)
    if not name:  # a rule across settings: its sentence names them
        return Fault("", None, reason)
    hidden = name in _PRIVATE or "AGE-SECRET-KEY-" in repr(error["input"]).upper()
    found = None if hidden else re.sub(r"(\w://)[^/@\s]*@", r"\1...@", repr(error["input"]))
    return Fault(".".join(map(str, error["loc"])), found, reason)


def _is_misspelt(key: str) -> bool:
    if not isinstance(key, str) or key in Settings.model_fields or key.startswith("_"):
        return False
    return key.startswith(_PREFIXES) or bool(difflib.get_close_matches(key, Settings.model_fields, 1, 0.9))


def _unknown(key: str) -> Fault:
    close = difflib.get_close_matches(key, Settings.model_fields, 1)
    return Fault(key, None, "is not a setting" + (f"; did you mean {close[0]}?" if close else ""))
