"""A dead man's switch hears how each of a vault's visits has ended, by a real HTTP request of its own."""

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
# An HTTP server: each call is a line.
SWITCH = r"""
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalPort => 8993, Listen => 5, ReuseAddr => 1) or die;
while (my $call = $server->accept) {
    my ($path) = <$call> =~ m{^POST (\S+)};
    my ($length, $body) = (0, "");
    while (<$call>) { last if /^\r?$/; $length = $1 if /^Content-Length: (\d+)/i }
    read $call, $body, $length;
    open my $told, ">>", "/run/e2e-told";
    print $told "$path|" . $body =~ tr/\n/ /r . "\n";
    close $told;
    print $call "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
}
"""


@pytest.fixture
def told(project_copy: Operator, operator: Operator) -> Iterator[Operator]:
    project_copy.read("db1", "cat >/run/e2e-switch.pl", PrivateInput(SWITCH))
    project_copy.read("db1", "systemd-run -q --collect --unit=e2e-switch perl /run/e2e-switch.pl")
    until(lambda: project_copy.on("db1", "ss -Hltn | grep -q :8993").returncode == 0, "somebody listens")
    settings_of(project_copy, 'backup_ping_url = "env:PING"')
    project_copy.environ["PING"] = "http://db1:8993/k3y-of-ours/medaction-{name}"
    project_copy.deploy("vault1")
    yield project_copy
    project_copy.on("db1", f"systemctl stop e2e-switch; rm -f {TOLD} /run/e2e-switch.pl")
    project_copy.on("vault1", f"mv -n {KNOWN}.away {KNOWN}")
    operator.deploy("vault1")
    operator.run(sys.executable, "-m", "provision", "remove", "--limit", "vault1", "--role", "unused")


def visited(operator: Operator) -> tuple[int, str]:
    """The exit code of a visit as its timer makes it, and what the switch was told of it."""
    operator.read("db1", f"rm -f {TOLD}")
    code = operator.on("vault1", "systemctl start medaction-vault.service").returncode
    until(lambda: operator.on("db1", f"wc -l <{TOLD}").stdout.strip() == "2", "the switch was told")
    return code, operator.read("db1", f"cat {TOLD}")


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
    assert told.read("vault1", "systemctl list-units --failed --plain --no-legend").strip() == ""
    kept = "/etc/systemd/system /usr/local/lib/medaction"
    assert "k3y-of-ours" not in told.read("vault1", f"journalctl -q --since -10min; cat $(find {kept} -type f)")
    assert told.plan("vault1").returncode == 0
