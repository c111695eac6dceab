"""Implements the common part of all score distillations: timesteps, weights, the guided prediction, clipping.

A kind of distillation is a subclass that gives the residual in `grad = w(t) residual`; nothing flows back through the
U-Net, whose Jacobian is left out (Poole et al. 2022, eq. 3).
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from priors.backbones.base import Backbone, Condition, NoiseSchedule, cfg, perp_neg, rescale_cfg, to_eps, to_x0
from threestudio_like.config.ranges import NonNegativeSchedule, PositiveSchedule, Share, ShareSchedule, Whole
from threestudio_like.config.registry import configure
from threestudio_like.config.schedule import Schedule
from threestudio_like.engine.system import Adjustable, GuidancePreview, ParameterGroup

WEIGHTINGS = {
    "uniform": lambda alpha, sigma: torch.ones_like(sigma),
    "sigma2": lambda alpha, sigma: sigma**2,
    "alpha_sigma2": lambda alpha, sigma: alpha * sigma**2,
    "x0": lambda alpha, sigma: sigma / alpha,
}
"""w(t). `sigma2`: DreamFusion; `alpha_sigma2`: Fantasia3D (Chen et al. 2023); `x0`: the residual in eps becomes one in
x0, `x - x0_cfg`, as in MVDream (Shi et al. 2023) and LucidDreamer (Liang et al. 2023)."""


@dataclass(frozen=True)
class ScoreLoss:
    """The losses of one call of a guidance, and numbers worth watching."""

    distillation: Float[Tensor, ""]
    """Its gradient goes to what made the images."""
    fake_score: Float[Tensor, ""] | None
    """Its gradient goes to what the guidance itself learns; None where it learns nothing."""
    logs: dict[str, float | Tensor]


@dataclass(frozen=True)
class GradientClip:
    """Bounds the gradient: every `value`; the length of every `pixel`'s vector of channels; or each image's `norm`."""

    at: PositiveSchedule
    kind: Literal["value", "pixel", "norm"] = "value"

    def __call__(self, grad: Float[Tensor, "B C h w"], step: int) -> Float[Tensor, "B C h w"]:
        bound = self.at(step)
        if self.kind == "value":
            return grad.clamp(-bound, bound)
        dims = (1,) if self.kind == "pixel" else (1, 2, 3)
        length = torch.linalg.vector_norm(grad, dim=dims, keepdim=True)
        return grad * (bound / length.clamp_min(bound))


@dataclass(frozen=True)
class Noised:
    """Images x (latents, where the backbone has a VAE) and x_t, the same at the timesteps t under the noise."""

    x: Float[Tensor, "B C h w"]
    noise: Float[Tensor, "B C h w"]
    x_t: Float[Tensor, "B C h w"]
    t: Int[Tensor, "B"]
    condition: Condition
    step: int


RescaleOf = Literal["image", "noise"]
"""Whose contrast a guided prediction is given back."""


@dataclass(frozen=True)
class GuidanceConfig:
    """Configures a score distillation."""

    scale: NonNegativeSchedule = Schedule.constant(100.0)
    """Strength s of classifier-free guidance, `eps_uncond + s (eps_text - eps_uncond)`. DreamFusion, and threestudio
    for SDS, add s times the difference to eps_text: their 100 is 101 here."""
    t_min: ShareSchedule = Schedule.constant(0.02)
    """The lowest timestep, as a fraction of the schedule's T."""
    t_max: ShareSchedule = Schedule.constant(0.98)
    """The highest timestep, as a fraction of the schedule's T."""
    anneal_steps: Whole = 0
    """If above 0, t is not drawn but falls from t_max to t_min over so many steps, by a square root."""
    weighting: Literal["uniform", "sigma2", "alpha_sigma2", "x0"] = "sigma2"
    """The weight w(t) of the gradient; see `WEIGHTINGS`."""
    rescale: Share = 0.0
    """The share, 0..1, of the unguided prediction's contrast that the guided one is given back."""
    rescale_of: RescaleOf = "image"
    """Whose contrast: the clean image's that is predicted, as in MVDream, or the noise's, as in SweetDreamer's code."""
    clip: GradientClip | None = None
    """A bound on the gradient."""

    def __post_init__(self):
        for step in (*self.t_min.at, *self.t_max.at):
            if self.t_min(step) > self.t_max(step):
                raise ValueError(
                    f"t_min <= t_max does not hold at step {step}: t_min {self.t_min(step):g}, "
                    f"t_max {self.t_max(step):g}"
                )


