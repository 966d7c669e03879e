"""The kinds of value that a setting can have, each checked where it is read.

Every message says what would be right; who holds the wrong value, and in which file, is added by
`provision.settings`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import ssl
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pyrage import RecipientError, x25519

from provision.settings.project import PROJECT
from provision.settings.schedule import WEEKDAYS, TimeOfDay

# Directories that every system has, and that are not for an app to own (Filesystem Hierarchy Standard 3.0, chapter 3).
_OF_THE_SYSTEM = re.compile(
    r"/(bin|boot|dev|etc|home|lib|media|mnt|opt|proc|root|run|sbin|srv|sys|tmp|usr|var|)(/(lib|log|bin|sbin|local))?"
    r"|/var/(backups|cache|lock|mail|opt|run|spool|tmp)|/usr/(include|share|src)|/run/lock|/dev/shm"
)

APP_HOSTS = "app"  # in a list of who may reach Redis: the inventory's app hosts


def matching(pattern: str, sentence: str) -> AfterValidator:
    """Text that is all of this pattern; the sentence says what would be right."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(sentence)
        return value

    return AfterValidator(check)


def _absolute_path(value: str) -> str:
    path = PurePosixPath(re.sub("^/+", "/", value))  # PurePosixPath keeps two at the head: "//etc" would be no /etc
    if not path.is_absolute() or ".." in path.parts or not re.fullmatch(r"[\w./ @+-]+", value):
        raise ValueError("must be an absolute path such as /opt/medaction, without '..' or shell characters")
    if len(path.parts) == 1 or _OF_THE_SYSTEM.fullmatch(str(path)):
        raise ValueError("must be a directory of its own: a deploy sets its owner and mode")
    return str(path)


def _host(value: str) -> str:
    address = None
    with contextlib.suppress(ValueError):
        if "%" not in value:
            address = ipaddress.ip_address(value)
    if address is not None:
        if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
            raise ValueError("is the address of no host: write the one by which it is reached")
        return str(address)
    # Digits and dots alone are a mistyped address: no top-level domain is a number (RFC 3696).
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}", value) or re.fullmatch(r"[0-9.]+", value):
        raise ValueError("must be a host name or an IP address, without a port")
    return value


def _time_of_day(value: str) -> str:
    return str(TimeOfDay.parse(value))


def _weekday(value: str) -> str:
    day = value.lower()
    if day not in WEEKDAYS:
        raise ValueError(f"must be one of {', '.join(WEEKDAYS)}")
    return day


def _bind_address(value: str) -> str:
    # redis.conf: a leading "-" means that an address which is missing on the host is no error.
    try:
        ipaddress.ip_address(value.removeprefix("-"))
    except ValueError:
        raise ValueError("must be an IP address, with a leading '-' when it may be missing") from None
    # Python takes anything for an interface, which stands in redis.conf.
    if not re.fullmatch(r"[^%]*(%[\w.-]+)?", value, re.ASCII):
        raise ValueError("must have the name of an interface after the '%', such as fe80::1%eth0")
    return value


def _allowed_from(value: str) -> str:
    """`app`, or an address or network, with a leading "!" where it is refused; as ipaddress writes it."""
    if value == APP_HOSTS:
        return value
    text, mark = value.removeprefix("!"), "!" if value.startswith("!") else ""
    if "%" in text:
        raise ValueError("must be without an interface (what follows the '%')")
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"must be '{APP_HOSTS}', an IP address or a network such as 10.0.0.0/24, with a leading '!' to refuse it"
        ) from None
    if ipaddress.ip_interface(text).ip != network.network_address:
        raise ValueError(f"is an address within a network: write {mark}{network}, or the address alone")
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped:
        raise ValueError(f"is an IPv4 address in IPv6's clothes: write {mark}{network.network_address.ipv4_mapped}")
    return mark + (str(network.network_address) if network.num_addresses == 1 else str(network))


def _plain_network(value: str) -> str:
    if value == APP_HOSTS or value.startswith("!"):
        raise ValueError("must be an IP address or a network such as 10.0.0.0/24")
    return _allowed_from(value)


def _address_or_none(value: str) -> str:
    if not value:
        return value
    address = None
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(value)
    if address is None or "%" in value or address.is_unspecified or address.is_multicast:
        raise ValueError("must be one IP address of the host's, such as 127.0.0.1 or 10.0.0.5, or empty")
    return str(address)


