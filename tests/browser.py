"""A headless Chromium for tests, driven by its DevTools protocol over two pipes.

The protocol is JSON, each message ended by a zero byte: https://chromedevtools.github.io.
"""
from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SECONDS = 60.0                       # the most that anything may take


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class Browser:
    """A browser with one page; `messages` has what the page wrote to its console, and errors."""

    def __init__(self, path: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="nncompile-browser-")
        commands, self._to = os.pipe()
        self._from, answers = os.pipe()
        # the browser reads file descriptor 3 and writes 4: a shell puts them there
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--no-first-run", "--remote-debugging-pipe", "--force-color-profile=srgb",
                   f"--user-data-dir={self._folder}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{commands} 4>&{answers}', path, *options],
            pass_fds=(commands, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(commands)
        os.close(answers)
        self._number, self._read = 0, b""
        self.messages: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        self._session: str | None = None
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def close(self) -> None:
        os.close(self._to)                       # the browser ends when its pipe does
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- the protocol ------------------------------------------------------------------------------

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command and returns its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            new = os.read(self._from, 1 << 20) if ready else b""
            if not new:
                raise AssertionError("the browser does not answer")
            self._read += new
        message, _, self._read = self._read.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        match event.get("method"), event.get("params", {}):
            case "Runtime.consoleAPICalled", {"type": kind, "args": args}:
                self.messages.append(f"{kind}: {[a.get('value') for a in args]}")
            case "Runtime.exceptionThrown", {"exceptionDetails": details}:
                self.messages.append(f"exception: {details}")
            case "Log.entryAdded", {"entry": entry}:
                self.messages.append(f"{entry['level']}: {entry['text']}")
            case "Network.requestWillBeSent", {"request": request}:
                self.requests.append(request["url"])
            case "Page.loadEventFired", _:
                self._loaded = True

    # -- the page ----------------------------------------------------------------------------------

    def open(self, path: Path, width: int = 1440, height: int = 1000, dark: bool = False) -> None:
        """Opens a file in a window of this size, and waits until it is loaded."""
        self.messages.clear()
        self.requests.clear()
        self.resize(width, height)
        scheme = "dark" if dark else "light"
        self.send("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"}])
        self._loaded = False
        self.send("Page.navigate", url=path.resolve().as_uri())
        while not self._loaded:
            self._note(self._receive())

    def resize(self, width: int, height: int) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)

    def run(self, script: str) -> Any:
        """Returns the value of a JavaScript expression."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True,
                           awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Clicks in the middle of an element with the mouse."""
        place = self.run(f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{block: "center", inline: "center"}});
            const box = element.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left",
                      clickCount=1)

    def press(self, key: str, text: str = "") -> None:
        """Presses and releases a key, which writes `text`."""
        codes = {"Enter": 13, "Tab": 9, "ArrowUp": 38, "ArrowDown": 40, "ArrowLeft": 37,
                 "ArrowRight": 39, "Home": 36, "End": 35, "Escape": 27, " ": 32}
        written = text or ("\r" if key == "Enter" else key if len(key) == 1 else "")
        code = codes.get(key, ord(key[0].upper()))
        down = "keyDown" if written else "rawKeyDown"
        self.send("Input.dispatchKeyEvent", type=down, key=key, text=written,
                  windowsVirtualKeyCode=code, code=key)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code,
                  code=key)

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """Writes the page, or what the window shows of it, as a PNG file."""
        answer = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole,
                           **({"clip": self._whole()} if whole else {}))
        path.write_bytes(base64.b64decode(answer["data"]))

    def _whole(self) -> dict[str, float]:
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
