"""`fleet("production")`: that environment on `@fake` hosts, with secrets that nothing else looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from pyinfra import logger
from pyinfra.api import Host
from pyinfra.connectors.fake import FakeConnector

from provision.engine import environments
from provision.postgres import server as database
from provision.redis.running import quoted
from provision.settings import SECRET_SETTINGS, Settings, secrets
from tests.deploy.fake import STARTED, Fleet, marked

SECRETS = {name: f"zq-{name}-p@ss:/?#[]!$&'()*+,;=% \"\\é" for name in SECRET_SETTINGS}


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What a run keeps in its modules, as a process of its own would find it; and caplog hears pyinfra's logger,
    which does not propagate once pyinfra has set it up."""
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    monkeypatch.setattr(secrets.Reader, "read", lambda _, name, __: SecretStr(SECRETS[name]))


@pytest.fixture(autouse=True)
def marked_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark that a real shell prints before an answer; an answer that begins with UNMARKED stays as it is."""
    monkeypatch.setattr(FakeConnector, "_lookup_response", marked(FakeConnector._lookup_response))


@pytest.fixture(autouse=True)
def postgresql(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | Exception], None]:
    """In place of `postgres.server.ask`: PostgreSQL 15 answers; `postgresql(18)`, or an exception, instead."""

    def answer(with_this: int | Exception) -> None:
        def ask(_: Host, __: Settings) -> database.Server:
            if isinstance(with_this, Exception):
                raise with_this
            return database.Server(with_this, f"PostgreSQL {with_this}.1", STARTED)

        monkeypatch.setattr(database, "ask", ask)
        monkeypatch.setattr(database, "cannot_dump", lambda *_: None)

    answer(15)
    return answer


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Fleet]:
    def make(environment: str) -> Fleet:
        monkeypatch.setattr(environments, "INVENTORIES", tmp_path)
        return Fleet.of(environment, tmp_path)

    return make


@pytest.fixture
def secret_texts() -> list[str]:
    """The beginning of each secret, as it shows whatever the quoting, and as redis-cli is sent it."""
    return [shape for name in SECRETS for shape in (f"zq-{name}", quoted(f"zq-{name}").strip('"'))]
