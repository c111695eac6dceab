"""Orders as ordinary runs: their folders, what is told meanwhile, and how they end."""

import json
import logging
import threading
import time

import pytest
import trimesh

from tests.demo import boxes
from tests.tiny import picture
from threestudio_like.cli.arguments import read_arguments
from threestudio_like.cli.resolve import resolve
from threestudio_like.demo.line import Ticket
from threestudio_like.demo.methods import METHODS
from threestudio_like.demo.orders import Order
from threestudio_like.demo.work import Workshop, free_place
from threestudio_like.errors import StoppedError, UserError


def ticket_for(method, prompt="a <b> box", **more) -> Ticket:
    return Ticket("me", Order(method, prompt, **{"share": 0.4} | more), None)


def test_an_order_is_an_ordinary_run(tmp_path):
    method, shop = boxes.method(tmp_path), Workshop(tmp_path / "demo", 2.0)
    ticket = ticket_for(method, seed=5)
    assert shop.expected(ticket.order) == pytest.approx(2.0 * (8 * 0.05 + 1.0))
    made = shop.work(ticket)
    assert made.folder == tmp_path / "demo/a-b-box-boxes" and len(trimesh.load_mesh(made.mesh).faces) == 12
    metrics = json.loads((made.folder / "metrics.json").read_text())
    assert (metrics["status"], metrics["steps"]) == ("done", 8)
    again = resolve(read_arguments(["--export", str(made.folder)], "launch.py"))
    assert (again.plain["prompt"], again.plain["seed"], again.plain["steps"]) == ("a <b> box", 5, 8)
    began = time.monotonic()
    second = shop.work(ticket_for(method))
    assert second.folder == tmp_path / "demo/a-b-box-boxes-2"
    assert shop.expected(ticket.order) == pytest.approx(time.monotonic() - began, abs=0.3)  # it has learned


def test_how_far_it_is_is_told_with_a_picture(tmp_path):
    ticket = ticket_for(boxes.method(tmp_path, seconds=0.02))
    told, done = [], threading.Event()

    def listen():
        while not done.wait(0.005):
            told.append(ticket.progress)

    thread = threading.Thread(target=listen)
    thread.start()
    Workshop(tmp_path / "demo", 1.0).work(ticket)
    done.set()
    thread.join()
    shares = [progress.share for progress in told if progress.share is not None]
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(set(shares)) > 3
    assert any(progress.says == "step 4 of 8" for progress in told)
    assert told[-1].says == "writing the mesh and its pictures"
    assert any(progress.picture is not None and progress.picture.shape == (8, 16, 3) for progress in told)
    assert all(progress.left is None or 0 < progress.left < 10 for progress in told)


def test_a_run_that_nobody_wants_stops_and_is_saved(tmp_path):
    ticket = ticket_for(boxes.method(tmp_path, steps=1000, seconds=0.01))
    threading.Timer(0.5, lambda: setattr(ticket, "stopped", True)).start()
    began = time.monotonic()
    with pytest.raises(StoppedError, match="stopped after step"):
        Workshop(tmp_path / "demo", 1.0).work(ticket)
    assert time.monotonic() - began < 3.0
    folder = tmp_path / "demo/a-b-box-boxes"
    assert json.loads((folder / "metrics.json").read_text())["status"] == "interrupted"
    assert (folder / "checkpoints/main.pt").is_file()


def test_the_warnings_of_a_run_are_its_visitors_alone(tmp_path):
    logging.getLogger("elsewhere").warning("before")
    ticket = ticket_for(boxes.method(tmp_path, steps=2))
    other = threading.Timer(0.1, lambda: logging.getLogger("systems").warning("of another thread"))
    other.start()
    Workshop(tmp_path / "demo", 1.0).work(ticket)
    other.join()
    assert ticket.warnings == ["a box: this box is strange"]


def test_a_bad_order_is_an_error_and_leaves_no_run(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(UserError):
        Workshop(tmp_path / "demo", 1.0).work(Ticket("me", Order(METHODS[0], image=tmp_path / "bad.png"), None))


@pytest.mark.slow
def test_geco_makes_a_mesh_of_an_image(tmp_path):
    ticket = Ticket("me", Order(METHODS[0], image=picture(tmp_path / "box.png", (200, 40, 40))), None)
    made = Workshop(tmp_path / "demo", 1.0).work(ticket)
    assert made.mesh == made.folder / "box-0/mesh.glb" and len(trimesh.load_mesh(made.mesh).faces) > 100
    assert made.picture == made.folder / "box-0/turntable.png"


def test_a_place_is_free(tmp_path):
    for name in ("a", "a-2"):
        (tmp_path / name).mkdir()
    assert free_place(tmp_path, "a") == tmp_path / "a-3" and free_place(tmp_path / "none", "a").name == "a"
