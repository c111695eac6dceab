"""A scene's scores by a scorer that is always right: it reads the azimuth and the light off the image."""

import math

import pytest
import torch

from threestudio_like.data.toybox.catalogue import CATEGORIES
from threestudio_like.evaluate.scene import Evaluation, scores
from threestudio_like.evaluate.scorer import Scorer
from threestudio_like.evaluate.toybox import CATEGORY_CAPTIONS, COLOR_CAPTIONS, pair_index
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.shading import Shading

PAIRS = len(COLOR_CAPTIONS)


class Oracle(Scorer):
    """Sees a blue dog in colour and a cat in its shape; and the azimuth, or that of the mirrored object."""

    def __init__(self, turn=1.0):
        torch.nn.Module.__init__(self)
        self.turn = turn

    def image(self, images):
        bare = images[:, 1, 0, 0] > 0.5
        place = torch.where(bare, PAIRS + list(CATEGORIES).index("cat"), pair_index("dog", "blue"))
        return torch.nn.functional.one_hot(place, PAIRS + len(CATEGORY_CAPTIONS)).float()

    def text(self, captions):
        every = torch.eye(PAIRS + len(CATEGORY_CAPTIONS))
        return every[:PAIRS] if captions == COLOR_CAPTIONS else every[PAIRS:]

    def azimuth(self, images):
        place = self.turn * images[:, 0, 0, 0] * 24
        return -2 * ((torch.arange(24) - place[:, None] + 12) % 24 - 12).square()


def views(cameras, shading, normals=False):
    """Renders whose red is the azimuth as a share of a turn, and whose green says that they are textureless."""
    for azimuth in cameras.azimuth:
        rgb = torch.zeros(1, 4, 4, 3)
        rgb[..., 0], rgb[..., 1] = azimuth / (2 * math.pi) % 1, float(shading.kind == "textureless")
        yield Render(rgb, rgb[..., :1], rgb[..., :1], None, rgb)


def scored(prompt, monkeypatch, turn=1.0):
    monkeypatch.setattr(Scorer, "load", lambda folder, device=None: Oracle(turn))
    show = Evaluation(scorer="here", scorer_size=4)
    return scores(views, lambda cameras: Shading(), prompt, show, torch.device("cpu"))


@pytest.mark.parametrize(
    "prompt, color, geometry", [("a blue dog", 1, 0), ("a red dog", 0, 0), ("a blue cat", 0, 1), ("a red cat", 0, 1)]
)
def test_colour_is_judged_in_colour_and_shape_by_its_shape(prompt, color, geometry, monkeypatch):
    found = scored(prompt, monkeypatch)
    assert (found["color_correct"], found["geometry_correct"]) == (color, geometry)
    assert found["color_similarity"] == color


def test_one_front_is_consistent_and_azimuths_that_run_the_other_way_are_not(monkeypatch):
    found = scored("a blue dog", monkeypatch)
    assert found["consistent"] == 1 and found["consistency_margin"] > 0
    mirrored = scored("a blue dog", monkeypatch, turn=-1.0)
    assert mirrored["consistent"] == 0 and mirrored["consistency_margin"] < 0
