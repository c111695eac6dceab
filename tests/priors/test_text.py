"""Prompts by view: bins, blends, overhead, Perp-Neg's weights."""

import math

import pytest
import torch

from priors.text import PerpNeg, Prompt, ViewPrompts, negative_weights
from threestudio_like.cameras import orbit_cameras
from threestudio_like.config.loading import load
from threestudio_like.config.registry import parse
from threestudio_like.data.toybox.catalogue import view_words
from threestudio_like.errors import UserError

WORDS = ViewPrompts(around=("front view", "left side view", "back view", "right side view"))
FRONT, LEFT, BACK, RIGHT, OVERHEAD, NULL, PLAIN = range(7)


class OneHot:
    """A backbone whose embedding of the n-th text is the n-th unit vector."""

    def embed(self, texts):
        self.texts = texts
        return torch.eye(len(texts))[:, None]


def cameras(azimuth_deg, elevation_deg=0.0):
    azimuth = torch.tensor(azimuth_deg, dtype=torch.float32) * (math.pi / 180)
    full = torch.ones_like(azimuth)
    return orbit_cameras(azimuth, full * math.radians(elevation_deg), 2 * full, full, 8, 8)


def at(views, azimuth_deg, elevation_deg=0.0, **options):
    prompt = Prompt(OneHot(), Prompt.Config("a dog", views=views, view_prompts=WORDS, **options))
    return prompt.at(cameras(azimuth_deg, elevation_deg))


def test_texts_of_the_views():
    backbone = OneHot()
    Prompt(backbone, Prompt.Config(" a dog ", negative="ugly", view_prompts=WORDS))
    assert backbone.texts == [
        "a dog, front view",
        "a dog, left side view",
        "a dog, back view",
        "a dog, right side view",
        "a dog, overhead view",
        "ugly",
        "a dog",
    ]
    Prompt(backbone, Prompt.Config("a dog", views="none"))
    assert backbone.texts == ["a dog", ""]


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_prompt(text):
    with pytest.raises(UserError, match="prompt is empty"):
        Prompt(OneHot(), Prompt.Config(text))


@pytest.mark.parametrize("views", ["none", "nearest", "interpolated", "perp_neg"])
def test_the_plain_prompt_has_no_words_of_the_view(views):
    condition = at(views, [0.0, 90.0, 130.0])
    plain = 0 if views == "none" else PLAIN
    assert condition.plain.argmax(-1).flatten().tolist() == [plain] * 3


def test_nearest_bins():
    azimuth = [0, 44, 46, 90, 134, 136, 180, 224, 226, 270, 314, 316, 360, -44, -46, -90, -134, -136, 450, -630]
    expected = [
        FRONT,
        FRONT,
        LEFT,
        LEFT,
        LEFT,
        BACK,
        BACK,
        BACK,
        RIGHT,
        RIGHT,
        RIGHT,
        FRONT,
        FRONT,
        FRONT,
        RIGHT,
        RIGHT,
        RIGHT,
        BACK,
        LEFT,
        LEFT,
    ]
    condition = at("nearest", azimuth)
    assert condition.text.argmax(dim=-1).flatten().tolist() == expected
    assert condition.uncond.argmax(dim=-1).flatten().tolist() == [NULL] * len(azimuth)
    assert condition.negatives is None and condition.image is None


def test_nearest_agrees_with_the_toybox_captions():
    names = WORDS.in_order()
    for elevation in (0.0, 70.0):
        azimuth = list(range(-179, 180, 7))
        seen = at("nearest", azimuth, elevation).text.argmax(dim=-1).flatten().tolist()
        assert [names[i] for i in seen] == [view_words(math.radians(a), math.radians(elevation)) for a in azimuth]


