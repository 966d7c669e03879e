"""The standard streams, made good. To be imported before pyinfra, which asks them things as it is imported.

One that is closed (`>&-`, a service's) leads nowhere instead: what is opened next would get its number, and what is
printed would go into that file, or to a host. Where whoever reads a pipe has gone (`| head`), the rest leads nowhere:
a deploy goes on to its end, and the exit code is the command's own.
"""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from typing_extensions import override


class _Pipe(io.FileIO):
    """A pipe's end, which leads nowhere once there is nobody at the other."""

    @override
    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def _open_closed() -> None:
    """What is opened later gets no standard stream's number, and the programs that are started have all three."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)  # the lowest that is free: this one
            os.set_inheritable(number, True)


def _nowhere(mode: str) -> TextIO:
    return io.TextIOWrapper(io.FileIO(os.devnull, mode), encoding="utf-8", write_through=True)


def _of_pipe(stream: TextIO) -> TextIO:
    try:
        kind = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):
        return stream  # a test's, which has no number
    if not isinstance(stream, io.TextIOWrapper) or not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
        return stream
    pipe: Any = _Pipe(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        pipe if stream.write_through else io.BufferedWriter(pipe), stream.encoding, stream.errors,
        line_buffering=stream.line_buffering, write_through=stream.write_through,
    )  # fmt: skip


def run(command: Sequence[str], *, cwd: Path, environ: Mapping[str, str]) -> int:
    """The exit code of a program that prints where we do; into a pipe through us, who need no reader."""
    buffer = getattr(sys.stdout, "buffer", None)
    if not isinstance(getattr(buffer, "raw", buffer), _Pipe):
        return subprocess.run(command, cwd=cwd, env=environ, check=False).returncode
    with subprocess.Popen(command, cwd=cwd, env=environ, stdout=subprocess.PIPE) as program:
        assert program.stdout
        try:
            sys.stdout.flush()
            while piece := program.stdout.read1():  # type: ignore[attr-defined]
                sys.stdout.buffer.write(piece)
                sys.stdout.flush()
        except BaseException:  # interrupted: as `subprocess.run` does
            program.kill()
            raise
    return program.returncode


_open_closed()
sys.stdin = sys.stdin or _nowhere("r")
sys.stdout = _of_pipe(sys.stdout or _nowhere("w"))
sys.stderr = _of_pipe(sys.stderr or _nowhere("w"))
