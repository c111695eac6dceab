"""A flow is a diffusion to its callers: by closed forms of a Gaussian's velocity, and beside the published pipeline."""

import shutil

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from torch import nn

from priors.backbones.base import Condition, to_x0
from priors.backbones.flow import FlowBackbone, shifted
from priors.guidance.base import GradientClip, GuidanceConfig
from priors.guidance.csd import CSD
from priors.guidance.ism import ISM, ISMConfig
from priors.guidance.sdi import SDI, SDIConfig
from priors.guidance.sds import SDS
from priors.sampling import ddim
from tests.priors.gaussian import GaussianBackbone
from threestudio_like.config.schedule import Schedule
from threestudio_like.errors import UserError

SPREAD = 0.5
TIMES = torch.tensor([0, 1, 20, 300, 500, 800, 998, 999])


class GaussianVelocity(nn.Module):
    """The best velocity of a flow to images N(m, s^2 I), m being the text: `E[eps | z] - E[x | z]`."""

    dtype = torch.float32

    def __init__(self, config, spread):
        super().__init__()
        self.config, self.spread, self.seen = config, spread, []

    def forward(self, z, encoder_hidden_states, pooled_projections, timestep):
        self.seen.append((z, timestep))
        s = (timestep / 1000)[:, None, None, None].double()
        mean = encoder_hidden_states[:, 0, :1, None, None].double()
        off = (z.double() - (1 - s) * mean) / ((1 - s) ** 2 * self.spread**2 + s**2)
        x, eps = mean + (1 - s) * self.spread**2 * off, s * off
        return type("Output", (), {"sample": (eps - x).float()})


@pytest.fixture
def flow(models):
    return FlowBackbone("cpu", model=str(models("sd35")))


@pytest.fixture
def known(flow):
    """The flow of a Gaussian, read by the backbone."""
    return flow.with_unet(GaussianVelocity(flow.unet.config, SPREAD))


def texts(batch, mean):
    """A token and a pooled embedding, of which the first number is the mean."""
    return torch.full((batch, 2, 64), mean)


def test_the_schedule_is_the_flows_and_follows_its_shift(flow, models):
    alpha, sigma = (part(torch.arange(1000)).flatten().double() for part in (flow.schedule.alpha, flow.schedule.sigma))
    s = sigma / (alpha + sigma)
    published = FlowMatchEulerDiscreteScheduler.from_pretrained(models("sd35") / "scheduler")
    ends = published.sigmas.flip(0).double()  # of the thousand steps, of which ours are the middles
    assert published.config.shift == 3 and ((s < ends) & (s[1:].new_tensor([0, *ends[:-1]]) < s)).all()
    torch.testing.assert_close(s, shifted((torch.arange(1000).double() + 0.5) / 1000, 3.0), atol=2e-5, rtol=0)
    torch.testing.assert_close(alpha**2, (1 - s) ** 2 / ((1 - s) ** 2 + s**2))
    assert (flow.schedule.alphas_cumprod > 0).all() and (flow.schedule.alphas_cumprod.diff() < 0).all()


def test_the_noise_is_the_gaussians_at_every_time(known):
    """Beside the closed form of variance-preserving diffusions, `sigma (x_t - alpha m) / (alpha^2 s^2 + sigma^2)`."""
    x_t = torch.randn(len(TIMES), 16, 4, 4, generator=torch.Generator().manual_seed(0))
    found = known.predict(x_t, TIMES, texts(len(TIMES), 0.7))
    alpha, sigma = known.schedule.alpha(TIMES), known.schedule.sigma(TIMES)
    expected = sigma * (x_t - alpha * 0.7) / (alpha**2 * SPREAD**2 + sigma**2)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_model_is_given_the_straight_mixture_at_its_time(known):
    x, noise = torch.randn(2, len(TIMES), 16, 4, 4)
    known.predict(known.schedule.add_noise(x, noise, TIMES), TIMES, texts(len(TIMES), 0.0))
    ((z, timestep),) = known.unet.seen
    s = (timestep / 1000)[:, None, None, None]
    torch.testing.assert_close(z, (1 - s) * x + s * noise, atol=1e-5, rtol=0)
    assert timestep.dtype == torch.float32 and (timestep.diff() > 0).all() and 0 < timestep[0] < timestep[-1] < 1000


def test_the_transformer_is_asked_as_in_the_published_pipeline(flow, models):
    """eps = z + (1 - s) v, of the transformer that diffusers loads, given what its pipeline gives it."""
    text = flow.embed(["a red dog", "a car"])
    transformer = SD3Transformer2DModel.from_pretrained(models("sd35") / "transformer")
    t, x_t = torch.tensor([100, 900]), torch.randn(2, 16, 8, 8)
    alpha, sigma = flow.schedule.alpha(t), flow.schedule.sigma(t)
    s, z = sigma / (alpha + sigma), x_t / (alpha + sigma)
    given = dict(encoder_hidden_states=text[:, :-1], pooled_projections=text[:, -1, :40], timestep=1000 * s.flatten())
    with torch.no_grad():
        expected = z + (1 - s) * transformer(z, **given).sample
        torch.testing.assert_close(flow.predict(x_t, t, text), expected)


