"""An object storage on this machine, which the sandbox's hosts reach: moto's S3 server, which keeps all in memory."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from tests.sandbox import docker, packages


@dataclass(frozen=True)
class Bucket:
    """A bucket with versions, in which nothing can be deleted for a month; and the keys to it."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str

    @property
    def place(self) -> str:
        return f"s3:{self.name}/medaction"

    @property
    def rclone_conf(self) -> str:
        return (
            f"[s3]\ntype = s3\nprovider = Other\nendpoint = {self.endpoint}\nregion = us-east-1\n"
            f"access_key_id = {self.access_key}\nsecret_access_key = {self.secret_key}\n"
            "force_path_style = true\nno_check_bucket = true\n"
        )

    @property
    def s3(self) -> Any:
        """Amazon's own client: what is there is looked at by another way than rclone."""
        return boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1",
            aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key,
        )  # fmt: skip

    def objects(self) -> dict[str, bytes]:
        """What everybody sees in it, by name, from below `place`."""
        listed = self.s3.list_objects_v2(Bucket=self.name, Prefix="medaction/").get("Contents", [])
        return {
            each["Key"].removeprefix("medaction/"): self.s3.get_object(Bucket=self.name, Key=each["Key"])["Body"].read()
            for each in listed
        }


@contextmanager
def running(directory: Path) -> Iterator[str]:
    """The endpoint of an S3 server, on the sandbox's own bridge, for as long as the block runs."""
    if shutil.which("rclone") is None:  # by which an operator recovers from there
        packages.install("rclone")
    address = docker.run("exec", "medaction-sandbox-db1", "ip", "route", "show", "default").split()[2]
    with socket.socket() as free:
        free.bind((address, 0))
        port = free.getsockname()[1]
    with (directory / "moto.log").open("wb") as log:
        server = subprocess.Popen(
            [str(Path(sys.executable).with_name("moto_server")), "-H", address, "-p", str(port)],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        _await(server, address, port)
        yield f"http://{address}:{port}"
    finally:
        server.terminate()
        server.wait(10)


@contextmanager
def encrypted(endpoint: str, directory: Path, *, days: int = 2) -> Iterator[str]:
    """The same server by TLS, whose certificate `directory`/ca.crt has signed, for days (0: it has expired)."""
    address, port = endpoint.removeprefix("http://").split(":")
    for arguments in (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ours -keyout ca.key -out ca.crt",
        f"req -newkey rsa:2048 -nodes -subj /CN=s3 -addext subjectAltName=IP:{address} -keyout s3.key -out s3.csr",
        f"x509 -req -in s3.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days {days} -copy_extensions copy -out s3.crt",
    ):
        subprocess.run(["openssl", *arguments.split()], cwd=directory, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "s3.crt", directory / "s3.key")
    loop = asyncio.new_event_loop()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while part := await reader.read(1 << 16):
                writer.write(part)
                await writer.drain()
        except OSError:
            pass  # whoever went away has been told by the other side
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, before = await asyncio.open_connection(address, int(port))
        await asyncio.gather(relay(reader, before), relay(behind, writer))

    listening = loop.run_until_complete(asyncio.start_server(serve, address, 0, ssl=context))
    threading.Thread(target=loop.run_forever, daemon=True).start()
    try:
        yield f"https://{address}:{listening.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(listening.close)
        loop.call_soon_threadsafe(loop.stop)


def _await(server: subprocess.Popen[bytes], address: str, port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as knock:
            if knock.connect_ex((address, port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("moto's server does not answer")


def bucket(endpoint: str, *, lock: bool = True, versions: bool = True) -> Bucket:
    made = Bucket(f"b{secrets.token_hex(4)}", endpoint, secrets.token_hex(8), f"zq-{secrets.token_hex(16)}")
    made.s3.create_bucket(Bucket=made.name, ObjectLockEnabledForBucket=lock)
    if lock:
        month = {"Mode": "COMPLIANCE", "Days": 30}
        made.s3.put_object_lock_configuration(
            Bucket=made.name,
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": month}},
        )
    elif versions:
        made.s3.put_bucket_versioning(Bucket=made.name, VersioningConfiguration={"Status": "Enabled"})
    return made
