"""Flow-matching models, read as diffusion models: Stable Diffusion 3 and 3.5.

A rectified flow mixes image and noise along straight lines, and its model predicts their velocity at a time s in 0..1
(Esser et al. 2024, "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", section 2):

    z_s = (1 - s) x + s eps,    v(z_s, s) = eps - x.

The guidances know x_t = alpha x + sigma eps with alpha^2 + sigma^2 = 1. That is z_s at another scale. With
r^2 = (1 - s)^2 + s^2,

    x_t = z_s / r,    alpha = (1 - s) / r,    sigma = s / r,    alpha_bar = alpha^2 = (1 - s)^2 / ((1 - s)^2 + s^2).

As alpha + sigma = 1 / r, the schedule tells all: s = sigma / (alpha + sigma), and the model is given z_s = x_t /
(alpha + sigma). From its velocity follow x = z_s - s v and eps = z_s + (1 - s) v, and with them the velocity of the
variance-preserving path, which is what `v_prediction` means everywhere else here:

    alpha eps - sigma x = (alpha - sigma) z_s + (alpha (1 - s) + sigma s) v
                        = r (alpha - sigma) x_t + r v
                        = (v + (alpha - sigma) x_t) / (alpha + sigma).

Its factors are at most 1, and so are those that make eps or x of it: neither end of the path divides by zero. A step
of DDIM is Euler's step of the flow: both keep x and eps, and mix them anew.

A timestep t of T stands for u = (t + 1/2) / T and the time s = m u / (1 + (m - 1) u) that the scheduler's shift m makes
of it, since large images need more noise to lose as much (section 5.3.2). So t_min and t_max are shares of the steps
that a sampler takes. The halves keep s off 0 and 1, where noise or image cannot be told.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from priors import embedding, text_encoders
from priors.backbones.base import Condition, in_own_precision
from priors.backbones.latent import VAEBackbone, VAEConfig
from threestudio_like import pretrained
from threestudio_like.errors import UserError

SCHEDULER = "FlowMatchEulerDiscreteScheduler"


@dataclass(frozen=True)
class FlowConfig(VAEConfig):
    """Configures a flow-matching model."""

    t5: bool = True
    """Whether the T5, by far the largest text encoder, reads the text too; else it is neither fetched nor loaded, and
    zeros stand in its place, as published."""


class FlowBackbone(VAEBackbone):
    """Stable Diffusion 3 and 3.5: a transformer of image and text, three text encoders, a VAE of 16 channels."""

    Config = FlowConfig
    parts = ("transformer", "scheduler", "vae")

    @staticmethod
    def network() -> type[nn.Module]:
        from diffusers import SD3Transformer2DModel

        return SD3Transformer2DModel

    @staticmethod
    def read_scheduler(folder: Path):
        return read_flow(folder)

    @classmethod
    def missing(cls, config: pretrained.ModelConfig) -> str | None:
        assert isinstance(config, FlowConfig)
        encoders = text_encoders.encoders_of(pretrained.local(config), config.t5)
        return pretrained.missing(config, (*cls.parts, *text_encoders.parts_of(encoders)))

    @property
    def text_width(self) -> int:
        return self.unet.config.joint_attention_dim

    @property
    def time_embedding(self) -> tuple[nn.Module, int]:
        return self.unet.time_text_embed, self.unet.inner_dim

    @in_own_precision
    def output(self, x_t: Tensor, t: Tensor, text: Tensor, condition: Condition | None) -> Tensor:
        """Computes the variance-preserving path's velocity, float32, from the flow's; arguments as of all backbones."""
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        total = alpha + sigma
        tokens, pooled = text_encoders.split_pooled(text, self.unet.config.pooled_projection_dim)
        velocity = self.unet(
            (x_t / total).to(x_t.dtype),
            encoder_hidden_states=tokens,
            pooled_projections=pooled,
            timestep=self.schedule.steps * (sigma / total).flatten(),
        ).sample
        return (velocity.float() + (alpha - sigma) * x_t) / total

    @classmethod
    def embedded(cls, config: pretrained.ModelConfig, texts: list[str], device: torch.device) -> Float[Tensor, "N L D"]:
        assert isinstance(config, FlowConfig)
        return embedding.embed(config, texts, device, t5=config.t5)


def shifted(u: Tensor, shift: float) -> Tensor:
    """Moves times 0..1 towards the noise, by a shift of 1 or more."""
    return shift * u / (1 + (shift - 1) * u)


def read_flow(folder: Path):
    """Reads a flow's schedule as the betas of a variance-preserving diffusion that predicts v. Raises UserError."""
    from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

    path = folder / "scheduler" / "scheduler_config.json"
    config = pretrained.read_json(path)
    if config.get("_class_name") != SCHEDULER or config.get("use_dynamic_shifting"):
        raise UserError(
            f"{path}: {config.get('_class_name')} is not a flow with a fixed shift ({SCHEDULER}); "
            "a diffusion with betas is `type: latent`"
        )
    with pretrained.reading(path, "a schedule of a flow"):
        flow = FlowMatchEulerDiscreteScheduler.from_config(config)
        if not flow.config.shift > 0:
            raise ValueError("its shift is not above 0")
        steps = flow.config.num_train_timesteps
        s = shifted((torch.arange(steps, dtype=torch.float64) + 0.5) / steps, flow.config.shift)
        alphas_cumprod = (1 - s) ** 2 / ((1 - s) ** 2 + s**2)
        before = torch.cat([alphas_cumprod.new_ones(1), alphas_cumprod[:-1]])
        betas = (1 - alphas_cumprod / before).tolist()
        return DDPMScheduler(num_train_timesteps=steps, trained_betas=betas, prediction_type="v_prediction")
