"""A dead man's switch is told of each run by a real HTTP request, and never keeps a backup from being made."""

from __future__ import annotations

import gzip
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from pathlib import Path

import pytest
from pydantic import SecretStr

from provision.backup import layout

from .host import Host, until
from .unprivileged import give_to_user


class Switch:
    """An HTTP server that keeps what it was told: (path, body)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.status = 200
        switch = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                switch.told.append((self.path, body))
                self.send_response(switch.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/k3y-of-ours/medaction-{{name}}"

    @property
    def paths(self) -> list[str]:
        """What was told; curl tells again what was not answered in time, as on a busy machine."""
        return [path.removeprefix("/k3y-of-ours/") for path, _ in groupby(path for path, _ in self.told)]


@pytest.fixture
def switch() -> Iterator[Switch]:
    switch = Switch()
    yield switch
    switch.server.shutdown()


@pytest.fixture
def pinged(host: Host, switch: Switch) -> Host:
    host.configure(backup_ping_url=SecretStr(switch.url))
    for file in layout.ping(host.settings):
        host.place(file.content, Path(file.path), file.mode | 0o004)  # the stand-in host has one user
    return host


def run(host: Host, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return host.run("../../programs/ping.sh", "daily", *command, **environ)


def test_a_good_run_is_told_at_its_beginning_and_its_end(pinged: Host, switch: Switch) -> None:
    assert run(pinged, f"{pinged.settings.backup_program_dir}/backup-database.sh").returncode == 0
    assert switch.paths == ["medaction-daily/start", "medaction-daily"]
    assert len(list(pinged.backups.glob("medaction_2*.sql.gz"))) == 1


def test_a_failed_run_is_told_with_what_it_said_last(pinged: Host, switch: Switch) -> None:
    done = run(pinged, f"{pinged.settings.backup_program_dir}/backup-database.sh", "--database", "nowhere")
    assert done.returncode not in (0, 75)
    assert switch.paths == ["medaction-daily/start", "medaction-daily/fail"]
    assert (
        'database "nowhere" does not exist' in switch.told[-1][1] and 'database "nowhere" does not exist' in done.stderr
    )


def test_of_a_failed_run_no_row_is_told(pinged: Host, switch: Switch) -> None:
    pinged.cluster.ask(pinged.database, "UPDATE patients SET nom = 'SECRETNAME'")
    dump = pinged.good_backup()
    end, refused = b"\n-- PostgreSQL database dump complete", b"\nSELECT nom::date FROM public.patients;"
    text = gzip.decompress(dump.read_bytes())
    hostile = pinged.backups / "hostile.sql.gz"
    hostile.write_bytes(gzip.compress(text.replace(end, refused + end)))
    give_to_user(hostile)
    into = pinged.cluster.new_database(template="template0")
    restore = f"{pinged.settings.backup_program_dir}/restore-database.sh"
    assert run(pinged, restore, "--into", into, "--from", str(hostile)).returncode == 1
    path, said = switch.told[-1]
    assert path.endswith("/fail") and "a value was refused" in said and "SECRETNAME" not in said


def test_a_run_that_gave_way_to_another_is_told_to_nobody(pinged: Host, switch: Switch) -> None:
    assert run(pinged, "sh", "-c", "exit 75").returncode == 75
    assert switch.paths == ["medaction-daily/start"]


@pytest.mark.fault
@pytest.mark.parametrize("trouble", ["nobody there", "404", "500", "no file"])
def test_who_cannot_be_told_keeps_no_backup_from_being_made(pinged: Host, switch: Switch, trouble: str) -> None:
    if trouble == "nobody there":
        switch.server.shutdown()
        switch.server.server_close()
    elif trouble == "no file":
        Path(f"{pinged.settings.backup_config_dir}/ping-url").unlink()
    else:
        switch.status = int(trouble)
    done = run(pinged, f"{pinged.settings.backup_program_dir}/backup-database.sh")
    assert done.returncode == 0 and len(list(pinged.backups.glob("medaction_2*.sql.gz"))) == 1
    assert "nobody was told" in done.stderr or "ping-url is missing" in done.stderr
    assert "k3y-of-ours" not in done.stderr + done.stdout


def test_the_address_is_in_no_argument_list_and_no_environment(pinged: Host, switch: Switch) -> None:
    look = "for p in /proc/[0-9]*; do cat $p/cmdline $p/environ 2>/dev/null | tr '\\0' ' '; done >>seen"
    pinged.shim("curl", f'{look}; exec "${{real[@]}}" "$@"')
    done = run(pinged, "sh", "-c", look)
    assert done.returncode == 0, done.stderr
    seen = (pinged.app_dir / "seen").read_text(errors="replace")
    assert seen.count("--max-time 10") >= 2 and "k3y-of-ours" not in seen
    assert switch.paths == ["medaction-daily/start", "medaction-daily"]


def test_a_run_that_is_stopped_is_told_as_failed(pinged: Host, switch: Switch) -> None:
    running = pinged.popen("../../programs/ping.sh", "daily", "sh", "-c", "echo at work >&2; exec sleep 60")
    assert running.stderr and running.stderr.readline() == "at work\n"
    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == 143
    assert switch.paths == ["medaction-daily/start", "medaction-daily/fail"]


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT"])
def test_a_run_that_was_told_of_is_told_as_failed_wherever_it_is_stopped(
    pinged: Host, switch: Switch, name: str
) -> None:
    stopping = pinged.app_dir / "stopping.sh"  # read by bash before the script: a signal before its nth command
    stopping.write_text(
        f"nth=0; set -T\ntrap '[[ $BASHPID != $$ ]] || (( ++nth != stop_before )) || kill -{name} $$' DEBUG\n"
    )
    ends: list[tuple[list[str], int]] = []
    while not ends or ends[-1] != (["start", "ok"], 0):
        switch.told.clear()
        done = run(pinged, "sleep", "0.3", BASH_ENV=str(stopping), stop_before=str(len(ends) + 1))
        told = [path.removeprefix("medaction-daily").removeprefix("/") or "ok" for path in switch.paths]
        ends.append((told, done.returncode))
        assert len(ends) < 100
    died = ([], -getattr(signal, f"SIG{name}"))
    assert [end for end, _ in groupby(ends)] == [died, (["start", "fail"], 143), (["start", "ok"], 0)]
    assert ends.count((["start", "fail"], 143)) > 5


def test_what_a_hook_leaves_running_keeps_no_end_from_being_told(pinged: Host, switch: Switch) -> None:
    begun = pinged.popen("../../programs/ping.sh", "daily", "sh", "-c", "echo begun >&2; sleep 60 & exit 1")
    until(lambda: len(switch.paths) == 2, "its end is told", seconds=40)
    assert switch.paths == ["medaction-daily/start", "medaction-daily/fail"] and switch.told[-1][1] == "begun\n"
    assert begun.wait(timeout=10) == 1
