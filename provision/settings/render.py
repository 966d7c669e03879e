"""Templates to text, complete or not at all, and the quoting that each kind of file needs.

Undefined names are errors (StrictUndefined). A template sees the host's settings by name, and writes every
value through the filter of the language that it stands in: `sh`, `url`, `pgpass`, `sql`. A secret
reaches a template only by `| reveal`, so one can list them with grep.
"""

from __future__ import annotations

import hashlib
import shlex
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import SecretStr

from provision.settings import Settings
from provision.settings.project import PROJECT

TEMPLATES = PROJECT / "templates"
FILES = PROJECT / "files"


def render(template: str, settings: Settings, **extra: object) -> str:
    """Given a template's path below templates/, return its text for these settings."""
    names = {name: getattr(settings, name) for name in dir(Settings) if _is_ours(name)}
    fields = {name: getattr(settings, name) for name in Settings.model_fields}
    return _environment.get_template(template).render({**names, **fields, **extra})


def plain(file: str) -> str:
    """Given a path below files/, return the text that lands on hosts as it stands."""
    return (FILES / file).read_text(encoding="utf-8")


def sh(value: object) -> str:
    """One word of a POSIX shell command line."""
    return shlex.quote(_plain(value))


def url(value: object) -> str:
    """One component of a URL: everything but letters, digits and -._ as %XX of its UTF-8 bytes.

    The tilde too: a shell that reads `.env` takes one behind a colon for somebody's home.
    """
    return quote(_plain(value), safe="").replace("~", "%7E")


def pgpass(value: object) -> str:
    r"""One field of a pgpass line: `\` and `:` are escaped (PostgreSQL, "The Password File")."""
    return _plain(value).replace("\\", "\\\\").replace(":", "\\:")


def sql(value: object) -> str:
    """One text in SQL, where standard_conforming_strings is on (PostgreSQL, "String Constants")."""
    return "'" + _plain(value).replace("'", "''") + "'"


def sha256(value: object) -> str:
    """The SHA-256 of a text, in hexadecimal: what a Redis ACL file holds in place of a password."""
    return hashlib.sha256(_plain(value).encode()).hexdigest()


def reveal(secret: SecretStr) -> str:
    """A secret's text, where a file must hold it."""
    return secret.get_secret_value()


def _plain(value: object) -> str:
    if isinstance(value, SecretStr):
        raise TypeError("a secret is written through `| reveal` first, so that every place can be found")
    return str(value)


def _is_ours(name: str) -> bool:
    return isinstance(getattr(Settings, name, None), property) and not name.startswith(("model_", "_"))


_environment = Environment(
    loader=FileSystemLoader(TEMPLATES),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,  # nothing here is HTML; each value goes through the filter of its own language
)
_environment.filters.update(sh=sh, url=url, pgpass=pgpass, sql=sql, sha256=sha256, reveal=reveal)
