"""The rendered module made into something that runs: npm packages, TypeScript's verdict, bundles, processes.

`python -m tests.limiter.node MODULE.ts SERVER.js` bundles the test server with a module that a deploy placed:
one file that needs nothing but Node 18 or later on the host.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.limiter.debian import require
from tests.limiter.waiting import until
from tests.sandbox import packages

HERE = Path(__file__).resolve().parent
PACKAGES = HERE / "node_modules"
MODULE = "lib/security/rate-limiter-redis.ts"


def install_packages() -> None:
    """What package-lock.json says, in tests/limiter/node_modules; nothing is done when it is there already."""
    require("node", "nodejs", "npm")
    stamp, lock = PACKAGES / ".lock", (HERE / "package-lock.json").read_text()
    with packages.only_one():
        if not stamp.exists() or stamp.read_text() != lock:
            subprocess.run(["npm", "ci", "--silent"], cwd=HERE, check=True)
            stamp.write_text(lock)


def make_app(directory: Path, limiters: dict[str, str], ioredis: str = "ioredis") -> Path:
    """An app directory around the limiters (path to text), as an app would have it."""
    for path, text in limiters.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text.replace("from 'ioredis'", f"from '{ioredis}'"))
    if not (directory / "node_modules").exists():
        (directory / "node_modules").symlink_to(PACKAGES)
    for source in ("driver.ts", "server/server.ts", "server/load.ts"):
        shutil.copy(HERE / source, directory / Path(source).name)
    return directory


def complaints_of_typescript(app: Path, *files: str) -> str:
    """What `tsc --strict --noEmit` says about these files of an app; empty when it agrees."""
    options = {
        "strict": True, "noEmit": True, "noUnusedLocals": True, "noUncheckedIndexedAccess": True,
        "exactOptionalPropertyTypes": True, "noPropertyAccessFromIndexSignature": True, "noUnusedParameters": True,
        "noImplicitOverride": True, "noFallthroughCasesInSwitch": True,
        "isolatedModules": True, "verbatimModuleSyntax": True, "useUnknownInCatchVariables": True,
        "target": "es2022", "lib": ["es2022", "dom"], "module": "esnext", "moduleResolution": "bundler",
        "skipLibCheck": True, "types": ["node"],
        "paths": {"@/*": ["./*"]},
    }  # fmt: skip
    (app / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": files}))
    done = subprocess.run(
        ["node", PACKAGES / "typescript/bin/tsc", "-p", app], capture_output=True, text=True, timeout=120
    )
    return done.stdout + done.stderr


def bundle(app: Path, entry: str) -> Path:
    """One JavaScript file for Node 18, made from `entry` and all that it imports, Next.js excepted."""
    out = app / f"{Path(entry).stem}.js"
    subprocess.run(
        [
            PACKAGES / ".bin/esbuild", app / entry, "--bundle", f"--outfile={out}",
            "--platform=node", "--target=node18", "--external:next", "--log-level=warning",
            f"--alias:@={app}",
        ],
        check=True, timeout=120,
    )  # fmt: skip
    return out


class Node:
    """A Node process that evaluates JavaScript: see driver.ts for the names that it offers."""

    def __init__(self, script: Path, environment: dict[str, str], *flags: str) -> None:
        self.logs: list[str] = []
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        variables = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
        self._process = subprocess.Popen(
            ["node", *flags, str(script)], env={**variables, **environment}, cwd=script.parent, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def run(self, javascript: str, seconds: float = 30) -> Any:
        """The value of the last expression's `return`; AssertionError with what it threw."""
        self.begin(javascript)
        return self.result(seconds)

    def begin(self, javascript: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(javascript) + "\n")
        self._process.stdin.flush()

    def result(self, seconds: float = 30) -> Any:
        try:
            answer = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"Node did not answer in {seconds:g} s; it said: {self.logs}") from None
        assert "error" not in answer, f"{answer['error']}; it said: {self.logs}"
        return answer.get("value")

    def wait_for_log(self, pattern: str, times: int = 1) -> None:
        until(lambda: self.count_logs(pattern) >= times, f"the log line {pattern}; there are {self.logs}")

    def count_logs(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, line)) for line in self.logs)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("=> "):
                self._answers.put(json.loads(line[3:]))
            else:
                self.logs.append(line.rstrip("\n"))


def main(module: str, out: str) -> None:
    install_packages()
    files = {f"lib/security/{file.name}": file.read_text() for file in Path(module).parent.glob("*.ts")}
    app = make_app(Path(out).resolve().parent / "limiter-server", files)
    shutil.copy(bundle(app, "server.ts"), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
