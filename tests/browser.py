"""A real, headless Chromium, driven over a pipe (Chrome DevTools Protocol); only where it is installed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next((name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), "")
_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions", "--hide-scrollbars",
            "--disable-background-networking", "--remote-debugging-pipe", "about:blank")  # fmt: skip


class PageError(AssertionError):
    """What the page's script raised."""


class Browser:
    """One page. `problems` are uncaught errors, console errors and violations of the page's own security policy."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._left, self._number = read, write, b"", 0
        self.problems: list[str] = []
        self.requested: list[str] = []
        target = self._call("Target.createTarget", {"url": "about:blank"}, session="")["targetId"]
        attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True}, session="")
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._call("Emulation.setDeviceMetricsOverride", size)
        self.media("dark" if dark else "light")
        self._call("Page.navigate", {"url": url})
        self.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")

    def leave(self) -> None:
        """Ask the service nothing more."""
        self._call("Page.navigate", {"url": "about:blank"})
        self.wait_for("location.href === 'about:blank'")

    def media(self, scheme: str) -> None:
        self._call("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def evaluate(self, script: str) -> Any:
        found = self._call("Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True})
        if "exceptionDetails" in found:
            raise PageError(found["exceptionDetails"])
        return found["result"].get("value")

    def wait_for(self, script: str, timeout: float = 60.0) -> Any:
        """Until the script gives something true."""
        deadline = time.monotonic() + timeout
        while not (found := self.evaluate(script)):
            assert time.monotonic() < deadline, (script, self.problems, self.evaluate("document.body?.innerText"))
            time.sleep(0.05)
        return found

    def press(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self._call("Input.dispatchKeyEvent", {"type": kind, "key": key, "windowsVirtualKeyCode": code, **more})

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        """The page as PNG, all of it or what the window shows."""
        found = self._call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole})
        file.write_bytes(base64.b64decode(found["data"]))

    def _call(self, method: str, parameters: dict[str, Any] | None = None, session: str | None = None) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters or {}}
        chosen = getattr(self, "_session", "") if session is None else session
        if chosen:
            message["sessionId"] = chosen
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _next(self) -> Any:
        while b"\0" not in self._left:
            data = os.read(self._read, 1 << 20)
            assert data, "the browser ended"
            self._left += data
        found, _, self._left = self._left.partition(b"\0")
        return json.loads(found)

    def _note(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requested.append(parameters["request"]["url"])


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A new profile in `folder`; gone at the end."""
    for_child, to_child = os.pipe()
    from_child, of_child = os.pipe()
    # The pipe's ends have to be 3 and 4 in the child.
    script = 'exec "$@" 3<&"$IN" 4>&"$OUT"'
    command = ["bash", "-c", script, "bash", CHROMIUM, *_OPTIONS, f"--user-data-dir={folder}"]
    environment = {**os.environ, "IN": str(for_child), "OUT": str(of_child)}
    with (folder.parent / f"{folder.name}.log").open("wb") as log, subprocess.Popen(
        command, pass_fds=(for_child, of_child), env=environment, stdout=log, stderr=log
    ) as child:  # fmt: skip
        os.close(for_child)
        os.close(of_child)
        try:
            yield Browser(from_child, to_child)
        finally:
            os.close(to_child)  # the browser ends when its pipe does
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
            os.close(from_child)
