"""A headless Chromium, told what to do over a pipe by its DevTools protocol."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

_SECONDS = 60


class Browser:
    """One tab. `said` is what the page wrote on its console or broke of its policy, `asked_for` each address that it
    wanted to load."""

    def __init__(self, profile: Path) -> None:
        self.said: list[str] = []
        self.asked_for: list[str] = []
        self._numbers, self._rest, self._loaded = itertools.count(1), b"", False
        there, self._to = _pipe()
        self._from, back = _pipe()
        # Chromium reads from its descriptor 3 and writes to 4.
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{there} 4>&{back}', "bash", "chromium", "--headless", "--no-sandbox",
             "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--hide-scrollbars",
             "--disable-background-networking", "--no-first-run", "--disable-lcd-text", "about:blank"],
            pass_fds=(there, back), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(there)
        os.close(back)
        self._session = ""
        pages = [each for each in self.do("Target.getTargets")["targetInfos"] if each["type"] == "page"]
        attached = self.do("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.do(f"{domain}.enable")

    def open(self, page: Path, width: int, scheme: str = "light") -> None:
        """Show a file as a window of this width would, once it is loaded."""
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
        self.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.said.clear()
        self.asked_for.clear()
        self._loaded = False
        self.do("Page.navigate", url=page.resolve().as_uri())
        end = time.monotonic() + _SECONDS
        while not self._loaded:
            self._message(end)

    def value(self, javascript: str) -> Any:
        """What an expression, or a promise, comes to."""
        done = self.do("Runtime.evaluate", expression=javascript, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def picture(self, height: int | None = None) -> bytes:
        """The page as PNG, so much of it."""
        size = self.do("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        shot = self.do("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(shot["data"])

    def printed(self) -> bytes:
        """The page as PDF."""
        return base64.b64decode(self.do("Page.printToPDF")["data"])

    def end(self) -> None:
        self._process.kill()
        self._process.wait(10)
        os.close(self._to)
        os.close(self._from)

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        os.write(
            self._to, json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0"
        )
        end = time.monotonic() + _SECONDS
        while True:
            answer = self._message(end)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])

    def _message(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0, end - time.monotonic()))
            read = os.read(self._from, 1 << 20) if ready else b""
            assert read, f"Chromium gave no answer in {_SECONDS} s" if not ready else "Chromium ended"
            self._rest += read
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, told: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Network.requestWillBeSent":
            self.asked_for.append(told["request"]["url"])
        elif event in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.said.append(json.dumps(told))


def _pipe() -> tuple[int, int]:
    """Its two ends, neither of which is the other side's 3 or 4."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return moved[0], moved[1]
