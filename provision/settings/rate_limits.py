"""Settings of the rate limiters: what each allows, and how the app tells its clients apart."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationInfo, field_validator

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_LONGEST_SECONDS = 366 * 86400
_GUIDE = {
    "login": "5/15min",
    "api": "100/min",
    "mobile_api": "30/min",
    "reclamation": "5/h",
    "registration": "3/h",
    "password_reset": "3/h",
}


@dataclass(frozen=True)
class Rate:
    """So many requests in a window of so many seconds; the window begins with the first of them."""

    points: int
    window_seconds: int

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Given "5/15min" or "100/min", return the Rate. Raise ValueError with what would be right."""
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{0,9})([a-z]+)", text)
        if not found:
            raise ValueError("must be requests per time, such as 5/15min, 100/min, 3/h or 1000/d")
        points, count, unit = int(found[1]), int(found[2] or 1), found[3]
        if unit not in _UNITS:
            raise ValueError(f"has the unit {unit!r}; the units are {', '.join(_UNITS)}, as in 5/15min")
        if points == 0:
            raise ValueError("allows nothing: a limit is at least 1; to close a door, remove it from the app")
        if not 0 < count * _UNITS[unit] <= _LONGEST_SECONDS:
            raise ValueError("must have a window between 1s and 366d")
        return cls(points, count * _UNITS[unit])

    def __str__(self) -> str:
        unit = next(name for name in reversed(_UNITS) if self.window_seconds % _UNITS[name] == 0)
        count = self.window_seconds // _UNITS[unit]
        return f"{self.points}/{'' if count == 1 else count}{unit}"


@dataclass(frozen=True)
class Limiter:
    """One limiter of the app: its name, the TypeScript function that checks it, its rate, its policy."""

    name: str
    rate: Rate
    is_open_without_redis: bool
    ignores_case: bool

    @property
    def pascal_name(self) -> str:
        """As in `checkPasswordResetRateLimit`, `refundPasswordResetRateLimit`, `resetPasswordResetRateLimit`."""
        return "".join(word.capitalize() for word in self.name.split("_"))


def _rate(value: Any) -> Any:
    return value if isinstance(value, Rate) else Rate.parse(str(value))


def _limiter_name(value: str) -> str:
    if len(value) > 40 or not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*", value):
        raise ValueError("must be words of a-z and 0-9 with '_' between, such as password_reset, at most 40")
    return value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(f"must be an IP address or a network such as 10.0.0.0/8: {error}") from None


def _header(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", value):
        raise ValueError("must be the name of an HTTP header, such as x-forwarded-for")
    return value.lower()


def _prefix(value: str) -> str:
    # It stands in an ACL pattern, where * ? [ and \ have a meaning and a space ends the rule.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}", value) or value.endswith(":"):
        raise ValueError("must be 1 to 64 of letters, digits and _ . : -, beginning with a letter or digit")
    return value


LimiterName = Annotated[str, AfterValidator(_limiter_name)]


class RateLimitSettings(BaseModel):
    rate_limits: dict[LimiterName, Annotated[Rate, BeforeValidator(_rate)]] = Field(
        _GUIDE,
        validate_default=True,
        description="Requests per time (s, min, h, d) for each limiter; what is written here adds to or changes the"
        " handbook's six.",
        examples=[{"export": "10/h"}],
    )
    rate_limits_open_without_redis: list[LimiterName] = Field(
        ["api", "mobile_api"],
        description="The limiters that let everyone through while Redis is away; the others then limit per process.",
    )
    rate_limits_ignore_case: list[LimiterName] = Field(
        default_factory=list,
        description="The limiters that take Jean@x.fr and ' jean@x.fr' for one (NFKC, trimmed, lower case).",
    )
    redis_key_prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        default_factory=lambda data: data["app_name"],
        description="What every key of the app in Redis begins with, before a ':'; its user can touch no other key.",
    )
    app_trusted_proxies: list[Annotated[str, AfterValidator(_network)]] = Field(
        ["127.0.0.0/8", "::1/128"],
        description="The reverse proxies in front of the app, whose word on the client's address is believed.",
        examples=[["127.0.0.0/8", "::1/128", "10.0.0.9"]],
    )
    app_client_ip_header: Annotated[str, AfterValidator(_header)] = Field(
        "x-forwarded-for",
        description="The request header in which those proxies write the client's address.",
    )

    @property
    def rate_limiters(self) -> list[Limiter]:
        return [
            Limiter(name, rate, name in self.rate_limits_open_without_redis, name in self.rate_limits_ignore_case)
            for name, rate in self.rate_limits.items()
        ]

    @field_validator("rate_limits", mode="before")
    @classmethod
    def _with_the_guides(cls, limits: Any) -> Any:
        return {**_GUIDE, **limits} if isinstance(limits, dict) else limits

    @field_validator("rate_limits_open_without_redis", "rate_limits_ignore_case")
    @classmethod
    def _have_a_limiter(cls, names: list[str], values: ValidationInfo) -> list[str]:
        limits = values.data.get("rate_limits", names)
        for name in names:
            if name not in limits:
                raise ValueError(f"names {name!r}, which is not in rate_limits: {', '.join(limits)}")
        return names
