"""A real Chromium without a window, driven over the DevTools protocol through a pair of pipes."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "chromium-headless-shell")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--font-render-hinting=none",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
# The protocol is spoken on descriptors 3 (to the browser) and 4 (from it).
_LAUNCH = """
import os, sys
to, source, *command = sys.argv[1:]
os.dup2(int(to), 3)
os.dup2(int(source), 4)
os.execv(command[0], command)
"""
_CLEAR_OF_BOTH = 10
_WAIT = 30.0


def find() -> str:
    """The browser's path, of the machine or by scripts/chromium; nothing where there is none."""
    where = os.pathsep.join((os.environ.get("PATH", ""), str(Path(sys.prefix) / "bin")))
    return next((path for name in _NAMES if (path := shutil.which(name, path=where))), "")


class RefusedError(AssertionError):
    """The browser did not do what it was told."""


class Page:
    """One tab."""

    def __init__(self, to: int, source: int) -> None:
        self._to = to
        self._source = source
        self._buffer = b""
        self._last = 0
        self.complaints: list[str] = []
        """What the console said that is an error, such as a breach of the content policy."""
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> Any:
        """A command of the protocol, and its result."""
        return self._ask(method, params, session=self._session)

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        answer = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, url: str) -> None:
        """Go there."""
        self.send("Page.navigate", url=url)
        self.await_that("document.readyState === 'complete'")

    def await_that(self, script: str, *, seconds: float = _WAIT) -> Any:
        """Wait until an expression is true, over any navigation in between."""
        until = time.monotonic() + seconds
        while True:
            # In the middle of a navigation there is nothing to evaluate it in.
            with contextlib.suppress(RefusedError):
                answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
                if value := answer.get("result", {}).get("value"):
                    return value
            assert time.monotonic() < until, f"not within {seconds} s: {script}\n{self.text()}"
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """Click as a user would."""
        self.await_that(f"document.querySelector({selector!r}) !== null")
        self.run(f"void document.querySelector({selector!r}).click()")

    def press(self, key: str, code: int) -> None:
        """Press a key, as somebody without a mouse does; `code` is its `keyCode`."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **(text if kind == "keyDown" else {}),
            )

    def look_like(
        self, *, width: int = 1280, scheme: str = "light", height: int = 900, scale: float = 1
    ) -> None:
        """Have a screen of a size, whose user prefers a colour scheme."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        self.send("Emulation.setScrollbarsHidden", hidden=True)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", features=[feature])

    def text(self) -> str:
        """What can be read on the page."""
        return str(self.run("document.body.innerText"))

    def screenshot(self) -> bytes:
        """What is on the screen, as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot")["data"])

    def _ask(self, method: str, params: dict[str, Any], *, session: str | None = None) -> Any:
        self._last += 1
        call: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if session is not None:
            call["sessionId"] = session
        os.write(self._to, json.dumps(call).encode() + b"\0")
        while True:
            said = self._read()
            if said.get("id") == call["id"]:
                if "error" in said:
                    raise RefusedError(said["error"])
                return said["result"]
            self._hear(said)

    def _hear(self, said: dict[str, Any]) -> None:
        if said.get("method") == "Log.entryAdded":
            entry = said["params"]["entry"]
            if entry["level"] == "error":
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
        if said.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(said["params"]["exceptionDetails"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._source, 1 << 16)
            assert chunk, "the browser has ended"
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        said: dict[str, Any] = json.loads(line)
        return said


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Page]:
    """A browser with a fresh profile, ended afterwards."""
    to_read, to_write = _pipe()
    from_read, from_write = _pipe()
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", _LAUNCH, str(to_read), str(from_write)),
            *(program, *_FLAGS, f"--user-data-dir={profile}"),
        ],
        pass_fds=(to_read, from_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(from_write)
    try:
        yield Page(to_write, from_read)
    finally:
        os.close(to_write)
        process.terminate()
        process.wait(10)
        os.close(from_read)


def _pipe() -> tuple[int, int]:
    low = os.pipe()
    ends = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _CLEAR_OF_BOTH) for end in low)
    for end in low:
        os.close(end)
    return ends[0], ends[1]
