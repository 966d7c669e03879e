"""An SSH server that runs what it is told, as a process that can be paused: `python ssh_server.py KEY` prints its port.

paramiko's own server half: this level has neither root nor hosts; the real ones are asked in tests/e2e.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import paramiko


class Shell(paramiko.ServerInterface):
    """Lets everybody in, and runs every command."""

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=_run, args=(channel, command.decode()), daemon=True).start()
        return True


def _run(channel: paramiko.Channel, command: str) -> None:
    process = subprocess.Popen(
        ["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin and process.stdout and process.stderr
    streams = [(process.stdout, channel.sendall), (process.stderr, channel.sendall_stderr)]
    pumps = [threading.Thread(target=_pump, args=pair, daemon=True) for pair in streams]
    threading.Thread(target=_feed, args=(channel, process.stdin), daemon=True).start()
    for pump in pumps:
        pump.start()
    for pump in pumps:
        pump.join()
    channel.send_exit_status(process.wait())
    channel.close()


def _pump(stream: IO[bytes], send) -> None:
    try:
        while data := os.read(stream.fileno(), 65536):
            send(data)
    except OSError:
        stream.close()  # the client is gone: whoever writes on is told


def _feed(channel: paramiko.Channel, stdin: IO[bytes]) -> None:
    while data := channel.recv(65536):
        os.write(stdin.fileno(), data)
    stdin.close()


def _serve(key: str) -> None:
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    while True:
        connection, _ = listening.accept()
        transport = paramiko.Transport(connection)
        transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(key))
        transport.set_subsystem_handler("sftp", paramiko.SFTPServer)
        with contextlib.suppress(paramiko.SSHException, EOFError):  # ssh-keyscan asks for kinds of keys that it has not
            transport.start_server(server=Shell())


@contextlib.contextmanager
def server(key: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A server with this host key: its port and its process."""
    process = subprocess.Popen([sys.executable, __file__, str(key)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield int(process.stdout.readline()), process
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    _serve(sys.argv[1])
