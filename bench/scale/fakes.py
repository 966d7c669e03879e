"""`python -m bench.scale.fakes COUNT KIND`: write an environment of that many hosts that are none, `deployed` or `new`.

`python -m bench.scale.fakes` alone is `make plan` of it, in words. `@fake` carries no TCP connection, so the database,
which is asked through a host's sshd, has a stand-in, as it has in tests/deploy. Both are told by INVENTORIES where.
"""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import gevent
from pydantic import SecretStr
from pyinfra.api import Host
from pyinfra.connectors.fake import FakeConnector

from bench.scale import ENVIRONMENT
from provision import __main__ as provision
from provision.engine import environments, speed
from provision.postgres import server
from provision.settings import Settings, secrets
from provision.settings.project import PROJECT
from tests.deploy import fake

DELAY_SECONDS, JITTER_SECONDS = 0.02, 0.02

_SETTINGS = 'redis_host = "10.0.0.5"\npostgres_host = "10.0.0.8"\n'
_INVENTORY = """import pickle
from pathlib import Path

redis, app, backup = pickle.loads(Path(__file__).with_suffix(".pickle").read_bytes())
"""


class Fleet(fake.Fleet):
    """Hosts whose answers lie in a file of their own, those that are the same once: reading them is not measured."""

    def write(self) -> Path:
        path = self.root / f"{self.environment}.py"
        path.write_text(_INVENTORY, encoding="utf-8")
        hosts = [[(self.shown(name), self._data(name)) for name in self.groups[role]] for role in fake.ROLES[:3]]
        path.with_suffix(".pickle").write_bytes(pickle.dumps(hosts))
        return path

    def _data(self, name: str) -> dict[str, Any]:
        delays = {"fake_delay": DELAY_SECONDS, "fake_delay_jitter": JITTER_SECONDS}
        return {"fake_responses": self.answers[name], **delays, **self.data[name]}


def of(count: int, kind: str) -> None:
    """Write the environment: one Redis host, three in four of the others with the app, the rest with backups."""
    others = [f"host{number:03}" for number in range(1, count)]
    groups = {"redis": ["redis1"], "app": [name for i, name in enumerate(others) if i % 4], "backup": others[::4]}
    shutil.copytree(PROJECT / "inventories/group_data", environments.INVENTORIES / "group_data")
    (environments.INVENTORIES / f"group_data/{ENVIRONMENT}.py").write_text(_SETTINGS, encoding="utf-8")
    hosts = ["redis1", *others]
    new = fake.debian()
    fleet = Fleet(
        environments.INVENTORIES,
        ENVIRONMENT,
        {**groups, "vault": []},
        dict.fromkeys(hosts, new),
        {h: {} for h in hosts},
    )
    if kind == "deployed":
        fleet.deploy_already()
    fleet.write()


def _stand_in() -> None:
    def ask(*_: Host | Settings) -> server.Server:
        gevent.sleep(DELAY_SECONDS)
        return server.Server(15, "PostgreSQL 15.1", fake.STARTED)

    server.ask = ask
    server.cannot_dump = lambda *_: None
    secrets.Reader.read = lambda _, name, __: SecretStr(f"of-the-bench-{name}")
    FakeConnector._lookup_response = fake.marked(FakeConnector._lookup_response)


def main() -> int:
    _stand_in()
    if sys.argv[1:]:
        of(int(sys.argv[1]), sys.argv[2])
        return 0
    sys.argv[1:] = ["plan", "--env", ENVIRONMENT]
    return provision.main()


if __name__ == "__main__":
    speed.leave(main())
