"""A dead man's switch hears how each of a vault's visits has ended, by a real HTTP request of the vault's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from provision.engine.private import PrivateInput
from tests.e2e.operator import Operator
from tests.e2e.test_redis_modes import settings_of
from tests.limiter.waiting import until

pytestmark = [pytest.mark.servers, pytest.mark.prove]

TOLD, KNOWN = "/run/e2e-told", "/etc/medaction-vault/known_hosts"
SWITCH = r"""
import http.server
class Http(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        with open("/run/e2e-told", "a") as file: file.write(self.path + "|" + body.replace("\n", " ") + "\n")
        self.send_response(200); self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", 8993), Http).serve_forever()
"""


@pytest.fixture
def told(project_copy: Operator, operator: Operator) -> Iterator[Operator]:
    project_copy.read("vault1", "cat >/run/e2e-switch.py", PrivateInput(SWITCH))
    project_copy.read("vault1", "systemd-run -q --collect --unit=e2e-switch python3 /run/e2e-switch.py")
    until(lambda: project_copy.on("vault1", "ss -Hltn | grep -q :8993").returncode == 0, "somebody listens")
    settings_of(project_copy, 'backup_ping_url = "env:PING"')
    project_copy.environ["PING"] = "http://127.0.0.1:8993/k3y-of-ours/medaction-{name}"
    project_copy.deploy("vault1")
    yield project_copy
    project_copy.on("vault1", f"systemctl stop e2e-switch; mv -n {KNOWN}.away {KNOWN}; rm -f {TOLD} /run/e2e-switch.py")
    operator.deploy("vault1")
    operator.run(sys.executable, "-m", "provision", "remove", "--limit", "vault1", "--role", "unused")


def visited(operator: Operator) -> tuple[int, str]:
    """The exit code of a visit as its timer makes it, and what the switch was told of it."""
    operator.read("vault1", f"rm -f {TOLD}")
    code = operator.on("vault1", "systemctl start medaction-vault.service").returncode
    until(lambda: operator.on("vault1", f"wc -l <{TOLD}").stdout.strip() == "2", "the switch was told")
    return code, operator.read("vault1", f"cat {TOLD}")


def test_a_visit_that_went_well_and_one_that_did_not_are_told(told: Operator, operator: Operator) -> None:
    code, said = visited(told)
    assert (code, said) == (0, "/k3y-of-ours/medaction-vault/start|\n/k3y-of-ours/medaction-vault|\n")
    told.read("vault1", f"mv {KNOWN} {KNOWN}.away")
    code, said = visited(told)
    start, end = said.splitlines()
    assert code != 0 and start.endswith("/start|") and end.startswith("/k3y-of-ours/medaction-vault/fail|")
    assert "db1" in end, end
    told.read("vault1", f"mv {KNOWN}.away {KNOWN}")
    assert visited(told)[0] == 0
    assert told.on("vault1", "systemctl is-failed medaction-vault-ping.service").stdout.strip() != "failed"
    kept = "/etc/systemd/system /usr/local/lib/medaction"
    assert "k3y-of-ours" not in told.read("vault1", f"journalctl -q --since -10min; cat $(find {kept} -type f)")
    assert told.plan("vault1").returncode == 0
