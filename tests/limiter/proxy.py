"""A network between the app and Redis that can be cut without a word to either; what is dialled then stays dead."""

from __future__ import annotations

import contextlib
import socket
import threading


class Proxy:
    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._is_up = threading.Event()
        self._is_up.set()
        self._dead: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._is_up.clear()

    def mend(self) -> None:
        self._is_up.set()

    def has_been_dialled(self) -> bool:
        """Since it was cut."""
        return bool(self._dead)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        if not self._is_up.is_set():
            self._dead.append(near)
            return
        with contextlib.suppress(OSError):
            far = socket.create_connection(("127.0.0.1", self._target_port))
            threading.Thread(target=self._pump, args=(far, near), daemon=True).start()
            self._pump(near, far)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError), source, sink:
            while data := source.recv(65536):
                self._is_up.wait()
                sink.sendall(data)
