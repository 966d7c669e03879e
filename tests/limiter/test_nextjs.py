"""A real Next.js app: one `next build`, two instances of `next start`, the handbook's route."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from provision.app.layout import limiters
from provision.settings import Settings
from tests.limiter.deployed import env_text, settings_with
from tests.limiter.node import HERE, PACKAGES
from tests.limiter.redis_server import RedisServer, free_port
from tests.limiter.waiting import until
from tests.sandbox import releases

ROUTE = "import { NextRequest, NextResponse } from 'next/server';\n" + (HERE / "guide_sample.ts").read_text().replace(
    "  checkApiRateLimit \n", "  getClientIP \n"
).replace("  // ... reste de la logique", "  return NextResponse.json({ remaining: rateLimit.remaining });")
LAYOUT = (
    "export default function Layout({ children }: { children: React.ReactNode }) {\n"
    "  return <html lang='fr'><body>{children}</body></html>;\n}\n"
)
PAGE = "export default function Page() {\n  return <p>MedAction</p>;\n}\n"
CONFIG = {"compilerOptions": {"strict": True, "paths": {"@/*": ["./*"]}}}


class Instance:
    """One `next start` of a built app."""

    def __init__(self, app: Path) -> None:
        self.port, self._log = free_port(), app / f"start-{free_port()}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                ["node", app / "node_modules/next/dist/bin/next", "start", "-p", str(self.port), "-H", "127.0.0.1"],
                cwd=app, env={**os.environ, "NODE_ENV": "production"}, stdout=log, stderr=log,
            )  # fmt: skip
        until(lambda: "Ready" in self.log, f"next start: {self.log}", 90)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def login(self, client: str) -> int:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/login", method="POST", headers={"X-Forwarded-For": client}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status
        except urllib.error.HTTPError as refused:
            return refused.code

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


def build(app: Path, settings: Settings, ioredis: str) -> None:
    """The app as a person would have it: their files, ours where a deploy puts them, packages of their own."""
    files = {
        **limiters(settings),
        "app/api/login/route.ts": ROUTE, "app/layout.tsx": LAYOUT, "app/page.tsx": PAGE,
        "tsconfig.json": json.dumps(CONFIG), ".env": env_text(settings),
        "package.json": json.dumps({"dependencies": dict.fromkeys(["next", "ioredis", "typescript"], "*")}),
        "next.config.mjs": "export default { turbopack: { root: import.meta.dirname } };\n",
    }  # fmt: skip
    for path, text in files.items():
        (app / path).parent.mkdir(parents=True, exist_ok=True)
        (app / path).write_text(text)
    # Next.js follows no link out of the app.
    shutil.copytree(PACKAGES, app / "node_modules", symlinks=True, copy_function=os.link)
    if ioredis != "ioredis":
        shutil.rmtree(app / "node_modules/ioredis")
        (app / "node_modules" / ioredis).rename(app / "node_modules/ioredis")
    done = subprocess.run(
        ["node", app / "node_modules/next/dist/bin/next", "build"], cwd=app, capture_output=True, text=True,
        timeout=400,
        env={**os.environ, "NEXT_TELEMETRY_DISABLED": "1", "NODE_ENV": "production"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def instances(tmp_path: Path, redis: RedisServer, settings: Settings) -> Iterator[Callable[[str], list[Instance]]]:
    started: list[Instance] = []

    def start(ioredis: str) -> list[Instance]:
        build(tmp_path / "next", settings, ioredis)
        started.extend(Instance(tmp_path / "next") for _ in range(2))
        return started

    yield start
    for one in started:
        one.stop()


def test_two_instances_of_an_app_admit_exactly_the_limit(
    instances: Callable[[str], list[Instance]], redis: RedisServer
):
    admit_exactly_the_limit(instances("ioredis"), redis)


def admit_exactly_the_limit(apps: list[Instance], redis: RedisServer) -> None:
    with ThreadPoolExecutor(10) as people:
        answers = list(people.map(lambda i: apps[i % 2].login("192.0.2.1"), range(20)))
    assert sorted(answers) == [200] * 5 + [429] * 15
    assert len(redis.counters()) == 1
    for app in apps:
        assert app.log.count("✅ Connecté à Redis") == 1, app.log
        assert "⚠️" not in app.log


SERVERS = {"redis-7.0": "bookworm", "redis-8.0": "trixie", "valkey-8.1": "trixie"}


def program_of(server: str) -> str:
    """A server out of the Debian that has this version, in a directory of its own."""
    name = server.partition("-")[0]
    programs = releases.unpacked(server, SERVERS[server], [f"{name}-server", f"{name}-tools"], "usr/bin")
    program = str(programs / f"{name}-server")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert f"v={server.partition('-')[2]}." in said, said
    return program


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The app with one major version of ioredis, built once; each Redis gives it an `.env` of its own."""

    @functools.cache
    def make(ioredis: str) -> Path:
        app = tmp_path_factory.mktemp("next") / "app"
        build(app, settings_with(), ioredis)
        return app

    return make


@pytest.mark.prove
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("ioredis", ["ioredis", "ioredis6"])
def test_the_matrix_of_servers_and_clients_admits_exactly_the_limit(
    built: Callable[[str], Path], tmp_path: Path, settings: Settings, server: str, ioredis: str
):
    app = built(ioredis)
    version = json.loads((app / "node_modules/ioredis/package.json").read_text())["version"]
    redis = RedisServer(tmp_path / "redis", settings, program=program_of(server)).start()
    (app / ".env").write_text(env_text(settings))
    apps = [Instance(app) for _ in range(2)]
    try:
        admit_exactly_the_limit(apps, redis)
    finally:
        for each in apps:
            each.stop()
        redis.kill()
    print(f"proved: matrix: ioredis {version} with {server}: two instances admitted 5 of 20")
