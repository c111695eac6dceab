"""Drives a headless Chromium over its DevTools protocol: what is loaded, logged, shown and pressed in a page."""

import base64
import io
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium; on Debian: apt-get install chromium")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
START_SECONDS = 60.0


class Page:
    """One page of a browser."""

    def __init__(self, socket: ClientConnection):
        self.socket, self.numbers = socket, itertools.count(1)
        self.problems: list[str] = []
        """What was logged as an error or a warning, and every exception that nobody caught."""
        self.errors: list[str] = []
        """Those of them that are no warnings."""
        self.requests: list[str] = []
        """Addresses that were asked for, but for those whose content is in them."""
        self.loaded = False
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params) -> dict:
        """Sends a command; returns its result."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=120))
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self.heard(message)

    def heard(self, message: dict) -> None:
        """Keeps what an event tells."""
        params = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self.loaded = True
            case "Runtime.exceptionThrown":
                self.note(json.dumps(params["exceptionDetails"]), "error")
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.note(json.dumps(params["args"]), params["type"])
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.note(f"{params['entry']['text']} {params['entry'].get('url', '')}", params["entry"]["level"])
            case "Network.requestWillBeSent" if not params["request"]["url"].startswith(("data:", "blob:")):
                self.requests.append(params["request"]["url"])

    def note(self, problem: str, level: str) -> None:
        """Keeps a problem, and an error also as such."""
        self.problems.append(problem)
        if level != "warning":
            self.errors.append(problem)

    def go(self, url: str) -> None:
        """Loads a page."""
        self.loaded = False
        self.ask("Page.navigate", url=url)
        self.wait(lambda: self.loaded, "the page to load")

    def run(self, script: str):
        """Evaluates JavaScript, awaited, and returns its value."""
        result = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in result, json.dumps(result["exceptionDetails"])
        return result["result"].get("value")

    def wait(self, true, what: str, seconds: float = 60.0):
        """Waits until a function, or JavaScript, is true, and returns what it returned."""
        end = time.monotonic() + seconds
        while not (found := self.run(true) if isinstance(true, str) else true()):
            assert time.monotonic() < end, f"waited in vain for {what}; the page says: {self.text()!r}"
            time.sleep(0.05)
            self.run("0")  # hears what has happened
        return found

    def text(self) -> str:
        """Returns all text of the page."""
        return self.run("document.body ? document.body.innerText : ''")

    def press(self, label: str) -> None:
        """Clicks the button of this label, once it is there."""
        script = f"""(() => {{
            const buttons = [...document.querySelectorAll("button")];
            const found = buttons.find(button => button.innerText.trim() === {json.dumps(label)});
            if (found) found.click();
            return Boolean(found);
        }})()"""
        self.wait(script, f"the button '{label}'")

    def type_over(self, selector: str, text: str) -> None:
        """Replaces what stands in a field."""
        self.run(f"(() => {{ const f = document.querySelector({json.dumps(selector)}); f.focus(); f.select(); }})()")
        self.ask("Input.insertText", text=text)

    def choose_file(self, selector: str, path: Path) -> None:
        """Chooses a file in a field for files, as from the browser's dialogue."""
        root = self.ask("DOM.getDocument")["root"]["nodeId"]
        field = self.ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.ask("DOM.setFileInputFiles", files=[str(path)], nodeId=field)

    def size(self, width: int, height: int, scale: float = 1.0) -> None:
        """Sets the window's size in CSS pixels."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def dark(self, on: bool) -> None:
        """Prefers dark colours, or light ones."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if on else "light"}]
        self.ask("Emulation.setEmulatedMedia", features=features)

    def drag(self, x: float, y: float, to_x: float, to_y: float, steps: int = 8) -> None:
        """Drags the mouse from one place to another, with its left button."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.ask("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", clickCount=1)
        for i in range(1, steps + 1):
            place = {"x": x + (to_x - x) * i / steps, "y": y + (to_y - y) * i / steps}
            self.ask("Input.dispatchMouseEvent", type="mouseMoved", button="left", buttons=1, **place)
            time.sleep(0.03)  # no hand is faster
        self.ask("Input.dispatchMouseEvent", type="mouseReleased", x=to_x, y=to_y, button="left", clickCount=1)

    def screenshot(self, path: Path | None = None, whole: bool = False) -> bytes:
        """Returns the window, or the whole page, as PNG; writes it too where a path is given."""
        content = base64.b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"])
        if path is not None:
            path.write_bytes(content)
        return content

    def picture(self) -> np.ndarray:
        """Returns the window, `[H, W, 3]` bytes."""
        return np.asarray(Image.open(io.BytesIO(self.screenshot())).convert("RGB"))

    def pdf(self) -> bytes:
        """Prints the page."""
        return base64.b64decode(self.ask("Page.printToPDF", printBackground=False)["data"])


@contextmanager
def browser() -> Iterator[Page]:
    """Starts a browser with one empty page; it ends with the block."""
    assert PROGRAM is not None, "tests that use this are marked by needs_browser"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        process = subprocess.Popen(
            [PROGRAM, *OPTIONS, f"--user-data-dir={home}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with connect(address_of_page(Path(home), process), max_size=None, ping_interval=None) as socket:
                yield Page(socket)
        finally:
            process.terminate()
            process.wait(timeout=30)


def address_of_page(home: Path, process: subprocess.Popen) -> str:
    """Waits for the browser, and returns the address of its page's socket."""
    file, end = home / "DevToolsActivePort", time.monotonic() + START_SECONDS
    while not (file.is_file() and len(file.read_text().split()) == 2):
        assert process.poll() is None and time.monotonic() < end, "the browser did not start"
        time.sleep(0.05)
    port, path = file.read_text().split()
    with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as socket:
        while True:
            try:
                socket.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
                while (answer := json.loads(socket.recv(timeout=30))).get("id") != 1:
                    pass
            except WebSocketException as error:
                raise AssertionError(f"the browser ended: {error}") from error
            for target in answer["result"]["targetInfos"]:
                if target["type"] == "page":
                    return f"ws://127.0.0.1:{port}/devtools/page/{target['targetId']}"
            time.sleep(0.05)
