"""Score distillation where the score is known: on Gaussians."""

import pytest
import torch

from priors.backbones.base import Condition, to_x0
from priors.backbones.pixel import PixelBackbone
from priors.guidance.base import (
    WEIGHTINGS,
    GradientClip,
    Guidance,
    GuidanceConfig,
    Noised,
    gradient_as_loss,
    guided_eps,
    sample_t,
)
from priors.guidance.sds import SDS
from tests.priors.gaussian import GaussianBackbone, condition
from threestudio_like.config.registry import parse, parse_component
from threestudio_like.config.schedule import Schedule
from threestudio_like.errors import UserError

B = 20000


def config(**options):
    numbers = {"scale", "t_min", "t_max"}
    return GuidanceConfig(**{k: Schedule.constant(v) if k in numbers else v for k, v in options.items()})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gradient(guidance, pixel, told, step=0, batch=B):
    """The gradient for one pixel of a given value, averaged over the batch: [3]."""
    images = torch.full((batch, 1, 1, 3), pixel, requires_grad=True)
    guidance(images, told, step, generator()).distillation.backward()
    return images.grad.sum(dim=(0, 1, 2))


def test_the_gradient_is_grad_over_batch_exactly():
    x = torch.randn(4, 3, 5, 5, requires_grad=True)
    grad = 1e-6 * torch.randn(4, 3, 5, 5)
    loss = gradient_as_loss(x, grad)
    loss.backward()
    assert torch.equal(x.grad, grad / 4)
    torch.testing.assert_close(loss.detach(), 0.5 * grad.square().sum() / 4)


def test_the_gradient_passes_through_the_encoder(models):
    """Against the same gradient pulled back by hand through a linear encoder."""
    backbone = PixelBackbone("cpu", PixelBackbone.Config(str(models("toybox"))))
    images = torch.rand(2, 32, 32, 3, requires_grad=True)
    told = condition_of(backbone, 2)
    guidance = SDS(backbone, config(scale=7.0))
    guidance(images, told, 0, generator()).distillation.backward()
    x = backbone.encode(images.detach().permute(0, 3, 1, 2))
    random = generator()
    t = sample_t(guidance.config, backbone.schedule, 2, 0, random)
    noise = torch.randn(x.shape, generator=random)
    noised = Noised(x, noise, backbone.schedule.add_noise(x, noise, t), t, told, 0)
    with torch.no_grad():
        grad = backbone.schedule.sigma(t) ** 2 * (guided_eps(backbone, noised, 7.0) - noise)
    expected = 2 * torch.nn.functional.pixel_shuffle(grad, 4).permute(0, 2, 3, 1) / 2
    torch.testing.assert_close(images.grad, expected)


def condition_of(backbone, batch):
    text, uncond = backbone.embed(["a red dog", ""])
    return Condition(text.expand(batch, -1, -1), uncond.expand(batch, -1, -1))


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_sds_on_a_gaussian_is_its_closed_form(t):
    """E[eps_hat - eps] = sigma alpha (x - m) / (alpha^2 s^2 + sigma^2)."""
    backbone = GaussianBackbone(spread=0.5)
    guidance = SDS(backbone, config(scale=1.0, t_min=t, t_max=t, weighting="uniform"))
    step = torch.tensor([int(t * 1000)])
    alpha, sigma = backbone.schedule.alpha(step).item(), backbone.schedule.sigma(step).item()
    expected = sigma * alpha * (0.9 - 0.3) / (alpha**2 * 0.25 + sigma**2)
    found = gradient(guidance, 0.9, condition(B, 0.3))
    torch.testing.assert_close(found, torch.full((3,), expected), atol=0.02, rtol=0)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_sds_points_away_from_the_mean_and_vanishes_there(weighting):
    guidance = SDS(GaussianBackbone(), config(scale=1.0, weighting=weighting))
    below, there, above = (gradient(guidance, 0.3 + d, condition(B, 0.3)) for d in (-0.3, 0.0, 0.3))
    assert (below < 0).all() and (above > 0).all()
    assert (there.abs() < 0.1 * above).all()


