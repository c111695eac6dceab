"""SDS and VSD as their papers print them, in plain lines on a tiny latent model, and VSD's fake score alone."""

from dataclasses import dataclass

import pytest
import torch

from priors.backbones.base import Condition
from priors.backbones.latent import LatentBackbone
from priors.guidance.base import Noised, guided_eps
from priors.guidance.fake_score import ADAPTER, FakeScore, LoRA
from priors.guidance.sds import SDS
from priors.guidance.vsd import VSD
from tests.priors.gaussian import GaussianBackbone
from threestudio_like.cameras import orbit
from threestudio_like.config.registry import register

CAMERAS = orbit(2, 20.0, 2.7, 41.0, 8).c2w.reshape(-1, 16)
RANGE = {"t_min": 0.02, "t_max": 0.98, "weighting": "sigma2"}


def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def latent(models):
    return LatentBackbone("cpu", model=str(models("sd21")))


def told(backbone):
    text, uncond = backbone.embed(["a red dog", ""])
    return Condition(text.expand(2, -1, -1), uncond.expand(2, -1, -1), camera=CAMERAS)


def noised_by_hand(backbone, images):
    """Latents, timesteps, noise and noised latents; the mean of the VAE's posterior times the scaling factor."""
    z = backbone.vae.config.scaling_factor * backbone.vae.encode(2 * images.permute(0, 3, 1, 2) - 1).latent_dist.mean
    random = generator()
    t = ((0.02 + 0.96 * torch.rand(2, generator=random)) * 1000).long()
    noise = torch.randn(z.shape, generator=random)
    square = backbone.schedule.alphas_cumprod[t].view(2, 1, 1, 1)
    return z, t, noise, square.sqrt() * z.detach() + (1 - square).sqrt() * noise, square.sqrt(), (1 - square).sqrt()


def noise_in(backbone, output, x_t, alpha, sigma):
    """The noise that a U-Net's output stands for."""
    return output if backbone.prediction == "epsilon" else alpha * output + sigma * x_t


def unet(backbone, x_t, t, text):
    return backbone.unet(x_t, t, encoder_hidden_states=text).sample


@pytest.mark.parametrize("vsd", [False, True])
def test_the_gradient_that_the_papers_print(latent, vsd):
    """`sigma_t^2 (eps_u + s (eps_y - eps_u) - eps) dz/dimage`, eps being SDS's noise or VSD's fake score's."""
    images = torch.rand(2, latent.image_size, latent.image_size, 3, generator=generator()).requires_grad_()
    condition = told(latent)
    guidance = (VSD if vsd else SDS)(latent, scale=7.0, **RANGE)
    if vsd:
        with torch.no_grad():
            for parameter in guidance.fake_score.parameters():
                parameter.add_(0.05)
    (found,) = torch.autograd.grad(guidance(images, condition, 0, generator()).distillation, images)
    z, t, noise, x_t, alpha, sigma = noised_by_hand(latent, images)
    with torch.no_grad():
        eps_y, eps_u = (
            noise_in(latent, unet(latent, x_t, t, text), x_t, alpha, sigma)
            for text in (condition.text, condition.uncond)
        )
        if vsd:
            with guidance.fake_score.active(CAMERAS):
                noise = noise_in(latent, unet(latent, x_t, t, condition.text), x_t, alpha, sigma)
        grad = sigma**2 * (eps_u + 7.0 * (eps_y - eps_u) - noise)
    (expected,) = torch.autograd.grad((z * grad).sum() / 2, images)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-3)


def test_an_adapters_difference_is_scaled_by_alpha_over_rank(latent):
    score = LoRA(latent, LoRA.Config(rank=2, alpha=6, targets=("to_q",)))
    layer = next(module for name, module in latent.unet.named_modules() if name.endswith("to_q"))
    down, up = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    with torch.no_grad(), score.active(None):
        up.normal_()
        x = torch.randn(3, down.shape[1])
        torch.testing.assert_close(layer(x) - layer.base_layer(x), 3.0 * x @ down.T @ up.T)


