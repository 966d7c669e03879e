"""Copies in object storage, or wherever else rclone reaches, taken from there by rclone on this machine.

A place has the layout of a vault's directory (`files/vault/push.sh`). What tells of the copies, which is small, is
brought here whole; a copy itself passes through.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyrage

from provision.engine.shown import shown
from provision.vault import offline
from provision.vault.recovery import EmptyError, OfDirectory, Offer, open_copy
from provision.vault.transfer import RecoveryError, Sink

_TOLD = ("*.manifest.json", "*.manifest.json.sig", "*.proof.json", "*.accepted.json")
_SECONDS = 3600  # for what is small; a copy takes as long as it takes, and rclone gives up a silent end itself


def is_place(text: str) -> bool:
    """Whether this is a place as rclone names it, and no directory of this machine."""
    return bool(re.match(r"[A-Za-z0-9_][\w. +@-]*:", text)) and not Path(text).exists()


@dataclass(frozen=True)
class Storage:
    """A place; `config` is an rclone.conf ("" for a person's own), `at` a time (RFC 3339) where versions are kept."""

    place: str
    config: str = ""
    at: str = ""

    def rclone(self, *arguments: str) -> list[str]:
        """The command line. Raise RecoveryError where there is no rclone."""
        program = shutil.which("rclone")
        if program is None:
            raise RecoveryError(f"{self.place}: rclone is not on this machine: install it (Debian: apt install rclone)")
        as_of = ["--s3-version-at", self.at] if self.at else []
        return [program, "--contimeout", "30s", "--timeout", "5m", "--retries", "3", *as_of, *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """This process's own; but rclone 1.60 fails where AWS_CA_BUNDLE is set, and has a name of its own for that."""
        environ = {**os.environ, **({"RCLONE_CONFIG": self.config} if self.config else {})}
        bundle = environ.pop("AWS_CA_BUNDLE", "")
        return {**({"RCLONE_CA_CERT": bundle} if bundle else {}), **environ}

    def bring(self, below: str, into: Path, only: Sequence[str]) -> None:
        """Copy the files of these patterns below a directory of the place. Raise RecoveryError."""
        included = [word for pattern in only for word in ("--include", pattern)]
        bounds = ["--max-size", "1M", "--max-transfer", "1G"]  # what a storage offers may be anybody's
        command = self.rclone("copy", f"{self._root}{below}", str(into), *included, *bounds)
        try:
            done = subprocess.run(
                command, env=self.environment, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise RecoveryError(f"{self.place}: gave no whole answer in {_SECONDS} s") from None
        if "max transfer limit reached" in done.stderr:
            raise RecoveryError(
                f"{self._root}{below}: more lies there than a vault would tell of its copies: somebody else writes"
                " there; AT= takes what was there at a time before"
            )
        if done.returncode:
            raise RecoveryError(f"{self._root}{below}: {reason_in(done.stderr)}")

    def stream(self, file: str) -> subprocess.Popen[bytes]:
        """A file of the place, from its standard output."""
        directory, _, name = file.rpartition("/")  # by its path alone rclone 1.60 finds no version but the newest
        return subprocess.Popen(
            self.rclone("cat", f"{self._root}{directory}", "--include", f"/{name}"), env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    @property
    def _root(self) -> str:
        return self.place if self.place.endswith(":") else f"{self.place.rstrip('/')}/"


def reason_in(said: str) -> str:
    """The last error that rclone told, without time and level, and its cause, which stands in a line of its own."""
    reason = "rclone gave no reason"
    for line in said.splitlines():
        stamped = re.match(r"[0-9/]+ [0-9:]+ +(?:(?:ERROR|CRITICAL|NOTICE) *: )?(.*)", line)
        if stamped and not stamped[1].startswith("Attempt "):
            reason = stamped[1]
        elif line.startswith("caused by: "):
            reason = f"{reason} ({line})"
    return shown(reason)[:400]


@dataclass(frozen=True)
class OfStorage:
    """The copies at a place, opened with people's own key."""

    storage: Storage
    identity: Path
    _told: tempfile.TemporaryDirectory[str] = field(default_factory=tempfile.TemporaryDirectory)  # 0700

    @property
    def name(self) -> str:
        return f"{self.storage.place}{f' as of {self.storage.at}' if self.storage.at else ''}"

    @property
    def _here(self) -> OfDirectory:
        return OfDirectory(Path(self._told.name), self.identity)

    def offers(self, source: str) -> list[Offer]:
        self.storage.bring(f"store/{source}", Path(self._told.name) / "store" / source, _TOLD)
        return self._here.offers(source)

    def read(self, source: str, file: str, into: Sink) -> None:
        if not file.endswith(".age"):
            self._here.read(source, file, into)
            return
        try:
            keys = offline.identities(self.identity)
        except offline.KeyFileError as error:
            raise RecoveryError(str(error)) from None
        with self.storage.stream(f"store/{source}/{file}") as arriving:
            assert arriving.stdout and arriving.stderr
            try:
                open_copy(arriving.stdout, into, keys)
                why = ""
            except EmptyError:  # rclone prints nothing of a file that it does not find
                why = "is not there, or empty: DUMP= takes another copy, AT= what was there at a time before"
            except (OSError, pyrage.DecryptError) as error:
                arriving.kill()
                why = f"{self.identity} does not open it: {error}"
            said = arriving.stderr.read().decode(errors="replace")
        if arriving.returncode > 0:
            raise RecoveryError(f"{self.name}: {file}: {reason_in(said)}")
        if why:
            raise RecoveryError(f"{self.name}: {file}: {why}")
