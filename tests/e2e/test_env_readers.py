"""What the deploy writes into `.env`, read by the service manager of two Debians and by docker compose.

The readers that need no host of their own: tests/limiter/test_env_readers.py.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile

import pytest

from provision.app.readers import misread
from provision.engine.private import PrivateInput
from tests.e2e.operator import Operator
from tests.limiter.env_values import AWKWARD, env_file, generated

VALUES = [*AWKWARD, *generated(12)]
ROOM = "/run/env-readers"
SYSTEMD = """for i in $(seq 0 {last}); do
  systemd-run -q --pipe --wait -p EnvironmentFile={room}/$i.env sh -c 'printf "%s." "$VALUE"' </dev/null | base64 -w0
  echo
done"""
COMPOSE = """for i in $(seq 0 {last}); do
  printf 'services: {{a: {{image: a, env_file: {room}/%s.env}}}}' $i > {room}/c.yaml
  HOME=/home/of-me docker compose -f {room}/c.yaml config --format json 2>/dev/null | tr -d '\\n'
  echo
done"""


def laid_out(operator: Operator, host: str) -> None:
    """One file for each value, in a directory of the host's memory."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for number, value in enumerate(VALUES):
            text = env_file(value).encode()
            entry = tarfile.TarInfo(f"{number}.env")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
    unpack = f"mkdir -p {ROOM} && base64 -d | tar -x -C {ROOM}"
    operator.read(host, unpack, PrivateInput(base64.b64encode(whole.getvalue()).decode()))


def read(operator: Operator, host: str, script: str) -> list[str]:
    laid_out(operator, host)
    done = operator.on(host, script.format(last=len(VALUES) - 1, room=ROOM) + f"; rm -r {ROOM}", timeout=300)
    return done.stdout.removesuffix("\n").split("\n")


def by_compose(line: str) -> str | None:
    # It writes a dollar twice, as its own files must.
    return json.loads(line)["services"]["a"]["environment"]["VALUE"].replace("$$", "$") if line else None


def agrees(reader: str, got: list[str | None]) -> None:
    assert len(got) == len(VALUES)
    wrong = {value: each for value, each in zip(VALUES, got, strict=True) if each != value}
    told = {value for value in VALUES if reader in misread(value)}
    assert {value: each for value, each in wrong.items() if value not in told} == {}
    assert told - wrong.keys() == set()


@pytest.mark.servers
@pytest.mark.parametrize("host", ["app1", "app2"])
def test_systemd_takes_a_value_for_another_only_where_that_is_told(operator: Operator, host: str) -> None:
    lines = read(operator, host, SYSTEMD)
    agrees("systemd", [base64.b64decode(line).decode().removesuffix(".") for line in lines])


@pytest.mark.docker1
def test_docker_compose_takes_a_value_for_another_only_where_that_is_told(operator: Operator) -> None:
    agrees("docker compose", [by_compose(line) for line in read(operator, "docker1", COMPOSE)])
