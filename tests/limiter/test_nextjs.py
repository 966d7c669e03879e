"""A real Next.js app: one `next build`, two instances of `next start`, the handbook's route."""

from __future__ import annotations

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
from tests.limiter.deployed import env_text
from tests.limiter.node import HERE, PACKAGES
from tests.limiter.redis_server import RedisServer, free_port
from tests.limiter.waiting import until

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


@pytest.mark.parametrize("ioredis", ["ioredis", pytest.param("ioredis6", marks=pytest.mark.prove)])
def test_two_instances_of_an_app_admit_exactly_the_limit(
    instances: Callable[[str], list[Instance]], redis: RedisServer, ioredis: str
):
    apps = instances(ioredis)
    with ThreadPoolExecutor(10) as people:
        answers = list(people.map(lambda i: apps[i % 2].login("192.0.2.1"), range(20)))
    assert sorted(answers) == [200] * 5 + [429] * 15
    assert len(redis.counters()) == 1
    for app in apps:
        assert app.log.count("✅ Connecté à Redis") == 1, app.log
        assert "⚠️" not in app.log