def _age_recipient(value: str) -> str:
    if value.upper().startswith("AGE-SECRET-KEY-"):
        raise ValueError("is a private key, which belongs in no inventory: write its public half, age1...")
    try:
        x25519.Recipient.from_str(value)
    except RecipientError:
        raise ValueError("must be a public age key, age1... with 58 more characters, as `make keys` shows it") from None
    return value


def _quotable(value: str) -> str:
    if all(quote in value for quote in "'\"`"):
        raise ValueError("holds all three of ' \" `: no .env parser can read that; encode the value")
    return value


def _secret(value: Any) -> Any:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str) and re.search(r"[\x00\r\n]", text):
        raise ValueError("must be one line: it holds a line break or a NUL byte")
    if text == "":
        raise ValueError("is empty")
    return value


def _secret_file(value: Any) -> Any:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str) and "\x00" in text:
        raise ValueError("must be text: it holds a NUL byte")
    return value


def _certificate(value: str) -> str:
    try:
        ssl.create_default_context(cafile=str(PROJECT / value))
    except (OSError, ValueError):
        raise ValueError("must be a file with a certificate in PEM: -----BEGIN CERTIFICATE-----") from None
    return value


def _remote(value: str) -> str:
    """A place as rclone writes it; a name with a ":" first would be a backend with its options, secrets among them."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_. +@-]*:[^\x00-\x1f\x7f:,{}\\*?\[\]]*", value) or ".." in value.split(
        "/"
    ):
        raise ValueError(
            "must be a place as rclone names it, such as 's3:bucket/medaction': a section of"
            " backup_offsite_config, a colon, a path"
        )
    return value.rstrip("/")


def _web_address(value: SecretStr | None) -> SecretStr | None:
    if value and not re.fullmatch(r"https?://[\w.-]+(:\d+)?(/[\w.~{}-]+)+", value.get_secret_value(), re.ASCII):
        raise ValueError(
            "must be an address such as https://hc-ping.com/key/{name}, without '?', '#' and '/' at its end"
        )
    return value


def _addresses(value: SecretStr | None) -> SecretStr | None:
    words = value.get_secret_value().split() if value else []
    if not all(re.fullmatch(r"[a-z][a-z0-9]*://[\x21-\x7e]+", word, re.ASCII) for word in words):
        raise ValueError(
            "must be addresses as Apprise knows them, such as mailtos://user:password@host, separated by blanks"
        )
    return value


# 30: users are called after it, cut at 32, and must differ in their endings (-backup, -offsite, -vault).
Name = Annotated[str, matching(r"[a-z][a-z0-9-]{0,29}", "must be 1 to 30 of a-z, 0-9 and '-', beginning with a letter")]
User = Annotated[
    str, matching(r"[a-z_][a-z0-9_-]{0,31}", "must be a system user name: a-z, 0-9, '_' and '-', at most 32")
]
Host = Annotated[str, AfterValidator(_host)]
Line = Annotated[str, matching(r"[^\x00-\x1f\x7f\ud800-\udfff]+", "must be one line of text that is not empty")]
EnvironmentName = Annotated[
    str, matching(r"[A-Za-z_][A-Za-z0-9_]*", "must be a variable name: letters, digits and '_'")
]
EnvironmentValue = Annotated[Line, AfterValidator(_quotable)]
AbsolutePath = Annotated[str, AfterValidator(_absolute_path)]
AgeRecipient = Annotated[str, AfterValidator(_age_recipient)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Days = Annotated[int, Field(strict=True, ge=1, le=36500)]
Time = Annotated[str, AfterValidator(_time_of_day)]
Weekday = Annotated[str, AfterValidator(_weekday)]
BindAddress = Annotated[str, AfterValidator(_bind_address)]
AddressOrNone = Annotated[str, AfterValidator(_address_or_none)]
PlainNetwork = Annotated[str, AfterValidator(_plain_network)]
AllowedFrom = Annotated[str, AfterValidator(_allowed_from)]
Secret = Annotated[SecretStr, BeforeValidator(_secret)]
SecretUrl = Annotated[SecretStr | None, BeforeValidator(_secret), AfterValidator(_web_address)]
CertificateFile = Annotated[Line, AfterValidator(_certificate)]
SecretFile = Annotated[SecretStr | None, BeforeValidator(_secret_file)]
SecretAddresses = Annotated[SecretStr | None, BeforeValidator(_secret), AfterValidator(_addresses)]
Remote = Annotated[str, AfterValidator(_remote)]
