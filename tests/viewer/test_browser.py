"""The page in a real browser: it loads without errors, turns under the mouse, and its buttons do what they say."""

import contextlib
import json
import re
import socket
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from tests.browser import browser, needs_browser
from tests.viewer import scenes  # one of which it registers
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.engine.run import Run
from threestudio_like.errors import StoppedError
from threestudio_like.export.mesh_io import write_mesh
from threestudio_like.utils import stopping
from threestudio_like.viewer import finished, live
from threestudio_like.viewer.address import Address
from threestudio_like.viewer.page import Page

pytest.importorskip("viser", reason="viser is not installed: the extra `viewer`")
pytestmark = [pytest.mark.slow, needs_browser]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def red(page):
    """Where the red front is on the page: the columns and rows of its pixels."""
    picture = page.picture().astype(int)[:, :480]  # the panel is on the right
    rows, columns = np.nonzero((picture[..., 0] > 150) & (picture[..., 1] < 90) & (picture[..., 2] < 90))
    return columns, rows


def step_of(page) -> int:
    found = re.search(r"step (\d+) of", page.text())
    return int(found[1]) if found else -1


@contextlib.contextmanager
def training(folder, monkeypatch):
    """Trains in a thread, on a page; yields the viewer, and stops the run at the end."""
    plain = {"system": "shown_for_tests", "steps": 100000, "sleep": 0.02, "device": "cpu", "preview_every": 0}
    made = Run(parse_recipe(plain | {"out": str(folder), "prompt": "a <script> box"}, "shown"))
    stop = threading.Event()
    monkeypatch.setattr(stopping, "requested", stop.is_set)
    with live.watched(made, Address("127.0.0.1", free_port())) as viewer:

        def train():
            with contextlib.suppress(StoppedError):
                made.train(observer=viewer)

        made.start(False)
        thread = threading.Thread(target=train)
        thread.start()
        try:
            yield viewer
        finally:
            stop.set()
            thread.join(60)


def test_a_run_is_watched(tmp_path, monkeypatch):
    with training(tmp_path / "run", monkeypatch) as viewer, browser() as page:
        page.size(800, 600)
        page.go(viewer.page.url)
        page.wait(lambda: "a <script> box" in page.text(), "the prompt")
        page.wait(lambda: len(red(page)[0]) > 2000, "the front of the box")
        columns, _ = red(page)
        page.drag(300, 300, 330, 300)
        page.wait(lambda: len(red(page)[0]) and red(page)[0].mean() > columns.mean() + 10, "a turn to the right")
        columns, rows = red(page)
        page.drag(300, 300, 300, 340)
        page.wait(lambda: len(red(page)[0]) and red(page)[1].mean() > rows.mean() + 5, "a turn downwards")

        page.wait(lambda: step_of(page) > 0, "a step")
        page.press("Pause")
        page.wait(lambda: viewer.paused and "paused" in page.text(), "the pause")
        halted, said = viewer.done, page.wait(lambda: step_of(page), "a step")
        time.sleep(1.0)
        assert (viewer.done, step_of(page)) == (halted, said) == (halted, halted)
        page.press("Save mesh")
        path = tmp_path / f"run/meshes/main-{halted:06d}.glb"
        page.wait(lambda: path.name in page.text(), "the name of the mesh")
        assert len(trimesh.load_mesh(path).faces) == 12

        page.type_over("input[inputmode=decimal], input[type=number], .mantine-NumberInput-input", "20")
        page.press("Apply")
        page.wait(lambda: "not reproducible" in page.text(), "the note of the change")
        touched = json.loads((tmp_path / "run/metrics.json").read_text())["touched"]
        assert touched == [f"stage 'main', after step {halted}: guidance.rgb.scale from 2 to 20"]
        page.press("Go on")
        page.wait(lambda: step_of(page) > halted, "another step")
        assert page.errors == []


def test_a_mesh_is_shown_from_its_front(tmp_path, monkeypatch):
    box, pages = scenes.Box().mesh(), []
    colors = np.where(box.vertices[:, :1] > 0, (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    write_mesh(replace(box, colors=colors), tmp_path / "mesh.glb")

    class Noted(Page):
        def __init__(self, *all):
            super().__init__(*all)
            pages.append(self)

    def end():
        raise KeyboardInterrupt  # as Ctrl-C does

    monkeypatch.setattr(finished, "Page", Noted)
    thread = threading.Thread(target=finished.show, args=(tmp_path / "mesh.glb", Address("127.0.0.1", free_port())))
    thread.start()
    with browser() as page:
        page.size(800, 600)
        page.wait(lambda: pages, "the server")
        page.go(pages[0].url)
        page.wait(lambda: len(red(page)[0]) > 2000, "the red front")
        columns, rows = red(page)
        assert abs(rows.mean() - 300) < 90  # in the middle of the page
        page.drag(300, 300, 330, 300)
        page.wait(lambda: len(red(page)[0]) and red(page)[0].mean() > columns.mean() + 10, "a turn to the right")
        assert page.errors == []
        pages[0].ask(end)
        thread.join(20)
        assert not thread.is_alive()
