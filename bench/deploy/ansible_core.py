"""The same end state by Ansible: its environment, what it is given, its runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import BenchError
from bench.deploy import ENVIRONMENT
from bench.deploy.hosts import STATE, names
from bench.deploy.run import Run, timed
from provision.app import dotenv
from provision.app import layout as app_layout
from provision.debian.entries import Directory, Entry, File
from provision.engine import inventory
from provision.redis import layout as redis_layout

_HERE = Path(__file__).resolve().parent / "ansible"
_REQUIREMENTS = _HERE / "requirements.txt"
_ENVIRONMENT = STATE / "ansible"
_GIVEN = STATE / "deploy"

NAME = _REQUIREMENTS.read_text().split()[0].replace("==", " ")


def ensure() -> None:
    """Have the pinned Ansible in a virtual environment of its own."""
    complete = _ENVIRONMENT / ".complete"
    if complete.exists() and complete.read_text() == _REQUIREMENTS.read_text():
        return
    pip = [str(_ENVIRONMENT / "bin" / "pip"), "install", "-q", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(_ENVIRONMENT)],
        [*pip, "-r", str(_REQUIREMENTS)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{' '.join(command[:4])} failed: {done.stderr.strip().splitlines()[-1:]}")
    complete.write_text(_REQUIREMENTS.read_text())


def deploy() -> Run:
    """Run the playbook on all hosts, over connections of its own."""
    given = _give()
    with tempfile.TemporaryDirectory() as sockets:
        environ = {
            **os.environ,
            "ANSIBLE_CONFIG": str(_HERE / "ansible.cfg"),
            "ANSIBLE_HOME": str(STATE / "ansible-home"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets,
        }
        playbook = str(_ENVIRONMENT / "bin" / "ansible-playbook")
        seconds, output = timed([playbook, "-i", str(given), str(_HERE / "playbook.yml")], environ)
        for socket in Path(sockets).iterdir():
            subprocess.run(["ssh", "-S", str(socket), "-O", "exit", "-"], capture_output=True, check=False)
    return Run(seconds, sum(int(found) for found in re.findall(r" changed=(\d+) ", output)))


def _give() -> Path:
    """Render every file, as the project would, and describe them and the hosts. Return the inventory."""
    settings = inventory.read(ENVIRONMENT)[0].settings  # the hosts are alike
    redis = [redis_layout.config(settings), redis_layout.users(settings)]
    app = app_layout.files(settings)
    lines = dotenv.merge("", app_layout.variables(settings))
    app.append(File(app_layout.env_file(settings), lines, "root", settings.app_user, 0o640))
    shutil.rmtree(_GIVEN, ignore_errors=True)
    _GIVEN.mkdir(mode=0o700, parents=True)  # passwords are in them
    for file in (*redis, *app):
        if isinstance(file, File):
            path = _GIVEN / file.path.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.content, encoding="utf-8")
    variables = {
        "rendered": str(_GIVEN),
        "app_user": settings.app_user,
        "app_dir": settings.app_dir,
        "redis_files": [_described(file) for file in redis],
        "app_directories": [_described(entry) for entry in app if isinstance(entry, Directory)],
        "app_files": [_described(entry) for entry in app if isinstance(entry, File)],
    }
    given = _GIVEN / "inventory.json"
    given.write_text(json.dumps({"all": {"hosts": {name: {} for name in names()}, "vars": variables}}))
    return given


def _described(entry: Entry) -> dict[str, str]:
    return {"path": entry.path, "user": entry.user, "group": entry.group, "mode": f"{entry.mode:04o}"}