class Guidance(nn.Module):
    """Base of all score distillations. Registered in the slot `guidance`; built from a backbone and a Config or its
    fields.
    """

    Config = GuidanceConfig

    def __init__(self, backbone: Backbone, config: GuidanceConfig | None = None, **fields):
        super().__init__()
        self.config, self.backbone = configure(self, config, fields), backbone
        self._latest: tuple[Noised, Tensor] | None = None

    def residual(self, noised: Noised, generator: torch.Generator) -> Float[Tensor, "B C h w"]:
        """Computes the residual r in `grad = w(t) r`; called without gradients."""
        raise NotImplementedError

    def parameter_groups(self) -> list[ParameterGroup]:
        """Lists what the guidance itself learns, with its learning rates; empty where it learns nothing."""
        return []

    def save(self, folder: Path) -> None:
        """Writes what the guidance has learned, where it learns, into the folder."""

    def fake_score_loss(self, noised: Noised, generator: torch.Generator) -> Float[Tensor, ""] | None:
        """Computes the loss of what the guidance itself learns; `noised` carries no gradient. None if nothing."""
        return None

    def forward(
        self, images: Float[Tensor, "B H W C"], condition: Condition, step: int, generator: torch.Generator
    ) -> ScoreLoss:
        """The loss of images in 0..1 whose gradient is the distillation's, averaged over the B images."""
        return self.distil(self.backbone.encode(images.permute(0, 3, 1, 2)).float(), condition, step, generator)

    def distil(
        self, x: Float[Tensor, "B C h w"], condition: Condition, step: int, generator: torch.Generator
    ) -> ScoreLoss:
        """Computes the loss, as `forward`, of latents that are already encoded (float32)."""
        t = sample_t(self.config, self.backbone.schedule, len(x), step, generator).to(x.device)
        noise = randn(x, generator)
        x_t = self.backbone.schedule.add_noise(x.detach(), noise, t)
        noised = Noised(x.detach(), noise, x_t, t, condition, step)
        with torch.no_grad():
            residual = self.residual(noised, generator)
            grad = self.weight(t) * residual
            if self.config.clip is not None:
                grad = self.config.clip(grad, step)
        self._latest = noised, residual
        logs = {"grad_norm": grad.flatten(1).norm(dim=1).mean(), "t": t.float().mean()}
        return ScoreLoss(gradient_as_loss(x, grad), self.fake_score_loss(noised, generator), logs)

    @torch.no_grad()
    def preview(self) -> GuidancePreview | None:
        """Decodes what the prior saw in the last step, and what the step pulls it to; None before the first.

        That is `x - sigma / alpha r`, in which a residual of noise is one of clean images. For SDS and SDI it is the
        prior's guided x0 in one step; for VSD, the image moved from the renders' own x0 to the prior's.
        """
        if self._latest is None:
            return None
        noised, residual = self._latest
        schedule, t = self.backbone.schedule, noised.t
        target = noised.x - schedule.sigma(t) / schedule.alpha(t) * residual
        images = (self.backbone.decode(x)[:, :3].float().clamp(0, 1) for x in (noised.x, target))
        return GuidancePreview(*images)

    def adjustables(self, key: str) -> list[Adjustable]:
        """Lists the numbers that may be changed between steps; `key` is the guidance's own in the recipe."""

        def change(value: float) -> None:
            self.config = replace(self.config, scale=Schedule.constant(value))

        return [Adjustable(f"{key}.scale", lambda step: self.config.scale(step), change)]

    def weight(self, t: Int[Tensor, "B"]) -> Float[Tensor, "B 1 1 1"]:
        """Computes w(t)."""
        schedule = self.backbone.schedule
        return WEIGHTINGS[self.config.weighting](schedule.alpha(t), schedule.sigma(t))

    def guided_eps(self, noised: Noised, scale: float) -> Float[Tensor, "B C h w"]:
        """Predicts the noise under classifier-free guidance, or Perp-Neg where the condition has negatives."""
        return guided_eps(self.backbone, noised, scale, self.config.rescale, self.config.rescale_of)


def guided_eps(
    backbone: Backbone, noised: Noised, scale: float, rescale: float = 0.0, rescale_of: RescaleOf = "image"
) -> Float[Tensor, "B C h w"]:
    """Predicts the noise under guidance, with text, uncond and negatives in one call of the U-Net.

    `rescale` acts on the x0 that the predictions stand for, as in MVDream, or on the noise itself.
    """
    condition, x_t, t = noised.condition, noised.x_t, noised.t
    texts = [condition.text, condition.uncond]
    if condition.negatives is not None:
        texts += condition.negatives.unbind(dim=1)
    cond, uncond, *negatives = backbone.predict_each(x_t, t, texts, condition)
    if negatives:
        assert condition.negative_weights is not None, "each negative has one"
        guided = perp_neg(cond, uncond, torch.stack(negatives, dim=1), condition.negative_weights, scale)
    else:
        guided = cfg(cond, uncond, scale)
    if rescale == 0:
        return guided
    if rescale_of == "noise":
        return rescale_cfg(guided, cond, rescale)
    x0_guided, x0_cond = (to_x0(eps, x_t, t, backbone.schedule, "epsilon") for eps in (guided, cond))
    return to_eps(rescale_cfg(x0_guided, x0_cond, rescale), x_t, t, backbone.schedule, "sample")


def sample_t(
    config: GuidanceConfig, schedule: NoiseSchedule, batch: int, step: int, generator: torch.Generator
) -> Int[Tensor, "B"]:
    """Timesteps `U(t_min, t_max) T`, one an image; or all `t_max - (t_max - t_min) sqrt(step / anneal_steps)`, as in
    HiFA (Zhu & Zhuang 2023)."""
    low, high = config.t_min(step), config.t_max(step)
    if config.anneal_steps > 0:
        down = math.sqrt(min(step / config.anneal_steps, 1.0))
        fraction = torch.full((batch,), high - (high - low) * down)
    else:
        fraction = low + (high - low) * torch.rand(batch, generator=generator, device=generator.device)
    return (fraction * schedule.steps).long().clamp(max=schedule.steps - 1)


def randn(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draws standard normal noise of that shape, where the generator is."""
    return torch.randn(like.shape, generator=generator, device=generator.device).to(like)


def gradient_as_loss(x: Float[Tensor, "B C h w"], grad: Float[Tensor, "B C h w"]) -> Float[Tensor, ""]:
    """Builds a loss whose gradient in x is exactly grad / B: `0.5 ||x - stopgrad(x - grad)||^2`, averaged over the
    batch.

    Written as `x - sg(x) + grad`, which is the same and loses no digits of a gradient that is small beside x.
    """
    return 0.5 * (x - x.detach() + grad.detach()).square().sum() / len(x)
