"""Mean images, components of patches, and the Wiener filter that the U-Net adds to."""

import pytest
import torch

from priors.toybox.mean_predictor import MeanPredictor, refine


def test_a_layout_does_not_see_padding():
    mean_predictor = MeanPredictor(text_width=8, wide=8, hidden=8, width=8, channels=4, size=8)
    words, padding = torch.randn(1, 2, 8), torch.randn(1, 1, 8)
    short = torch.cat([words, padding], dim=1)
    long = torch.cat([words, padding.expand(1, 9, 8)], dim=1)
    torch.testing.assert_close(mean_predictor(short), mean_predictor(long * (11 / 3) ** 0.5))


class Silent(torch.nn.Module):
    def forward(self, x, t, encoder_hidden_states, class_labels):
        return type("Output", (), {"sample": torch.zeros_like(x.chunk(2, dim=1)[0])})


def test_refine_is_the_mean_at_pure_noise_and_the_image_without_noise():
    mean, x = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    refined = refine(Silent(), mean, x, torch.tensor([999, 0]), torch.randn(2, 3, 8), torch.tensor([0.0, 1.0]), 0.4)
    torch.testing.assert_close(refined, torch.stack([mean[0], x[1]]))


@pytest.mark.parametrize("alpha_squared", [0.1, 0.5, 0.9])
def test_refine_without_a_unet_is_the_best_guess_for_gaussian_images(alpha_squared):
    """Its error is `spread^2 sigma^2 / (alpha^2 spread^2 + sigma^2)`, the least possible: the U-Net's scale squared."""
    random, spread = torch.Generator().manual_seed(0), 0.4
    mean = torch.randn(16, 4, 32, 32, generator=random)
    x = mean + spread * torch.randn(mean.shape, generator=random)
    noise = torch.randn(mean.shape, generator=random)
    alpha = torch.full((16,), alpha_squared)
    x_t = alpha_squared**0.5 * x + (1 - alpha_squared) ** 0.5 * noise
    told = torch.zeros(16, dtype=torch.long), torch.zeros(16, 3, 8)
    refined = refine(Silent(), mean, x_t, *told, alpha, spread)
    least = spread**2 * (1 - alpha_squared) / (alpha_squared * spread**2 + 1 - alpha_squared)
    torch.testing.assert_close((refined - x).square().mean().item(), least, rtol=0.02, atol=0)

    class One(torch.nn.Module):
        def forward(self, x, t, encoder_hidden_states, class_labels):
            return type("Output", (), {"sample": torch.ones_like(x.chunk(2, dim=1)[0])})

    added = refine(One(), mean, x_t, *told, alpha, spread) - refined
    torch.testing.assert_close(added, torch.full_like(added, least**0.5))


def test_the_gate_scales_the_filter_place_by_place():
    class Gated(torch.nn.Module):
        def forward(self, x, t, encoder_hidden_states, class_labels):
            addition, gate = torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 8, 8)
            gate[:, :, :4], gate[:, :, 4:, :4] = 40.0, -40.0
            return type("Output", (), {"sample": torch.cat([addition, gate], dim=1)})

    mean, x = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    told = torch.tensor([500, 500]), torch.randn(2, 3, 8), torch.tensor([0.5, 0.5]), 0.4
    filtered = refine(Silent(), mean, x, *told) - mean
    gated = refine(Gated(), mean, x, *told) - mean
    torch.testing.assert_close(gated[:, :, :4], 2 * filtered[:, :, :4])
    torch.testing.assert_close(gated[:, :, 4:, :4], torch.zeros(2, 4, 4, 4))
    torch.testing.assert_close(gated[:, :, 4:, 4:], filtered[:, :, 4:, 4:])


@pytest.fixture
def mean_predictor():
    """One that knows the components of smooth images."""
    mean_predictor = MeanPredictor(text_width=8, wide=8, hidden=8, width=8, channels=12, size=8)
    noise = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    mean_predictor.images = torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2)
    mean_predictor.find_components(mean_predictor.images, patch=2)
    return mean_predictor


def test_components_are_uncorrelated_and_spread_as_said(mean_predictor):
    x = mean_predictor.patchify(mean_predictor.images, patch=2).movedim(1, -1).flatten(0, -2)
    torch.testing.assert_close(torch.cov(x.T), mean_predictor.spread.square().diag(), atol=1e-5, rtol=1e-4)
    assert (mean_predictor.spread[:-1] >= mean_predictor.spread[1:]).all() and mean_predictor.spread[
        0
    ] > 3 * mean_predictor.spread[-1]


def test_folding_loses_nothing_and_leaves_white_noise_white(mean_predictor):
    noise = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    x = mean_predictor.patchify(noise, patch=2)
    assert x.shape == (64, 12, 8, 8)
    torch.testing.assert_close(mean_predictor.unpatchify(x, patch=2), noise, atol=1e-5, rtol=0)
    flat = x.movedim(1, -1).flatten(0, -2)
    torch.testing.assert_close(torch.cov(flat.T), torch.eye(12), atol=0.06, rtol=0)


def test_the_filter_knows_components_better_than_pixels(mean_predictor):
    """With one spread for all, the error is larger than with each component's own."""
    alpha = torch.full((64,), 0.9)
    x = mean_predictor.patchify(mean_predictor.images, patch=2)
    x_t = 0.9**0.5 * x + 0.1**0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    told = torch.zeros(64, dtype=torch.long), torch.zeros(64, 3, 8)
    mean = torch.zeros_like(x)

    def error(spread):
        return (refine(Silent(), mean, x_t, *told, alpha, spread) - x).square().mean().item()

    assert error(mean_predictor.spread) < 0.9 * error(x.std().item())