def test_half_precision_costs_a_hundredth(flow, models):
    low = FlowBackbone("cpu", model=str(models("sd35")), precision="bf16")
    text, x_t, t = flow.embed(["a dog", "a car"]), torch.randn(2, 16, 8, 8), torch.tensor([50, 950])
    with torch.no_grad():
        torch.testing.assert_close(low.predict(x_t, t, text), flow.predict(x_t, t, text), atol=0.03, rtol=0)


def test_a_step_of_ddim_is_eulers_step_of_the_flow(known):
    t, earlier = torch.tensor([700]), torch.tensor([400])
    x_t, text = torch.randn(1, 16, 4, 4), texts(1, 0.3)
    eps = known.predict(x_t, t, text)
    stepped = known.schedule.add_noise(to_x0(eps, x_t, t, known.schedule, "epsilon"), eps, earlier)

    def time_and_radius(t):
        alpha, sigma = known.schedule.alpha(t), known.schedule.sigma(t)
        return sigma / (alpha + sigma), 1 / (alpha + sigma)

    (s, r), (s_earlier, r_earlier) = time_and_radius(t), time_and_radius(earlier)
    velocity = known.unet(r * x_t, text, None, 1000 * s.flatten()).sample
    torch.testing.assert_close(r_earlier * stepped, r * x_t + (s_earlier - s) * velocity, atol=1e-5, rtol=0)


def test_samples_have_the_gaussians_mean_and_spread(known):
    def predict(x_t, t, text):
        return known.output(x_t, t, text, None)

    x = ddim(
        predict,
        known.scheduler,
        texts(64, 0.7),
        texts(64, 0.0),
        (16, 4, 4),
        scale=1.0,
        steps=100,
        generator=torch.Generator().manual_seed(0),
    )
    assert x.mean().item() == pytest.approx(0.7, abs=0.02) and x.std().item() == pytest.approx(SPREAD, rel=0.05)


def constants(**numbers):
    return {name: Schedule.constant(value) for name, value in numbers.items()}


GUIDANCES = {
    "sds": (SDS, GuidanceConfig(**constants(scale=3.0))),
    "sds_rescaled": (SDS, GuidanceConfig(**constants(scale=3.0), rescale=0.5)),
    "sds_x0_clipped": (SDS, GuidanceConfig(weighting="x0", clip=GradientClip(Schedule.constant(0.5)))),
    "csd": (CSD, GuidanceConfig(**constants(scale=3.0))),
    "sdi": (SDI, SDIConfig()),
    "ism": (ISM, ISMConfig()),
}


@pytest.mark.parametrize("name", GUIDANCES)
@pytest.mark.parametrize("negatives", [False, True])
def test_every_guidance_is_the_same_as_on_a_diffusion_of_that_schedule(known, name, negatives):
    """The gradient through the flow, and that of the noise in closed form on the same schedule."""
    kind, config = GUIDANCES[name]
    diffusion = GaussianBackbone(SPREAD)
    diffusion.schedule = known.schedule
    x = torch.randn(3, 16, 4, 4, generator=torch.Generator().manual_seed(1))
    found = []
    for backbone, mean in ((known, texts), (diffusion, lambda batch, mean: torch.full((batch, 1, 1), mean))):
        told = Condition(mean(3, 0.7), mean(3, 0.1))
        if negatives:
            stacked = torch.stack([mean(3, -0.2), mean(3, 0.4)], dim=1)
            told = Condition(told.text, told.uncond, stacked, torch.tensor([0.5, 1.0]).expand(3, -1))
        own = x.clone().requires_grad_()
        kind(backbone, config).distil(own, told, 5, torch.Generator().manual_seed(2)).distillation.backward()
        found.append(own.grad)
    assert found[1].abs().max() > 0.01
    torch.testing.assert_close(*found, atol=1e-3, rtol=1e-3)


def test_what_is_no_flow_is_refused(models, tmp_path):
    place = shutil.copytree(models("sd35"), tmp_path / "copy")
    path = place / "scheduler" / "scheduler_config.json"
    whole = path.read_text()
    path.write_text(whole.replace('"use_dynamic_shifting": false', '"use_dynamic_shifting": true'))
    with pytest.raises(UserError, match="is not a flow with a fixed shift"):
        FlowBackbone("cpu", model=str(place))
    path.write_text(whole.replace('"shift": 3.0', '"shift": -1.0'))
    with pytest.raises(UserError, match="cannot be loaded as a schedule of a flow"):
        FlowBackbone("cpu", model=str(place))
    with pytest.raises(UserError, match="transformer"):
        FlowBackbone("cpu", model=str(models("sdxl")))
