"""Where a secret comes from. It is never in the repository, and never printed.

A secret setting holds a reference:

    env:NAME        the environment variable NAME of whoever deploys
    file:PATH       the first line of a file that only its owner can read (0600); all of it where the secret is a file
    command:ARGV    what a command prints, such as `command:pass show medaction/redis`; no shell runs it

and without one, the line `setting=value` in `.secrets/<environment>.env` (0600, git-ignored), which
`make secrets` completes. A value is everything after the first "=", as it stands: no quoting.
"""

from __future__ import annotations

import os
import secrets
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from pydantic import SecretStr

from provision.settings.project import PROJECT, at

COMMAND_TIMEOUT_SECONDS = 60
_MARK = "\ufeff"  # what Windows' editors put before the text of a file
WHOLE_FILES = ("backup_offsite_config",)  # the settings whose secret has more than one line


class SecretError(Exception):
    """A secret cannot be had; the sentence says why and what to do, and holds no secret."""


def file_of(environment: str) -> Path:
    """Given an environment's name, return the file that holds its generated secrets."""
    return PROJECT / ".secrets" / f"{environment}.env"


class Reader:
    """The secrets of an environment: each file is read, and each command run, once for all hosts and settings."""

    def __init__(self, environment: str) -> None:
        self._environment = environment
        self._read_private = cache(_read_private)
        self._sources: dict[str, Callable[[str], str]] = {
            "env": _from_variable,
            "file": self._from_file,
            "command": cache(_from_command),
        }

    def read(self, setting: str, reference: object) -> SecretStr:
        """Given a secret setting and what the inventory says of it, return the secret. Raise SecretError."""
        try:
            if reference is None:
                return self._from_environment_file(setting)
            source, found, rest = reference.partition(":") if isinstance(reference, str) else ("", "", "")
            if not found or source not in self._sources:
                raise SecretError("must point at the secret (env:NAME, file:PATH or command:...), not be it")
            value = self._sources[source](rest.strip())
            value.encode()
            if setting not in WHOLE_FILES and source != "env":
                value = _first_line(value)
        except UnicodeError:  # its own words would show a part of the secret
            raise SecretError("cannot be read: it is not UTF-8 text") from None
        except (OSError, ValueError) as error:
            raise SecretError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
        if not value:
            raise SecretError(f"{source}: {rest.strip()} is empty")
        return SecretStr(value)

    def _from_environment_file(self, setting: str) -> SecretStr:
        environment = self._environment
        path = file_of(environment)
        shown = path.relative_to(PROJECT)
        hint = (
            f"run `make secrets ENV={environment}`, or point {setting} at the secret: env:NAME, file:PATH, command:..."
        )
        if not path.exists():
            raise SecretError(f"is missing: there is no {shown}; {hint}")
        values = _parse(self._read_private(path))
        if setting not in values:
            raise SecretError(f"is missing: {shown} has no line {setting}=...; {hint}")
        if not values[setting]:
            raise SecretError(f"is empty: write it after {setting}= in {shown}, or remove that line and {hint}")
        return SecretStr(values[setting])

    def _from_file(self, name: str) -> str:
        path = (PROJECT / at(name)).resolve()
        if not path.is_file():
            raise SecretError(f"is missing: there is no file {name}")
        return self._read_private(path)


def read(setting: str, reference: object, environment: str) -> SecretStr:
    """One secret, as a Reader of that environment reads it. Raise SecretError."""
    return Reader(environment).read(setting, reference)


def generate_missing(environment: str, names: list[str]) -> list[str]:
    """Add to the environment's file a random value for each name that it lacks; return those names.

    What is there stays, to the byte. The file is 0600 from its first byte and replaced in one step.
    """
    path = file_of(environment).resolve()  # a link stays one: it leads to where somebody wants them to lie
    try:
        text = _read_private(path) if path.exists() else ""
    except UnicodeError:
        raise SecretError(
            f"{file_of(environment).relative_to(PROJECT)} is not UTF-8 text: convert it, such as with iconv"
        ) from None
    missing = [name for name in names if name not in _parse(text)]
    if not missing:
        return []
    lines = "".join(f"{name}={secrets.token_urlsafe(24)}\n" for name in missing)
    write_private(path, (text + ("" if text.endswith("\n") or not text else "\n") + lines).encode())
    return missing


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read: 0600 from its first byte, replaced in one step."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    number, aside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)  # 0600, of nobody else's
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink()
        raise


def _parse(text: str) -> dict[str, str]:
    text = text.removeprefix(_MARK)
    lines = (line.removesuffix("\r") for line in text.split("\n") if line.strip() and not line.startswith("#"))
    return {name.strip(): value for name, _, value in (line.partition("=") for line in lines)}


def _from_variable(name: str) -> str:
    if name not in os.environ:
        raise SecretError(f"is missing: the environment variable {name} is not set")
    return os.environ[name]


def _from_command(command: str) -> str:
    argv = shlex.split(command)
    try:
        done = subprocess.run(argv, capture_output=True, encoding="utf-8", timeout=COMMAND_TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired, IndexError) as error:
        raise SecretError(f"is missing: the command {argv[:1]} did not run: {type(error).__name__}") from None
    if done.returncode != 0:
        raise SecretError(f"is missing: the command {argv[0]} ended with exit code {done.returncode}")
    return done.stdout


def _first_line(text: str) -> str:
    return text.removeprefix(_MARK).split("\n", 1)[0].removesuffix("\r")


def _read_private(path: Path) -> str:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise SecretError(f"{path} is no file: move it away")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise SecretError(f"others may read {path.name} (mode {mode:04o}); run `chmod 600 {path}`")
    return path.read_bytes().decode("utf-8")  # not read_text, which would take line breaks for its own
