"""Noise schedules, conversions between predictions, and guidance formulas."""

import pytest
import torch

from priors.backbones.base import NoiseSchedule, cfg, perp_neg, rescale_cfg, resize, target, to_eps, to_x0
from priors.backbones.pixel import PixelBackbone
from priors.backbones.scheduler import PREDICTIONS


@pytest.fixture
def schedule():
    return NoiseSchedule(torch.linspace(0.999, 0.001, 100, dtype=torch.float64))


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_schedule_preserves_variance(schedule):
    t = torch.arange(schedule.steps)
    assert schedule.alpha(t).shape == (100, 1, 1, 1)
    torch.testing.assert_close(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, torch.ones(100, 1, 1, 1).double())


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_conversions_invert_each_other(schedule, prediction):
    x0, noise, t = random(100, 3, 2, 2), random(100, 3, 2, 2, seed=1), torch.arange(100)
    x_t = schedule.add_noise(x0, noise, t)
    output = target(x0, noise, t, schedule, prediction)
    torch.testing.assert_close(to_x0(output, x_t, t, schedule, prediction), x0)
    torch.testing.assert_close(to_eps(output, x_t, t, schedule, prediction), noise)


def test_conversions_hold_for_any_output(schedule):
    output, x_t, t = random(100, 3, 2, 2), random(100, 3, 2, 2, seed=1), torch.arange(100)
    for prediction in PREDICTIONS:
        x0, eps = (convert(output, x_t, t, schedule, prediction) for convert in (to_x0, to_eps))
        torch.testing.assert_close(schedule.add_noise(x0, eps, t), x_t)
        torch.testing.assert_close(target(x0, eps, t, schedule, prediction), output)


def test_cfg_is_the_null_at_0_and_the_text_at_1():
    text, uncond = random(2, 3, 4, 4), random(2, 3, 4, 4, seed=1)
    assert torch.equal(cfg(text, uncond, 0.0), uncond)
    torch.testing.assert_close(cfg(text, uncond, 1.0), text)
    torch.testing.assert_close(cfg(text, uncond, 7.5), 7.5 * text - 6.5 * uncond)


def test_perp_neg_ignores_a_negative_parallel_to_the_text():
    text, uncond = random(2, 3, 4, 4), random(2, 3, 4, 4, seed=1)
    parallel = (uncond + 0.7 * (text - uncond))[:, None]
    torch.testing.assert_close(perp_neg(text, uncond, parallel, torch.ones(2, 1).double(), 5.0), cfg(text, uncond, 5.0))


def test_perp_neg_subtracts_what_is_perpendicular():
    uncond = torch.zeros(1, 1, 1, 3)
    text, negative = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([5.0, 3.0, 0.0])
    guided = perp_neg(text.view(1, 1, 1, 3), uncond, negative.view(1, 1, 1, 1, 3), torch.tensor([[0.5]]), 10.0)
    torch.testing.assert_close(guided.flatten(), torch.tensor([20.0, -15.0, 0.0]))


def test_perp_neg_of_each_image_is_its_own():
    text, uncond, negatives = random(2, 3, 4, 4), random(2, 3, 4, 4, seed=1), random(2, 2, 3, 4, 4, seed=2)
    given = text, uncond, negatives, torch.tensor([[0.5, 1.0], [0.2, 0.0]]).double()
    alone = torch.cat([perp_neg(*(part[i : i + 1] for part in given), 5.0) for i in range(2)])
    torch.testing.assert_close(perp_neg(*given, 5.0), alone)


def test_of_a_learned_variance_the_first_half_is_the_noise(models, monkeypatch):
    backbone = PixelBackbone("cpu", model=str(models("if")), variant="fp16")
    noise, variance = (torch.full((1, 3, 16, 16), value) for value in (0.3, 7.0))
    monkeypatch.setattr(backbone, "output", lambda *given: torch.cat([noise, variance], dim=1))
    found = backbone.predict(torch.zeros(1, 3, 16, 16), torch.tensor([500]), torch.zeros(1, 77, 8))
    assert torch.equal(found, noise)


def test_perp_neg_with_weights_0_or_a_text_like_the_null():
    text, uncond, negatives = random(2, 3, 4, 4), random(2, 3, 4, 4, seed=1), random(2, 2, 3, 4, 4, seed=2)
    torch.testing.assert_close(
        perp_neg(text, uncond, negatives, torch.zeros(2, 2).double(), 5.0), cfg(text, uncond, 5.0)
    )
    assert perp_neg(uncond, uncond, negatives, torch.ones(2, 2).double(), 5.0).isfinite().all()


def test_rescale_gives_the_contrast_back():
    text, guided = random(2, 3, 8, 8), 9 * random(2, 3, 8, 8, seed=1) + 2
    spread = rescale_cfg(guided, text, 1.0).std(dim=(1, 2, 3))
    torch.testing.assert_close(spread, text.std(dim=(1, 2, 3)))
    assert torch.equal(rescale_cfg(guided, text, 0.0), guided)
    half = 0.5 * (guided + rescale_cfg(guided, text, 1.0))
    torch.testing.assert_close(rescale_cfg(guided, text, 0.5), half)


def test_resize_averages_where_it_shrinks_and_keeps_what_fits():
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::2] = 1
    torch.testing.assert_close(resize(stripes, 16)[..., 2:-2], torch.full((1, 3, 16, 12), 0.5), atol=0.02, rtol=0)
    assert resize(stripes, 64) is stripes
    assert resize(stripes[..., :8, :8], 16).shape == (1, 3, 16, 16)
