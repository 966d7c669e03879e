"""What the deploy writes into `.env`, read by dotenv, Next.js, node, bash and python-dotenv themselves.

Those that need a service manager or Docker, systemd and docker compose: tests/e2e/test_env_readers.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from provision.app.readers import misread
from tests.limiter.env_values import AWKWARD, env_file, generated
from tests.limiter.node import PACKAGES

VALUES = [*AWKWARD, *generated(400)]
NODE = r"""
const read = %s, fs = require('fs');
for (const folder of fs.readFileSync(0, 'utf8').trim().split(/\s+/)) {
  let value = null;
  try { value = read(folder, fs.readFileSync(folder + '/.env', 'utf8')).VALUE ?? null } catch {}
  console.log(JSON.stringify(value));
}
"""
DOTENV = "(folder, text) => require('dotenv').parse(text)"
NEXT = """(folder) => {
  const quiet = { info() {}, error() {} };
  return require('@next/env').loadEnvConfig(folder, false, quiet, true).combinedEnv;
}"""
UTIL = "(folder, text) => require('util').parseEnv(text)"  # node's own parser, as of --env-file
PYTHON = """
import json, sys, dotenv
for folder in sys.stdin.read().split():
    print(json.dumps(dotenv.dotenv_values(folder + "/.env").get("VALUE")))
"""
# An assignment alone: what else a line does is no value of it.
BASH = r"""
while read -r folder; do
  env -i HOME=/home/of-me PATH=/nowhere "$BASH" -c '. "$1/.env" >/dev/null 2>&1; printf "%s\0" "$VALUE"' - "$folder"
done
"""


def said(command: list[str], folders: list[str]) -> bytes:
    environment = {"PATH": os.environ["PATH"], "NODE_PATH": str(PACKAGES), "HOME": "/home/of-me"}
    return subprocess.run(
        command, input="\n".join(folders).encode() + b"\n", env=environment, capture_output=True, check=True, cwd="/"
    ).stdout


def in_json(*command: str) -> Callable[[list[str]], list[str | None]]:
    return lambda folders: [json.loads(line) for line in said([*command], folders).splitlines()]


def by_bash(folders: list[str]) -> list[str | None]:
    return [text.decode() for text in said(["bash", "-c", BASH], folders).split(b"\0")[:-1]]


READERS = {
    "dotenv": in_json("node", "-e", NODE % DOTENV),
    "@next/env": in_json("node", "-e", NODE % NEXT),
    "node --env-file": in_json("node", "-e", NODE % UTIL),
    "bash's source": by_bash,
    "python-dotenv": in_json(sys.executable, "-c", PYTHON),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    made = []
    for value in VALUES:
        folder = tmp_path_factory.mktemp("env")
        (folder / ".env").write_text(env_file(value))
        made.append(str(folder))
    return made


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_takes_a_value_for_another_only_where_that_is_told(reader: str, folders: list[str]) -> None:
    read = READERS[reader](folders)
    assert len(read) == len(VALUES)
    wrong = {(value, got) for value, got in zip(VALUES, read, strict=True) if got != value}
    assert not {each for each in wrong if reader not in misread(each[0])}
    needless = {value for value in VALUES if reader in misread(value)} - {value for value, _ in wrong}
    assert not needless