def test_the_weights_are_those_of_their_papers():
    alpha, sigma = torch.tensor(0.8), torch.tensor(0.6)
    found = {name: weight(alpha, sigma).item() for name, weight in WEIGHTINGS.items()}
    assert found == pytest.approx({"uniform": 1.0, "sigma2": 0.36, "alpha_sigma2": 0.288, "x0": 0.75})


def test_the_weight_and_the_scale_of_the_step_are_in_the_gradient():
    """Against the unweighted gradient of the same noise, at a timestep whose weight is known."""
    backbone, told = GaussianBackbone(), condition(4, 0.3, uncond=0.1)
    of = {"t_min": Schedule.constant(0.5), "t_max": Schedule.constant(0.5)}
    rising = GuidanceConfig(scale=Schedule("steps", (0, 10), (1.0, 7.0)), weighting="alpha_sigma2", **of)
    plain = GuidanceConfig(scale=Schedule.constant(7.0), weighting="uniform", **of)
    found, unweighted = (gradient(SDS(backbone, one), 0.6, told, 10, 4) for one in (rising, plain))
    t = torch.tensor([500])
    weight = backbone.schedule.alpha(t) * backbone.schedule.sigma(t) ** 2
    torch.testing.assert_close(found, weight.flatten() * unweighted)


def test_descent_finds_the_mean():
    guidance, random = SDS(GaussianBackbone(), config(scale=1.0)), generator()
    images = torch.full((64, 1, 1, 3), 0.5).requires_grad_()
    descent = torch.optim.SGD([images], lr=8.0)
    for step in range(200):
        descent.zero_grad()
        guidance(images, condition(64, 0.8), step, random).distillation.backward()
        descent.step()
    torch.testing.assert_close(images.detach().mean(), torch.tensor(0.8), atol=0.03, rtol=0)


def test_cfg_moves_the_optimum_along_the_text():
    """Gaussians of one spread, text at .3, uncond at .1, scale 3: eps_cfg is that of a Gaussian at .1 + 3 * .2."""
    guidance = SDS(GaussianBackbone(), config(scale=3.0, t_min=0.5, t_max=0.5))
    told = condition(B, 0.3, uncond=0.1)
    at_optimum, elsewhere = gradient(guidance, 0.7, told), gradient(guidance, 0.3, told)
    assert (at_optimum.abs() < 0.02).all() and (elsewhere < -0.1).all()


def test_perp_neg_through_the_guidance():
    """In one dimension all directions are parallel: negatives have no effect, and all are asked in one call."""
    backbone = GaussianBackbone()
    images = torch.full((2, 1, 1, 3), 0.5)
    told = condition(2, 0.3, 0.1, negatives=[0.9, -0.4], weights=[1.0, 2.0])
    with_negatives = SDS(backbone, config(scale=5.0))(images, told, 0, generator())
    assert backbone.calls == [2 * 4]
    without = SDS(backbone, config(scale=5.0))(images, condition(2, 0.3, 0.1), 0, generator())
    assert backbone.calls == [2 * 4, 2 * 2]
    torch.testing.assert_close(with_negatives.distillation, without.distillation)


def test_perp_neg_takes_only_what_is_perpendicular():
    """The noise is the embedding itself. Image 1: text (1, 0), negative (1, 1) with weight 0.5; image 2 by itself."""
    backbone = GaussianBackbone()
    backbone.predict = lambda x_t, t, text, condition=None: text[..., None]
    text = torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]])
    negatives = torch.tensor([[[[1.0, 1.0]]], [[[3.0, 1.0]]]])
    told = Condition(text, torch.zeros_like(text), negatives, torch.tensor([[0.5], [0.25]]))
    x_t, t = torch.zeros(2, 1, 2, 1), torch.tensor([100, 500])
    found = guided_eps(backbone, Noised(x_t, x_t, x_t, t, told, 0), 10.0)
    torch.testing.assert_close(found[..., 0], 10 * torch.tensor([[[1.0, -0.5 * 1.0]], [[-0.25 * 3.0, 2.0]]]))


