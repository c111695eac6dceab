"""The page in a real browser: from an image to a mesh that turns, a second visitor who waits, and what is refused."""

import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.browser import browser, needs_browser
from tests.tiny import picture
from threestudio_like.utils.paths import ROOT

pytest.importorskip("gradio", reason="gradio is not installed: the extra `demo`")
pytestmark = [pytest.mark.slow, needs_browser]


SERVER = """
import logging, sys
from pathlib import Path
from tests.demo import boxes
from threestudio_like.demo.methods import METHODS
from threestudio_like.demo.server import serve
from threestudio_like.utils import stopping
from threestudio_like.viewer.address import Address

logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
folder = Path(sys.argv[1])
slow = boxes.method(folder, steps=5000, seconds=0.02)
with stopping.answered():
    serve(folder / "runs", Address("127.0.0.1", 0), [METHODS[0], slow])
"""
"""Serves in a process of its own: gradio reads the annotations of what it calls, which the tests' type checks hide."""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The page's; at the end the server is interrupted, as by Ctrl-C."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-u", "-c", SERVER, str(folder)]
    with open(folder / "said.txt", "w") as said:
        server = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
    try:
        yield address_in(folder / "said.txt", server)
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0
        assert (folder / "said.txt").read_text().endswith("the page is closed\n")
    finally:
        server.kill()
        server.wait()


def address_in(said, server):
    """Waits until the server says where its page is."""
    end = time.monotonic() + 240
    while not (found := re.search(r"open (http\S+);", said.read_text())):
        assert server.poll() is None and time.monotonic() < end, said.read_text()
        time.sleep(0.1)
    return found[1]


def opened(page, url):
    page.size(1200, 1000)
    page.go(url)
    page.wait(lambda: "Make a mesh of the image" in page.text(), "the page", 120)


def write(page, prompt):
    """Opens the tab of texts, and writes a prompt."""
    page.run("[...document.querySelectorAll('button[role=tab]')].find(tab => tab.innerText.trim() == 'Text').click()")
    field = "input[placeholder='a red chair'], textarea[placeholder='a red chair']"
    page.wait(f'document.querySelector("{field}") !== null', "the field")
    page.type_over(field, prompt)


def choose(page, method):
    script = f"""(() => {{
        const found = [...document.querySelectorAll("label")].find(label => label.innerText.trim() == "{method}");
        if (found) found.click();
        return Boolean(found);
    }})()"""
    page.wait(script, f"the method {method}")
    page.wait(lambda: "of the recipe's 5000 steps" in page.text(), "what the method does")


def canvas(page):
    """Where the 3D view is on the page, and its pixels."""
    x, y, width, height = page.run(
        "(() => { const b = document.querySelector('canvas').getBoundingClientRect();"
        " return [b.x, b.y, b.width, b.height].map(Math.round) })()"
    )
    return (x + width // 2, y + height // 2), page.picture()[y : y + height, x : x + width].astype(int)


def drawn(page):
    """Which pixels of the 3D view are of a colour."""
    return np.ptp(canvas(page)[1], axis=-1) > 60


def test_an_image_becomes_a_mesh_that_turns(url, tmp_path):
    with browser() as page:
        opened(page, url)
        page.choose_file("input[type=file]", picture(tmp_path / "box.png", (200, 40, 40)))
        page.wait(lambda: "This cut-out is what is used" in page.text(), "the cut-out")
        page.wait("[...document.querySelectorAll('img')].some(i => i.naturalWidth == 256)", "its picture")
        page.press("Make a mesh of the image")
        page.wait(lambda: "Done: the run is in" in page.text(), "the run", 400)
        page.wait("document.querySelector('canvas') !== null", "the 3D view")
        page.wait(lambda: drawn(page).sum() > 2000, "the mesh")
        page.wait(lambda: (drawn(page) == drawn(page)).all(), "it to stand still")
        (x, y), before = canvas(page)
        page.drag(x, y, x + 120, y)
        page.wait(lambda: (np.abs(canvas(page)[1] - before).max(-1) > 40).mean() > 0.01, "a turn")
        link = page.run("[...document.querySelectorAll('a[download]')].map(a => a.href).find(h => h.endsWith('.glb'))")
        assert page.run(f"fetch('{link}').then(a => a.text()).then(text => text.slice(0, 4))") == "glTF"
        assert page.errors == []
        assert [asked for asked in page.requests if not asked.startswith(url)] == []


def test_a_second_visitor_waits_and_a_stop_frees_the_line(url):
    with browser() as first, browser() as second:
        for page in (first, second):
            opened(page, url)
            write(page, "a <script>alert(1)</script> box")
            choose(page, "Boxes")
        first.press("Make a mesh of the text")
        first.wait(lambda: re.search(r"Step \d+ of \d+; about", first.text()), "a step")
        first.wait("document.querySelector('progress').value > 0", "the bar")
        seen = "[...document.querySelectorAll('img')].filter(i => i.naturalWidth == 16).map(i => i.src).join()"
        picture_of = first.wait(seen, "a picture")
        first.wait(lambda: first.run(seen) not in ("", picture_of), "one that has grown")
        second.press("Make a mesh of the text")
        told = r"You are number 2 in the line: one mesh is made before yours; it is your turn in about \d+ (s|min)"
        second.wait(lambda: re.search(told, second.text()), "the place in the line")
        first.press("Stop")
        first.wait(lambda: "Stopped. The line is free" in first.text(), "the end")
        second.wait(lambda: re.search(r"Step \d+ of", second.text()), "the second visitor's turn")
        assert first.errors == [] and second.errors == []
        second.go("about:blank")  # who leaves frees the line too
        first.press("Make a mesh of the text")
        first.wait(lambda: re.search(r"Step \d+ of", first.text()), "the line to be free", 90)
        first.press("Stop")
        first.wait(lambda: "Stopped. The line is free" in first.text(), "the end")


def test_what_cannot_be_made_is_a_sentence_and_the_next_is_served(url, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"<script>alert(1)</script>")
    with browser() as page:
        opened(page, url)
        page.choose_file("input[type=file]", tmp_path / "bad.png")
        page.wait(lambda: "Bad.png: this is not an image that can be read" in page.text(), "the sentence")
        page.press("Make a mesh of the image")
        time.sleep(1)
        write(page, "a" * 100_000)
        page.press("Make a mesh of the text")
        page.wait(lambda: "The prompt has 100000 letters; 300 are the most." in page.text(), "the sentence")
        write(page, "")
        page.press("Make a mesh of the text")
        page.wait(lambda: "There is nothing to make a mesh of" in page.text(), "the sentence")
        assert "Traceback" not in page.text() and page.errors == []
