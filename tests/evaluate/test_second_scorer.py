"""A second judge's verdicts: true toys are right, others are wrong, and agreement is with the run's own judge."""

import pytest
import torch
import torch.nn.functional as F

from threestudio_like.data.toybox.render import Light
from threestudio_like.evaluate.reference import true_views, turntable
from threestudio_like.evaluate.result import Context, Result
from threestudio_like.evaluate.scorer import Scorer
from threestudio_like.evaluate.second_scorer import judges_agree, second_color_correct, second_geometry_correct
from threestudio_like.renderers.shading import headlight


def clay() -> Light:
    """The light of a turntable's bare shapes."""
    light = F.normalize(headlight(turntable(64)), dim=-1)
    return Light(light, torch.full((len(light),), 0.4), torch.ones(len(light), dtype=torch.bool))


@pytest.fixture(scope="module")
def judged():
    scorer = Scorer.load("priors/weights/second_scorer")
    turntables = tuple(
        torch.stack([true_views("dog", color, 0, light=light)[0] for light in (None, clay())])
        for color in ("red", "blue")
    )

    def result(prompt, count=1, **figures):
        return Result("m", prompt, 0, figures, False, count, turntables[:count], Context((), scorer))

    return result


def test_a_true_toy_is_right_and_its_prompt_alone_decides(judged):
    assert second_color_correct(judged("a red dog")) == 1.0 and second_geometry_correct(judged("a red dog")) == 1.0
    assert second_color_correct(judged("a green dog")) == 0.0 and second_geometry_correct(judged("a green dog")) == 1.0
    assert second_geometry_correct(judged("a red chair")) == 0.0


def test_of_two_objects_the_share_counts(judged):
    assert second_color_correct(judged("a blue dog", count=2)) == 0.5


def test_agreement_is_on_right_and_on_wrong(judged):
    assert judges_agree(judged("a red dog", color_correct=1.0)) == 1.0
    assert judges_agree(judged("a red dog", color_correct=0.0)) == 0.0
    assert judges_agree(judged("a green dog", color_correct=0.0)) == 1.0


def test_outside_the_toybox_there_is_no_verdict(judged):
    outside = judged("a marble bust", color_correct=1.0)
    assert second_color_correct(outside) is second_geometry_correct(outside) is judges_agree(outside) is None
    assert judges_agree(judged("a red dog")) is None


def test_colours_are_not_seen_on_bare_shapes(judged):
    bare = judged("a red dog")
    swapped = Result("m", "a red dog", 0, {}, False, 1, (bare.turntables[0].flip(0),), bare.context)
    assert torch.equal(swapped.turntables[0][1], bare.turntables[0][0]) and second_color_correct(swapped) == 0.0
