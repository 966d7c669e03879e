"""People are told by Apprise itself, over HTTP and by mail; what told them is taken away when nobody is to be told."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from provision.engine.private import PrivateInput
from tests.e2e.operator import Operator
from tests.e2e.test_redis_modes import settings_of
from tests.limiter.waiting import until

pytestmark = pytest.mark.servers

TOLD, CRON = "/run/e2e-told", "/etc/cron.d/medaction-notify"
ADDRESSES = "json://eve:k3y-of-ours@127.0.0.1:8991/ mailto://127.0.0.1:8992/?from=db1@example.com&to=ops@example.com&mode=insecure"
# A receiver of JSON and a mail server; each thing that came is a line.
RECEIVERS = r"""
import http.server, json, socketserver, threading
def told(line):
    with open("/run/e2e-told", "a") as file: file.write(line + "\n")
class Http(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told("http|" + body["title"] + "|" + body["message"].replace("\n", " "))
        self.send_response(200); self.end_headers()
class Smtp(socketserver.StreamRequestHandler):
    def handle(self):
        say = lambda line: self.wfile.write(line.encode() + b"\r\n")
        say("220 here"); mail = None
        for raw in self.rfile:
            line = raw.decode().rstrip("\r\n")
            if mail is not None:
                if line == ".":
                    subject = [each for each in mail if each.startswith("Subject:")]
                    told("mail|" + subject[0]); mail = None; say("250 taken")
                else: mail.append(line)
            elif line.upper() == "DATA": mail = []; say("354 go on")
            elif line.upper() == "QUIT": say("221 bye"); return
            else: say("250 well")
socketserver.ThreadingTCPServer.allow_reuse_address = True
mail = socketserver.ThreadingTCPServer(("127.0.0.1", 8992), Smtp)
threading.Thread(target=mail.serve_forever, daemon=True).start()
http.server.ThreadingHTTPServer(("127.0.0.1", 8991), Http).serve_forever()
"""


@pytest.fixture
def notifying(project_copy: Operator) -> Iterator[Operator]:
    settings_of(project_copy, 'notify = "env:NOTIFY"')
    project_copy.environ["NOTIFY"] = ADDRESSES
    project_copy.deploy("db1")
    project_copy.read("db1", "cat >/run/e2e-receivers.py", PrivateInput(RECEIVERS))
    project_copy.read("db1", "systemd-run -q --collect --unit=e2e-receivers python3 /run/e2e-receivers.py")
    until(lambda: project_copy.on("db1", "ss -Hltn | grep -q :8991").returncode == 0, "somebody receives")
    yield project_copy
    project_copy.on(
        "db1", f"systemctl stop e2e-receivers; systemctl start postgresql; rm -f {TOLD} /run/e2e-receivers.py"
    )


def look(operator: Operator) -> str:
    """Let cron's own line run; return what was told since."""
    operator.read("db1", f"rm -f {TOLD}")
    line = f"sed -n 's,^[*]/10 .* medaction-backup ,,p' {CRON}"
    done = operator.on("db1", f'runuser -u medaction-backup -- sh -c "$({line})"')
    assert done.returncode == 0, done.stderr
    return operator.on("db1", f"cat {TOLD}").stdout


def backup(operator: Operator) -> int:
    return operator.on("db1", "/opt/medaction/scripts/backup-database.sh").returncode


def test_a_night_that_failed_is_told_once_and_that_it_is_well_again(notifying: Operator, operator: Operator):
    assert look(notifying) == "", "all is well, as it was"
    notifying.read("db1", "systemctl stop postgresql")
    assert backup(notifying) != 0
    told = look(notifying)
    assert "http|medaction on db1: backups WARNING|" in told and "the last daily run failed" in told
    assert "mail|Subject: medaction on db1: backups WARNING" in told
    assert look(notifying) == "", "told once"
    notifying.read("db1", "systemctl start postgresql")
    assert backup(notifying) == 0
    assert "backups OK" in look(notifying)
    seen = notifying.read("db1", "journalctl -q --since -10min; cat /var/log/medaction/*.log")
    assert "k3y-of-ours" not in seen

    # Nobody is to be told any more: a plan says what is there still, and one command takes it away.
    assert "what no setting asks for any more" in (plan := operator.plan("db1").stdout) and "medaction-notify" in plan
    operator.deploy("db1")
    done = operator.run(sys.executable, "-m", "provision", "remove", "--limit", "db1", "--role", "unused")
    assert done.returncode == 0 and "db1: unused is removed" in done.stdout, done.stdout
    gone = f"{CRON} /etc/medaction/notify /usr/local/lib/medaction/notify.sh"
    assert operator.on("db1", f"ls {gone} 2>/dev/null").stdout == ""
    assert "no setting asks for" not in operator.plan("db1").stdout
