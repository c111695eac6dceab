"""DDIM on a distribution whose denoiser is known in closed form, for every kind of prediction."""

import pytest
import torch
from diffusers import DDPMScheduler

from priors.sampling import ddim

MEAN, SPREAD = 0.4, 0.1


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_samples_have_the_distributions_mean_and_spread(kind):
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type=kind, clip_sample=False)

    def predict(x_t, t, text):
        """The posterior mean of x ~ N(MEAN * text, SPREAD^2), in the form asked for."""
        a2 = scheduler.alphas_cumprod[t][:, None, None, None]
        alpha, sigma = a2.sqrt(), (1 - a2).sqrt()
        mean = MEAN * text.mean(dim=(1, 2))[:, None, None, None]
        x0 = mean + alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2) * (x_t - alpha * mean)
        eps = (x_t - alpha * x0) / sigma
        return {"epsilon": eps, "v_prediction": alpha * eps - sigma * x0, "sample": x0}[kind]

    text = torch.ones(64, 2, 3)
    drawn = ddim(
        predict,
        scheduler,
        text,
        torch.zeros_like(text),
        (3, 8, 8),
        scale=1.0,
        steps=60,
        generator=torch.Generator().manual_seed(0),
    )
    assert drawn.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert drawn.std().item() == pytest.approx(SPREAD, rel=0.2)
    uncond = ddim(
        predict,
        scheduler,
        text,
        torch.zeros_like(text),
        (3, 8, 8),
        scale=0.0,
        steps=60,
        generator=torch.Generator().manual_seed(0),
    )
    assert uncond.mean().item() == pytest.approx(0, abs=0.02)


def test_a_mean_of_draws_leaves_the_grain_out():
    """A model that errs by a fixed number of its input's noise: the more draws, the less of it is left."""
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False)

    def grainy(x_t, t, text):
        return MEAN * text.mean() + 0.1 * x_t

    def drawn(draws):
        text = torch.ones(4, 2, 3)
        random = torch.Generator().manual_seed(0)
        shape = (3, 32, 32)
        options = dict(scale=1.0, steps=5, generator=random, denoising_end=0.5, draws=draws)
        return ddim(grainy, scheduler, text, torch.zeros_like(text), shape, **options)

    one, sixteen = drawn(1), drawn(16)
    sigma = (1 - scheduler.alphas_cumprod[450]).sqrt().item()
    assert one.std().item() == pytest.approx(0.1 * sigma, rel=0.3) and one.shape == (4, 3, 32, 32)
    assert sixteen.std().item() < 0.45 * one.std().item()


def test_each_objects_draws_are_its_own():
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample=False)
    text = torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1)
    options = dict(scale=1.0, steps=2, generator=torch.Generator().manual_seed(0), draws=2)
    drawn = ddim(lambda x_t, t, text: 0 * x_t + text[..., None], scheduler, text, 0 * text, (1, 2, 2), **options)
    torch.testing.assert_close(drawn, text[..., None].expand(3, 1, 2, 2))


@pytest.mark.parametrize("end", [1.0, 0.5])
def test_ddim_is_its_papers_step(end):
    """Song et al. 2021, eq. 12, with no noise added, from the last timestep of all; or only its first half of steps."""
    scheduler = DDPMScheduler(prediction_type="sample", clip_sample=False)
    square, text = scheduler.alphas_cumprod, torch.tensor([0.5, -0.3, 0.1]).view(3, 1, 1)
    z = torch.randn(3, 1, 1, 1, generator=torch.Generator().manual_seed(0))

    def predict(x_t, t, told):
        return told[..., None] + 0.1 * x_t

    def clip(x):
        return x.clamp(-0.8, 0.8)

    found = ddim(
        predict,
        scheduler,
        text,
        0 * text,
        (1, 1, 1),
        scale=3.0,
        steps=round(4 * end),
        generator=None,
        clip=clip,
        z=z,
        denoising_end=end,
    )
    x = z
    for t in (999, 749, 499, 249)[: round(4 * end)]:
        clean = clip(3 * (text[..., None] + 0.1 * x) - 2 * 0.1 * x)
        noise = (x - square[t].sqrt() * clean) / (1 - square[t]).sqrt()
        before = square[t - 250] if t > 250 else torch.tensor(1.0)
        x = before.sqrt() * clean + (1 - before).sqrt() * noise
    torch.testing.assert_close(found, clean)