@register("fake_score", "recorder_for_tests")
class Recorder(FakeScore):
    """Puts out zeros, and keeps what it was shown."""

    @dataclass(frozen=True)
    class Config:
        prediction: str = "epsilon"

    def __init__(self, backbone, config):
        super().__init__()
        self.prediction, self.own = config.prediction, torch.nn.Parameter(torch.zeros(()))

    def forward(self, x_t, t, condition):
        self.x_t, self.t, self.condition = x_t, t, condition
        return self.own * x_t


def recorded(batch, x=0.0, prediction="epsilon", **fields):
    """VSD on a Gaussian with a fake score that puts out zeros, and images of one value, noised at t = 500."""
    backbone = GaussianBackbone()
    backbone.prediction = "epsilon"
    vsd = VSD(backbone, fake_score={"type": "recorder_for_tests", "prediction": prediction}, **fields)
    x, noise = torch.full((batch, 3, 1, 1), x), torch.randn(batch, 3, 1, 1, generator=generator())
    t, ones = torch.full((batch,), 500), torch.ones(batch, 1, 1)
    camera = torch.ones(batch, 16)
    noised = Noised(
        x, noise, backbone.schedule.add_noise(x, noise, t), t, Condition(0.5 * ones, 0 * ones, camera=camera), 10
    )
    return vsd, noised


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_vsd_is_the_guided_noise_less_the_fake_scores(prediction):
    """An output of zero is the noise 0, `sigma x_t` or `x_t / sigma`, by what it is taken for."""
    vsd, noised = recorded(3, 0.2, prediction, scale={0: 1.0, 10: 7.5})
    sigma = vsd.backbone.schedule.sigma(noised.t)
    own = {"epsilon": 0.0, "v_prediction": sigma, "sample": 1 / sigma}[prediction] * noised.x_t
    expected = guided_eps(vsd.backbone, noised, 7.5) - own
    torch.testing.assert_close(vsd.residual(noised, generator()), expected)


def test_the_fake_score_learns_without_text_and_camera_at_the_share_of_dropout():
    vsd, noised = recorded(2000, dropout=0.25)
    vsd.fake_score_loss(noised, generator())
    without_text = vsd.fake_score.condition.text[:, 0, 0] == 0
    without_camera = vsd.fake_score.condition.camera[:, 0] == 0
    assert torch.equal(without_text, without_camera)
    assert without_text.float().mean().item() == pytest.approx(0.25, abs=0.04)


def test_the_fake_score_learns_at_timesteps_and_noise_of_its_own():
    vsd, noised = recorded(2000)
    vsd.fake_score_loss(noised, generator())
    t = vsd.fake_score.t
    assert t.min() < 20 and t.max() > 980 and abs(t.float().mean() - 500) < 30
    noise = vsd.fake_score.x_t / vsd.backbone.schedule.sigma(t)
    assert abs((noise * noised.noise).mean()) < 0.1 and abs(noise.std() - 1) < 0.05


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_fake_scores_loss_is_its_own_kinds(prediction):
    """Its error against eps, `alpha eps - sigma x`, or x with the weight `1 / sigma^2`, of 4 at most."""
    vsd, noised = recorded(500, 2.0, prediction, weight_cap=4.0)
    found = vsd.fake_score_loss(noised, generator())
    schedule, t = vsd.backbone.schedule, vsd.fake_score.t
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    noise = (vsd.fake_score.x_t - alpha * 2) / sigma
    errors = {
        "epsilon": noise**2,
        "v_prediction": (alpha * noise - sigma * 2) ** 2,
        "sample": (1 / sigma**2).clamp(max=4.0) * torch.full_like(noise, 4.0),
    }
    torch.testing.assert_close(found, errors[prediction].mean(), rtol=1e-3, atol=0)
