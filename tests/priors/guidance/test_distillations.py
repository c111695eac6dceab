"""The other distillations on Gaussians, where their gradients are known."""

import pytest
import torch

from priors.guidance.base import Guidance, GuidanceConfig
from priors.guidance.csd import CSD
from priors.guidance.inversion import invert
from priors.guidance.ism import ISM, ISMConfig
from priors.guidance.sdi import SDI, SDIConfig
from tests.priors.gaussian import GaussianBackbone, condition
from threestudio_like.config.schedule import Schedule

SPREAD = 0.5


def gradient(guidance, pixel, told, seed=0):
    images = torch.full((4, 1, 1, 3), pixel, requires_grad=True)
    guidance(images, told, 0, torch.Generator().manual_seed(seed)).distillation.backward()
    return images.grad.sum(0).mean().item()


def at(t, **options):
    numbers = {
        "scale": Schedule.constant(options.pop("scale", 1.0)),
        "t_min": Schedule.constant(t),
        "t_max": Schedule.constant(t),
    }
    return numbers | {"weighting": "uniform"} | options


def coefficients(backbone, t):
    step = torch.tensor([int(t * 1000)])
    alpha, sigma = backbone.schedule.alpha(step).item(), backbone.schedule.sigma(step).item()
    return alpha, sigma, (alpha**2 * SPREAD**2 + sigma**2) ** 0.5


@pytest.mark.parametrize("t", [0.2, 0.6])
def test_csd_is_the_difference_of_the_scores(t):
    """`s sigma alpha (m_null - m_text) / (alpha^2 s^2 + sigma^2)`, whatever the image and the noise."""
    backbone = GaussianBackbone(SPREAD)
    alpha, sigma, root = coefficients(backbone, t)
    guidance = CSD(backbone, GuidanceConfig(**at(t, scale=3.0)))
    for pixel, seed in ((0.9, 0), (0.1, 1)):
        found = gradient(guidance, pixel, condition(4, mean=0.7, uncond=0.2), seed)
        assert found == pytest.approx(3.0 * sigma * alpha * (0.2 - 0.7) / root**2, rel=1e-4)


class Mine(Guidance):
    """A guidance as a user writes one, which is classifier score distillation."""

    Config = GuidanceConfig

    def residual(self, noised, generator):
        told = noised.condition
        text, uncond = self.backbone.predict_each(noised.x_t, noised.t, [told.text, told.uncond], told)
        return self.config.scale(noised.step) * (text - uncond)


def test_a_guidance_of_ones_own_is_a_residual():
    options, told = GuidanceConfig(**at(0.4, scale=3.0)), condition(4, mean=0.7, uncond=0.2)
    found = [gradient(kind(GaussianBackbone(SPREAD), options), 0.6, told) for kind in (Mine, CSD)]
    assert found[0] == found[1] != 0


@pytest.mark.parametrize("t", [0.3, 0.7])
def test_inversion_follows_the_gaussians_flow(t):
    """On the deterministic path `(x_t - alpha m) / sqrt(alpha^2 s^2 + sigma^2)` is constant."""
    backbone = GaussianBackbone(SPREAD)
    x = torch.full((2, 3, 1, 1), 0.9)
    x_t = invert(backbone, x, torch.full((2,), int(t * 1000)), condition(2, 0.3), 1.0, steps=300)
    alpha, _, root = coefficients(backbone, t)
    expected = alpha * 0.3 + root * (0.9 - 0.3) / SPREAD
    torch.testing.assert_close(x_t, torch.full_like(x_t, expected), atol=0.02, rtol=0)


def test_sdi_is_its_closed_form_and_needs_no_noise():
    backbone = GaussianBackbone(SPREAD)
    alpha, sigma, root = coefficients(backbone, 0.6)
    guidance = SDI(backbone, SDIConfig(**at(0.6, inversion_scale=1.0, inversion_steps=500)))
    z = (0.9 - 0.3) / SPREAD
    expected = z * (sigma / root - (root - alpha * SPREAD) / sigma)
    one, two = (gradient(guidance, 0.9, condition(4, 0.3), seed) for seed in (0, 1))
    assert one == two == pytest.approx(expected, abs=0.01)
    assert gradient(guidance, 0.3, condition(4, 0.3)) == pytest.approx(0, abs=1e-5)


def test_ism_is_the_change_of_the_score_along_the_path():
    backbone = GaussianBackbone(SPREAD)
    guidance = ISM(backbone, ISMConfig(**at(0.6, interval=0.2, inversion_step=0.002)))
    (_, sigma_t, root_t), (_, sigma_s, root_s) = coefficients(backbone, 0.6), coefficients(backbone, 0.4)
    z = (0.9 - 0.3) / SPREAD
    expected = z * (sigma_t / root_t - sigma_s / root_s)
    one, two = (gradient(guidance, 0.9, condition(4, 0.3, uncond=0.3), seed) for seed in (0, 1))
    assert one == two == pytest.approx(expected, abs=0.05)
    assert gradient(guidance, 0.3, condition(4, 0.3, uncond=0.3)) == pytest.approx(0, abs=1e-5)


def noise_of(mean, x_t, alpha, sigma, root):
    return sigma * (x_t - alpha * mean) / root**2


def test_sdi_guides_by_its_scale_and_inverts_by_the_other():
    """The inversion follows the text (scale 1), the guided noise goes three times as far from the empty text's."""
    backbone = GaussianBackbone(SPREAD)
    alpha, sigma, root = coefficients(backbone, 0.6)
    guidance = SDI(backbone, SDIConfig(**at(0.6, scale=3.0, inversion_scale=1.0, inversion_steps=300)))
    x_t = alpha * 0.3 + root * (0.9 - 0.3) / SPREAD
    text, empty = (noise_of(mean, x_t, alpha, sigma, root) for mean in (0.3, 0.1))
    expected = empty + 3 * (text - empty) - (x_t - alpha * 0.9) / sigma
    assert gradient(guidance, 0.9, condition(4, 0.3, uncond=0.1)) == pytest.approx(expected, abs=0.01)


def test_ism_goes_by_the_empty_text_and_guides_at_the_end():
    """x_s is on the empty text's path, x_t one step on; the guided noise there less the empty text's at s."""
    backbone = GaussianBackbone(SPREAD)
    guidance = ISM(backbone, ISMConfig(**at(0.2, scale=3.0, interval=0.1, inversion_step=0.001)))
    later, earlier = coefficients(backbone, 0.2), coefficients(backbone, 0.1)
    alpha_s, sigma_s, root_s = earlier
    x_s = alpha_s * 0.2 + root_s * (0.9 - 0.2) / SPREAD
    known = noise_of(0.2, x_s, *earlier)
    x_t = later[0] * (x_s - sigma_s * known) / alpha_s + later[1] * known
    text, empty = (noise_of(mean, x_t, *later) for mean in (0.7, 0.2))
    expected = empty + 3 * (text - empty) - known
    assert gradient(guidance, 0.9, condition(4, 0.7, uncond=0.2)) == pytest.approx(expected, abs=0.03)