def test_a_guidance_rescales_by_its_share():
    backbone = GaussianBackbone()
    backbone.predict = lambda x_t, t, text, condition=None: x_t * text[:, :, :, None]
    x_t, t = torch.randn(2, 3, 4, 4, generator=generator()), torch.tensor([100, 500])
    noised = Noised(x_t, x_t, x_t, t, condition(2, 0.4, uncond=0.1), 0)
    found = SDS(backbone, config(rescale=0.5)).guided_eps(noised, 6.0)
    torch.testing.assert_close(found, guided_eps(backbone, noised, 6.0, rescale=0.5))
    assert not torch.allclose(found, guided_eps(backbone, noised, 6.0))
    of_noise = SDS(backbone, config(rescale=0.5, rescale_of="noise")).guided_eps(noised, 6.0)
    torch.testing.assert_close(of_noise, guided_eps(backbone, noised, 6.0, 0.5, "noise"))
    assert not torch.allclose(found, of_noise)


@pytest.mark.parametrize("of", ["image", "noise"])
def test_rescale_restores_the_contrast_of_x0_or_of_the_noise(of):
    backbone = GaussianBackbone()
    backbone.predict = lambda x_t, t, text, condition=None: x_t * text[:, :, :, None]
    x_t, t = torch.randn(2, 3, 4, 4), torch.tensor([100, 500])
    noised = Noised(x_t, x_t, x_t, t, condition(2, 0.4, uncond=0.1), 0)
    contrast = [
        (to_x0(eps, x_t, t, backbone.schedule, "epsilon") if of == "image" else eps).std(dim=(1, 2, 3))
        for eps in (guided_eps(backbone, noised, 6.0, 1.0, of), guided_eps(backbone, noised, 1.0))
    ]
    torch.testing.assert_close(*contrast)


def test_timesteps_fill_their_range():
    schedule = GaussianBackbone().schedule
    t = sample_t(config(t_min=0.02, t_max=0.98), schedule, 20000, 0, generator())
    assert (t.min(), t.max()) == (20, 979) and abs(t.float().mean() - 499.5) < 5
    assert sample_t(config(t_min=0.0, t_max=1.0), schedule, 20000, 0, generator()).max() == 999
    assert torch.equal(t, sample_t(config(t_min=0.02, t_max=0.98), schedule, 20000, 0, generator()))


def test_timesteps_follow_their_schedules():
    schedule = GaussianBackbone().schedule
    changing = parse(GuidanceConfig, {"t_max": {0: 0.98, 5000: 0.5}}, "guidance")
    assert sample_t(changing, schedule, 1000, 4999, generator()).max() > 900
    assert sample_t(changing, schedule, 1000, 5000, generator()).max() < 500


def test_annealed_timesteps_fall():
    schedule = GaussianBackbone().schedule
    annealed = config(t_min=0.1, t_max=0.9, anneal_steps=100)
    seen = [sample_t(annealed, schedule, 1, step, generator()).item() for step in (0, 25, 100, 500)]
    assert seen == [900, 500, 100, 100]


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("value", [[2.0, -2.0], [0.5, 0.0]]),
        ("pixel", [[1.2, -1.6], [0.5, 0.0]]),
        ("norm", [[1.1942, -1.5923], [0.1990, 0.0]]),
    ],
)
def test_clipping(kind, expected):
    grad = torch.tensor([[3.0, -4.0], [0.5, 0.0]]).T.reshape(1, 2, 1, 2)
    clipped = GradientClip(Schedule.constant(2.0), kind)(grad, 0)
    torch.testing.assert_close(clipped.reshape(2, 2).T, torch.tensor(expected), atol=1e-3, rtol=0)
    assert torch.equal(GradientClip(Schedule.constant(9.0), kind)(grad, 0), grad)


def test_the_bound_follows_its_schedule():
    clip, grad = GradientClip(Schedule("steps", (0, 10), (9.0, 2.0))), torch.full((1, 1, 1, 1), 5.0)
    assert clip(grad, 9).item() == 5 and clip(grad, 10).item() == 2


