"""The scorer's questions, on a scorer that is always right and one that is always wrong."""

import math

import pytest
import torch

from threestudio_like.evaluate.scorer import Scorer
from threestudio_like.evaluate.toybox import COLOR_CAPTIONS, SIDES, pair_index, score_samples, seen_side


class Oracle(Scorer):
    """Reads the answer from the image's first pixels: pair number and azimuth, as `draw` put them there."""

    def __init__(self, turn: float = 0.0):
        torch.nn.Module.__init__(self)
        self.turn = turn

    def image(self, images):
        pair = images[:, 0, 0, 0].long()
        return torch.nn.functional.one_hot(pair, len(COLOR_CAPTIONS)).float()

    def text(self, captions):
        return torch.eye(len(COLOR_CAPTIONS))

    def azimuth(self, images):
        place = (images[:, 0, 0, 1] + self.turn) * 24 / (2 * math.pi)
        distance = (torch.arange(24) - place[:, None] + 12) % 24 - 12
        return -distance.square()


def draw(texts, seed):
    images = torch.zeros(len(texts), 3, 4, 4)
    for image, text in zip(images, texts, strict=True):
        name, view = text.split(", ")
        image[0, 0, 0], image[0, 0, 1] = COLOR_CAPTIONS.index(name), SIDES[view] * math.pi / 2
    return images


def test_a_perfect_model_scores_one():
    assert set(score_samples(draw, Oracle()).values()) == {1.0}


def test_every_colour_is_asked_for_where_all_are_wanted():
    asked = []
    score_samples(lambda texts, seed: asked.extend(texts) or draw(texts, seed), Oracle(), every_color=True)
    assert sorted(asked) == sorted(f"{pair}, {view}" for pair in COLOR_CAPTIONS for view in SIDES)


def test_left_for_right_is_noticed():
    found = score_samples(draw, Oracle(turn=math.pi))
    assert found["samples_side_accuracy"] == 0 and found["samples_left_right_accuracy"] == 0
    assert found["samples_caption_accuracy"] == 1


@pytest.mark.parametrize("degrees, side", [(0, 0), (40, 0), (-40, 0), (50, 1), (90, 1), (180, 2), (-90, 3), (-130, 3)])
def test_sides_are_quarters(degrees, side):
    images = torch.zeros(1, 3, 4, 4)
    images[0, 0, 0, 1] = math.radians(degrees)
    assert seen_side(Oracle(), images).item() == side


def test_pairs_are_found_again():
    assert COLOR_CAPTIONS[pair_index("dog", "red")] == "a red dog"
