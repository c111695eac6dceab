"""Which image a visitor gets next: coarse while the camera moves, finer when it is still, none without the time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.viewer.scenes import Shown, ShownConfig
from threestudio_like.engine.system import Context
from threestudio_like.viewer import painter as module
from threestudio_like.viewer.budget import Budget, Unbounded
from threestudio_like.viewer.images import Pose
from threestudio_like.viewer.page import Page
from threestudio_like.viewer.painter import SIZES, Painter

FRONT = Pose((0.5, 0.5, -0.5, -0.5), (3.0, 0.0, 0.0), 0.7, 600, 800)


class FakePage(Page):
    """Notes what its visitors are sent."""

    def __init__(self):
        self.visitors, self.sent = {1: FRONT}, []

    def poses(self):
        return dict(self.visitors)

    def show(self, visitor, image):
        self.sent.append((visitor, image))


@pytest.fixture
def scene(monkeypatch):
    """A painter, its page, and `paint(seconds later)`, which returns the sizes of what was sent."""
    page = FakePage()
    made = Painter(page)
    system = Shown(Context(torch.device("cpu"), 0, ""), ShownConfig(steps=1))
    now = [50.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def drawn(system, place, mode, pose, short, box):
        return np.zeros((*pose.sized(short), 3), np.uint8)

    monkeypatch.setattr(module, "draw", drawn)

    def paint(later=1.0, step=0, mode="colour", budget=None):
        now[0] += later
        page.sent.clear()
        made.paint(system, step, mode, 0, budget or Unbounded())
        return [image.shape[0] for _, image in page.sent]

    paint(0.0)
    return made, page, paint


def test_a_still_camera_gets_finer_images_up_to_the_finest(scene):
    _, _, paint = scene
    sizes = [paint() for _ in range(6)]
    assert sizes[0][0] >= SIZES[0] and sizes[-1] == []
    seen = [size for one in sizes for size in one]
    assert seen == sorted(set(seen)) and seen[-1] == SIZES[-1]


def test_nothing_is_drawn_before_a_new_page_has_taken_its_place(scene):
    _, _, paint = scene
    assert paint(0.1) == [] and paint(0.3) != []


def test_a_moving_camera_gets_quick_images(scene):
    made, page, paint = scene
    paint()
    made.seconds |= {("colour", 0): 0.02, ("colour", 1): 0.09, ("colour", 2): 0.5}
    for turn in range(5):
        page.visitors[1] = replace(FRONT, position=(3.0, 0.1 * turn + 0.1, 0.0))
        made.seconds[("colour", 1)], made.seconds[("colour", 2)] = 0.09, 0.5
        assert paint(0.05) == [SIZES[1]]


def test_the_slowest_object_is_drawn_coarsely(scene):
    made, page, paint = scene
    made.seconds = {("colour", 0): 2.0}
    page.visitors[1] = replace(FRONT, fov=0.5)
    assert paint(0.0) == [] and paint() == [SIZES[0]]
    made.seconds = {("colour", 0): 2.0}
    assert paint() == []  # four times the pixels would take 8 s


def test_a_changing_object_is_drawn_anew_as_fine_as_before(scene):
    _, _, paint = scene
    while paint():
        pass
    assert paint(step=1) == [SIZES[-1]]
    assert paint(0.01, step=2) == [] and paint(1.0, step=2) == [SIZES[-1]]


def test_another_mode_is_another_image(scene):
    _, _, paint = scene
    while paint():
        pass
    assert paint(mode="depth") != []


def test_without_time_nothing_is_drawn(scene):
    _, _, paint = scene
    assert paint(budget=Budget()) == []
    saved = Budget()
    saved.earn(1000.0)
    assert paint(budget=saved) != [] and saved.saved < saved.most


def test_each_visitor_has_images_of_their_own_and_is_forgotten(scene):
    made, page, paint = scene
    while paint():
        pass
    page.visitors[2] = replace(FRONT, width=300, height=200)
    assert paint(0.0) == []
    paint()
    assert [visitor for visitor, _ in page.sent] == [2]
    del page.visitors[1]
    paint()
    assert set(made.frames) == {2} == set(made.looking)