def test_clipping_bounds_the_images_gradient():
    guidance = SDS(GaussianBackbone(), config(scale=100.0, clip=GradientClip(Schedule.constant(0.1))))
    images = torch.rand(4, 1, 1, 3, requires_grad=True)
    guidance(images, condition(4, 0.3), 0, generator()).distillation.backward()
    assert images.grad.abs().max() <= 0.1 / 4 + 1e-6 and images.grad.abs().max() > 0


def test_the_guidance_draws_only_from_its_generator():
    guidance, images, told = SDS(GaussianBackbone(), config()), torch.rand(4, 1, 1, 3), condition(4, 0.3)
    a, b, c = (guidance(images, told, 0, generator(seed)).distillation for seed in (1, 1, 2))
    assert a == b and a != c


def test_logs_and_state():
    guidance = SDS(GaussianBackbone(), config())
    score = guidance(torch.rand(4, 1, 1, 3), condition(4, 0.3), 0, generator())
    assert set(score.logs) == {"grad_norm", "t"} and score.fake_score is None and score.distillation.shape == ()
    assert not guidance.state_dict() and not list(guidance.parameters())


def test_a_guidance_may_learn():
    class Learner(Guidance):
        def __init__(self, *args):
            super().__init__(*args)
            self.guess = torch.nn.Parameter(torch.zeros(()))

        def residual(self, noised, generator):
            return self.guided_eps(noised, 1.0) - self.guess

        def fake_score_loss(self, noised, generator):
            return (self.guess - noised.noise).square().mean()

    guidance, images = Learner(GaussianBackbone(), config()), torch.rand(4, 1, 1, 3, requires_grad=True)
    score = guidance(images, condition(4, 0.3), 0, generator())
    assert torch.autograd.grad(score.fake_score, images, allow_unused=True, retain_graph=True) == (None,)
    assert torch.autograd.grad(score.distillation, guidance.guess, allow_unused=True, retain_graph=True) == (None,)
    score.fake_score.backward()
    assert guidance.guess.grad is not None


def test_the_recipe_form():
    node = {"type": "sds", "scale": 10.0, "weighting": "x0", "clip": {"kind": "pixel", "at": {0: 1.0, 100: 0.1}}}
    guidance = parse_component("guidance", node, "guidance").build(GaussianBackbone())
    assert isinstance(guidance, SDS) and guidance.config.clip.at(100) == 0.1 and guidance.config.scale(5) == 10
    for wrong in (
        {"t_min": 0.9, "t_max": {0: 0.98, 10: 0.5}},
        {"rescale": 2.0},
        {"clip": {"at": 0.0}},
        {"weighting": "sigma"},
    ):
        with pytest.raises(UserError):
            parse_component("guidance", {"type": "sds"} | wrong, "guidance")


def test_a_step_pulls_to_the_priors_own_clean_image():
    backbone, told = GaussianBackbone(), condition(4, 0.6)
    guidance = SDS(backbone, config(scale=1.0, t_min=0.4, t_max=0.6))
    assert guidance.preview() is None
    guidance(torch.full((4, 1, 1, 3), 0.5), told, 0, generator())
    noised, _ = guidance._latest
    eps = guided_eps(backbone, noised, 1.0)
    wanted = to_x0(eps, noised.x_t, noised.t, backbone.schedule, "epsilon")
    assert torch.allclose(guidance.preview().target, wanted.clamp(0, 1), atol=1e-5)
    assert torch.equal(guidance.preview().image, noised.x.clamp(0, 1))


def test_the_scale_may_be_changed_between_steps():
    guidance = SDS(GaussianBackbone(), config(scale=3.0))
    (scale,) = guidance.adjustables("guidance.rgb.method")
    assert (scale.key, scale.at(7)) == ("guidance.rgb.method.scale", 3.0)
    scale.change(5.0)
    assert scale.at(0) == 5.0 == guidance.config.scale(100)
