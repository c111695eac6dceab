"""A prior that is a mixture of Gaussians in three dimensions, its score exact; and a fake score small enough for it."""

import torch
from torch import nn

from priors.backbones.base import Backbone, Condition, NoiseSchedule
from priors.guidance.fake_score import FakeScore
from threestudio_like.config.registry import register

MEANS = torch.tensor([[0.8, 0.0, 0.0], [-0.4, 0.7, 0.0], [-0.4, -0.7, 0.3]])
SPREAD = 0.25


class MixtureBackbone(Backbone):
    """Images of one pixel: `p(x) = mean_k N(m_k, s^2 I)`; `eps = -sigma grad log p(x_t)`."""

    def __init__(self, steps: int = 1000):
        betas = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64)
        self.schedule = NoiseSchedule(torch.cumprod(1 - betas, dim=0).float())
        self.device, self.image_size, self.prediction = torch.device("cpu"), 1, "epsilon"

    def encode(self, images):
        return images

    def predict(self, x_t, t, text, condition=None):
        alpha, sigma = (value[:, :, 0, 0] for value in (self.schedule.alpha(t), self.schedule.sigma(t)))
        variance = alpha**2 * SPREAD**2 + sigma**2
        off = x_t[:, None, :, 0, 0] - alpha[:, None] * MEANS  # [B, K, 3]
        share = (-0.5 * off.square().sum(-1) / variance).softmax(dim=-1)
        return (sigma * (share[..., None] * off).sum(1) / variance)[..., None, None]


@register("fake_score", "mlp_for_tests")
class MLP(FakeScore):
    class Config:
        pass

    def __init__(self, backbone, config):
        super().__init__()
        self.prediction, self.schedule = "epsilon", backbone.schedule
        self.net = nn.Sequential(nn.Linear(3 + 8, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 3))

    def forward(self, x_t, t, condition):
        alpha, sigma = (value[:, :, 0, 0] for value in (self.schedule.alpha(t), self.schedule.sigma(t)))
        x = x_t[..., 0, 0]
        waves = torch.cat([f(sigma.log() * 2**i) for i in range(4) for f in (torch.sin, torch.cos)], dim=-1)
        wide = alpha**2 * 0.5 + sigma**2  # what one Gaussian around all of it would have
        return (sigma / wide * x + self.net(torch.cat([x / wide.sqrt(), waves], dim=-1)))[..., None, None]


def condition(batch: int) -> Condition:
    nothing = torch.zeros(batch, 1, 1)
    return Condition(nothing, nothing, camera=torch.zeros(batch, 16))


def distil(guidance, count: int, steps: int, lr: float) -> torch.Tensor:
    """`count` points moved by a guidance from a cloud around the origin: `[count, 3]`."""
    generator = torch.Generator().manual_seed(0)
    points = nn.Parameter(0.5 * torch.randn(count, 3, generator=generator))
    # the loss is a mean over the batch, and each point is one of it
    learned = [group.parameters for group in guidance.parameter_groups()]
    optimizer = torch.optim.Adam([{"params": part} for part in ([points], *learned)], betas=(0.9, 0.99), eps=1e-12)
    told = condition(count)
    for step in range(steps):
        fraction = step / steps
        for group, start in zip(optimizer.param_groups, [lr, 2e-3], strict=False):
            group["lr"] = start * (1 - fraction) + 1e-4
        score = guidance(points[:, None, None], told, step, generator)
        (score.distillation + (0 if score.fake_score is None else score.fake_score)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return points.detach()


def moments(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gives share, mean `[K, 3]` and variance (mean over axes) of the points nearest to each of the mixture's modes."""
    nearest = torch.cdist(points, MEANS).argmin(dim=1)
    parts = [points[nearest == k] for k in range(len(MEANS))]
    return (
        torch.tensor([len(part) / len(points) for part in parts]),
        torch.stack([part.mean(0) for part in parts]),
        torch.stack([part.var(dim=0).mean() for part in parts]),
    )


def nearest_part_of_the_truth() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same of many points drawn from the mixture: what cutting it into cells does to its moments."""
    generator = torch.Generator().manual_seed(1)
    which = torch.randint(len(MEANS), (200_000,), generator=generator)
    return moments(MEANS[which] + SPREAD * torch.randn(len(which), 3, generator=generator))
