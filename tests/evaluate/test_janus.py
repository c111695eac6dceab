"""The consistency verdict on objects whose story is known, by a scorer that is sure, unsure, or now and then wrong."""

import math

import pytest
import torch

from threestudio_like.evaluate.janus import SHARE, STORIES, UNTOLD, classify_views, interpolate

AZIMUTH = torch.arange(24) * (2 * math.pi / 24)


def predicted(seen: torch.Tensor, spread: float = 0.3, bins: int = 24) -> torch.Tensor:
    """Says what a scorer predicts for views that seem to be seen from `seen`."""
    centers = torch.arange(bins) * (2 * math.pi / bins)
    off = torch.remainder(seen[:, None] - centers + math.pi, 2 * math.pi) - math.pi
    return (-0.5 * (off / spread).square()).softmax(-1)


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("turn", [0.0, 1.3, math.pi])
def test_each_story_is_recognised_however_the_object_stands(story, turn):
    off = torch.remainder(AZIMUTH - turn + math.pi, 2 * math.pi) - math.pi
    verdict = classify_views(predicted(STORIES[story](off)), AZIMUTH)
    assert verdict.story == story
    assert verdict.consistent == (verdict.margin > 0) == (story == "once around")


def test_a_few_wrong_views_do_not_decide():
    seen = AZIMUTH.clone()
    seen[[3, 11, 18]] += math.pi
    assert classify_views(predicted(seen), AZIMUTH).consistent


def test_where_no_side_can_be_told_nothing_is_consistent():
    verdict = classify_views(torch.full((24, 24), 1 / 24), AZIMUTH)
    assert verdict.story == UNTOLD and verdict.margin == pytest.approx(math.log(SHARE), abs=1e-5)
    assert classify_views(predicted(AZIMUTH, spread=0.8), AZIMUTH).consistent
    assert classify_views(predicted(AZIMUTH, spread=1.2), AZIMUTH).story == UNTOLD


def test_an_object_that_turns_the_wrong_way_is_not_surely_consistent():
    right, wrong = classify_views(predicted(AZIMUTH), AZIMUTH), classify_views(predicted(-AZIMUTH), AZIMUTH)
    assert wrong.margin < 0 < right.margin


def test_interpolation_goes_around():
    values = torch.tensor([[0.0, 1.0, 2.0, 3.0]]).expand(3, -1)
    angle = torch.tensor([math.pi / 4, -math.pi / 4, 2 * math.pi])
    assert interpolate(values, angle).tolist() == pytest.approx([0.5, 1.5, 0.0])
