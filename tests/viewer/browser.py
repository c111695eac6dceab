"""A headless Chromium that tests drive by its DevTools protocol, over the websockets that viser brings."""

import base64
import contextlib
import io
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu-sandbox --use-gl=angle --use-angle=swiftshader "
    "--enable-unsafe-swiftshader --no-first-run --disable-dev-shm-usage --remote-debugging-port=0 "
    "--remote-allow-origins=* --window-size=800,600 --hide-scrollbars"
)


class Browser:
    """One page of a browser."""

    def __init__(self, socket):
        self.socket, self.number, self.loaded = socket, 0, False
        self.errors: list[str] = []
        """What the page has complained of."""
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=800, height=600, deviceScaleFactor=1, mobile=False)

    def call(self, method: str, **parameters) -> dict:
        """Calls a method of the protocol, and returns its result; events on the way are looked at."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=60))
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            self.note(message)

    def note(self, event: dict) -> None:
        """Keeps what is an error."""
        about = event.get("params", {})
        match event.get("method"):
            case "Page.loadEventFired":
                self.loaded = True
            case "Runtime.exceptionThrown":
                self.errors.append(about["exceptionDetails"].get("exception", {}).get("description", "an exception"))
            case "Runtime.consoleAPICalled" if about["type"] == "error":
                self.errors.append(" ".join(str(one.get("value", one.get("description"))) for one in about["args"]))
            case "Log.entryAdded" if about["entry"]["level"] == "error":
                self.errors.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")

    def evaluate(self, script: str):
        """Returns the value of a script."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(self, url: str) -> None:
        """Goes to an address, and waits until the page is loaded."""
        self.loaded = False
        self.call("Page.navigate", url=url)
        while not self.loaded:
            self.note(json.loads(self.socket.recv(timeout=60)))

    def text(self) -> str:
        """Returns all text of the page."""
        return self.evaluate("document.body ? document.body.innerText : ''")

    def until(self, condition, seconds: float = 60.0, what: str = "it"):
        """Waits until a condition holds, and returns what it returned."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.1)
        raise AssertionError(f"{what} did not come about in {seconds:g} s; the page says: {self.text()!r}")

    def press(self, label: str) -> None:
        """Clicks the button of this label."""
        script = f"""(() => {{
            const buttons = [...document.querySelectorAll("button")];
            const found = buttons.find(button => button.innerText.trim() === {json.dumps(label)});
            if (found) found.click();
            return Boolean(found);
        }})()"""
        self.until(lambda: self.evaluate(script), what=f"the button '{label}'")

    def type_over(self, selector: str, text: str) -> None:
        """Replaces what stands in a field."""
        script = f"(() => {{ const f = document.querySelector({json.dumps(selector)}); f.focus(); f.select(); }})()"
        self.evaluate(script)
        self.call("Input.insertText", text=text)

    def drag(self, start: tuple[int, int], by: tuple[int, int], moves: int = 8) -> None:
        """Drags the mouse with its left button down."""
        x, y = start

        def mouse(kind: str, x: float, y: float) -> None:
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

        mouse("mouseMoved", x, y)
        mouse("mousePressed", x, y)
        for move in range(1, moves + 1):
            mouse("mouseMoved", x + by[0] * move / moves, y + by[1] * move / moves)
            time.sleep(0.03)
        mouse("mouseReleased", x + by[0], y + by[1])

    def picture(self) -> np.ndarray:
        """Returns what the page looks like, `[H, W, 3]` bytes."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Starts a browser whose files are in the folder, and ends it."""
    from websockets.sync.client import connect

    process = subprocess.Popen(
        [str(CHROMIUM), *FLAGS.split(), f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port_file, end = folder / "DevToolsActivePort", time.monotonic() + 60
        while not port_file.exists() or not port_file.read_text().strip():
            assert process.poll() is None and time.monotonic() < end, "Chromium does not start"
            time.sleep(0.1)
        port = port_file.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            pages = [target for target in json.load(answer) if target["type"] == "page"]
        with connect(pages[0]["webSocketDebuggerUrl"], max_size=None, ping_interval=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        process.wait(20)