def test_eight_sides_and_two_heights_agree_with_the_toybox_captions():
    words = parse(ViewPrompts, load("backbones/toybox")["vars"]["view_prompts"], "view_words")
    backbone = OneHot()
    prompt = Prompt(backbone, Prompt.Config("a dog", view_prompts=words))
    for elevation in (-5.0, 17.0, 19.0, 50.0, 70.0):
        azimuth = list(range(-179, 180, 7))
        seen = prompt.at(cameras(azimuth, elevation)).text.argmax(dim=-1).flatten().tolist()
        expected = ["a dog, " + view_words(math.radians(a), math.radians(elevation), exact=True) for a in azimuth]
        assert [backbone.texts[i] for i in seen] == expected


@pytest.mark.parametrize("words", [{"around": ("front", "back")}, {"around": ()}, {"heights": ("high",)}])
def test_words_for_half_of_the_views(words):
    with pytest.raises(UserError, match="needed"):
        ViewPrompts(**words)


def test_interpolation():
    condition = at("interpolated", [45.0, 90.0, -45.0, 157.5])
    expected = torch.zeros(4, 7)
    expected[0, [FRONT, LEFT]] = 0.5
    expected[1, LEFT] = 1
    expected[2, [FRONT, RIGHT]] = 0.5
    expected[3, LEFT], expected[3, BACK] = 0.25, 0.75
    torch.testing.assert_close(condition.text[:, 0], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("views", ["nearest", "interpolated", "perp_neg"])
def test_overhead(views):
    assert (at(views, [0.0, 90.0], 61.0).text.argmax(dim=-1) == OVERHEAD).all()
    assert not (at(views, [0.0, 90.0], 59.0).text.argmax(dim=-1) == OVERHEAD).any()
    assert (at(views, [0.0], 50.0, overhead_from_deg=45.0).text.argmax(dim=-1) == OVERHEAD).all()


def test_none_says_the_same_from_everywhere():
    assert at("none", [0.0, 180.0], 80.0).text.argmax(dim=-1).flatten().tolist() == [0, 0]


def test_the_camera_travels_along():
    seen = cameras([30.0, 60.0])
    condition = Prompt(OneHot(), Prompt.Config("a dog")).at(seen)
    assert torch.equal(condition.camera.reshape(2, 4, 4), seen.c2w)


def test_perp_neg_negatives():
    condition = at("perp_neg", [45.0, -45.0, 135.0])
    torch.testing.assert_close(condition.text, at("interpolated", [45.0, -45.0, 135.0]).text)
    assert condition.negatives.argmax(dim=-1)[..., 0].tolist() == [[FRONT, LEFT], [FRONT, RIGHT], [FRONT, LEFT]]
    assert condition.negative_weights.shape == (3, 2)
    assert (at("perp_neg", [0.0, 180.0], 70.0).negative_weights == 0).all()


def test_perp_neg_weights_by_hand():
    """At a view itself its own name is no negative; in front of the side view nothing jumps."""
    turns = torch.tensor([0.0, 0.5, 0.999999, 1.000001, 2.0, -2.0, -0.5])
    front, side = negative_weights(turns, PerpNeg()).T
    fall = 4 * math.exp(-0.25) - 2.426
    torch.testing.assert_close(front, torch.tensor([0.0, fall, 1.574, 1.5735, 1.967, 1.967, fall]), atol=1e-3, rtol=0)
    torch.testing.assert_close(side, torch.tensor([1.574, fall, 0.0, 0.0, 0.394, 0.394, fall]), atol=1e-3, rtol=0)


def test_the_recipe_form():
    node = {
        "text": "a dog",
        "views": "perp_neg",
        "view_prompts": {"around": ["front", "left", "back", "right"]},
        "perp_neg": {"side_back": [1, 2, 3]},
    }
    config = parse(Prompt.Config, node, "prompt")
    assert config.view_prompts.around[1] == "left" and config.perp_neg.side_back == (1.0, 2.0, 3.0)
    with pytest.raises(UserError, match=r"prompt.views"):
        parse(Prompt.Config, {"text": "a dog", "views": "nearst"}, "prompt")
