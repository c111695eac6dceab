"""Defines the interface of diffusion priors: a noise schedule, an encoder of images, a predictor of noise.

`x_t = alpha_t x + sigma_t eps`, `alpha_t^2 + sigma_t^2 = 1`. Whatever a model was trained to output, callers see eps.
"""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from priors import embedding, text_encoders
from priors.backbones.scheduler import read_scheduler
from priors.condition import Condition
from priors.text import Prompt
from threestudio_like import pretrained
from threestudio_like.cameras import Cameras
from threestudio_like.config.registry import configure
from threestudio_like.utils.precision import without_autocast
from threestudio_like.utils.threads import side_by_side

Method = TypeVar("Method", bound=Callable)
M = TypeVar("M", bound=nn.Module)
Prediction = Literal["epsilon", "v_prediction", "sample"]


@dataclass(frozen=True)
class NoiseSchedule:
    """A variance-preserving schedule of T steps, `alphas_cumprod = alpha_t^2`, falling from about 1 to about 0."""

    alphas_cumprod: Float[Tensor, "T"]

    @property
    def steps(self) -> int:
        """The number of steps T."""
        return len(self.alphas_cumprod)

    def alpha(self, t: Int[Tensor, "B"]) -> Float[Tensor, "B 1 1 1"]:
        """Returns the signal's factor alpha_t."""
        return self.alphas_cumprod[t].sqrt()[:, None, None, None]

    def sigma(self, t: Int[Tensor, "B"]) -> Float[Tensor, "B 1 1 1"]:
        """Returns the noise's factor sigma_t."""
        return (1 - self.alphas_cumprod[t]).sqrt()[:, None, None, None]

    def add_noise(self, x: Tensor, noise: Tensor, t: Int[Tensor, "B"]) -> Tensor:
        """Computes x_t; x and noise are [B,C,h,w]."""
        return self.alpha(t) * x + self.sigma(t) * noise


def to_x0(output: Tensor, x_t: Tensor, t: Tensor, schedule: NoiseSchedule, prediction: Prediction) -> Tensor:
    """Converts a model's output into a clean image [B,C,h,w]. From `epsilon`, undefined where alpha_t = 0."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    if prediction == "epsilon":
        return (x_t - sigma * output) / alpha
    return alpha * x_t - sigma * output if prediction == "v_prediction" else output


def to_eps(output: Tensor, x_t: Tensor, t: Tensor, schedule: NoiseSchedule, prediction: Prediction) -> Tensor:
    """Converts a model's output into noise [B,C,h,w]. From `sample`, undefined where sigma_t = 0."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    if prediction == "sample":
        return (x_t - alpha * output) / sigma
    return alpha * output + sigma * x_t if prediction == "v_prediction" else output


def target(x0: Tensor, noise: Tensor, t: Tensor, schedule: NoiseSchedule, prediction: Prediction) -> Tensor:
    """Computes the training target of a model; v = alpha eps - sigma x0 (Salimans & Ho 2022, appendix D)."""
    if prediction == "v_prediction":
        return schedule.alpha(t) * noise - schedule.sigma(t) * x0
    return noise if prediction == "epsilon" else x0


def cfg(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """Applies classifier-free guidance (Ho & Salimans 2022): 0 ignores the text, 1 is the model as it is."""
    return uncond + scale * (cond - uncond)


def perp_neg(
    cond: Tensor,
    uncond: Tensor,
    negatives: Float[Tensor, "B K C h w"],
    weights: Float[Tensor, "B K"],
    scale: float,
) -> Tensor:
    """Applies CFG that also moves away from negative prompts, but only perpendicularly to the text's direction.

    `uncond + s (d - sum_k w_k (d_k - d <d_k, d> / <d, d>))`, where d and d_k are the text's and the negatives'
    differences from `uncond` (Armandpour et al. 2023, "Re-imagine the Negative Prompt Algorithm").
    """
    text = (cond - uncond)[:, None]
    negatives = negatives - uncond[:, None]
    share = _dot(negatives, text) / _dot(text, text).clamp_min(torch.finfo(text.dtype).tiny)
    away = (weights[:, :, None, None, None] * (negatives - share * text)).sum(dim=1)
    return uncond + scale * (text[:, 0] - away)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(-3, -2, -1), keepdim=True)


def rescale_cfg(guided: Tensor, text: Tensor, share: float) -> Tensor:
    """Gives the guided prediction the text prediction's contrast, by a share 0..1 (Lin et al. 2023, eq. 15 and 16).

    Both [B,C,h,w]; the standard deviation is over all of an image. Undoes the over-exposure of large guidance scales.
    """
    dims = tuple(range(1, guided.ndim))
    contrast = text.std(dim=dims, keepdim=True) / guided.std(dim=dims, keepdim=True)
    return share * guided * contrast + (1 - share) * guided


def in_own_precision(method: Method) -> Method:
    """Decorates what calls a backbone's U-Net, so that autocast changes no frozen one."""

    @wraps(method)
    def called(self: "Backbone", *given: Any) -> Any:
        with without_autocast() if self.keeps_precision else nullcontext():
            return method(self, *given)

    return called  # type: ignore[return-value]  # wraps keeps the signature


class Backbone:
    """A pretrained diffusion model of images, frozen.

    Not an `nn.Module`, so that its weights are never part of a system's checkpoint. A kind of backbone says how images
    become what its U-Net works on: `encode` and `decode`. `unet` is whatever network predicts; a transformer may take
    the U-Net's place.
    """

    Config = pretrained.ModelConfig
    parts: tuple[str, ...] = ("unet", "scheduler")
    """Subfolders of the model that are loaded: the network first, then the scheduler."""
    image_channels: int = 3

    schedule: NoiseSchedule
    prediction: Prediction
    channels: int
    """Channels of what `encode` gives; the U-Net may see more beside them."""
    image_size: int
    device: torch.device
    keeps_precision = True
    """Whether the U-Net computes in its own precision whatever the run's: so do all but those that are trained."""

    def __init__(self, device: torch.device | str = "cpu", config: pretrained.ModelConfig | None = None, **fields):
        """Raises UserError where the model is not there, or not whole."""
        self.config = config = configure(self, config, fields)
        self.device = torch.device(device)
        self.dtype = pretrained.dtype_on(self.device, config.precision)
        self.folder = pretrained.find(config, self.parts)
        self.scheduler = self.read_scheduler(self.folder)
        self.schedule = NoiseSchedule(self.scheduler.alphas_cumprod.to(self.device))
        self.prediction = self.scheduler.config.prediction_type
        network = pretrained.load(self.network(), self.folder, self.parts[0], config.variant, self.dtype)
        self.unet = self.made_fast(network.to(self.device))
        self.channels = self.unet.config.in_channels

    def made_fast(self, network: M) -> M:
        """Lays convolutions' weights out as a GPU's matrix units take them, and compiles where the config says so."""
        if self.device.type == "cuda":
            network = network.to(memory_format=torch.channels_last)
        if self.config.compiled is not None:
            network.compile(mode=self.config.compiled)
        return network

    @staticmethod
    def network() -> type[nn.Module]:
        """Returns diffusers' class of the network."""
        from diffusers import UNet2DConditionModel

        return UNet2DConditionModel

    @staticmethod
    def read_scheduler(folder: Path):
        """Reads a model folder's betas and prediction type, as a scheduler of diffusers. Raises UserError."""
        return read_scheduler(folder)

    @property
    def text_width(self) -> int:
        """Features of a token, D."""
        return self.unet.config.encoder_hid_dim or self.unet.config.cross_attention_dim

    @property
    def time_embedding(self) -> tuple[nn.Module, int]:
        """Returns the layer whose output tells the network the time, and its width; what is added there is told too."""
        return self.unet.time_embedding, self.unet.time_embedding.linear_2.out_features

    @classmethod
    def missing(cls, config: pretrained.ModelConfig) -> str | None:
        """Says in a sentence what keeps model or text encoder from loading, or returns None; touches no network."""
        encoders = text_encoders.encoders_of(pretrained.local(config))
        return pretrained.missing(config, (*cls.parts, *text_encoders.parts_of(encoders)))

    def with_unet(self, unet: nn.Module) -> "Backbone":
        """Returns the same model with another U-Net, which follows the run's precision; all else is shared."""
        other = copy.copy(self)
        other.unet, other.dtype, other.keeps_precision = unet, unet.dtype, False
        return other

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Encodes images in 0..1, of any size, into what the U-Net works on; differentiable."""
        raise NotImplementedError

    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 S S"]:
        """Decodes images in 0..1 of `image_size` pixels."""
        raise NotImplementedError

    @in_own_precision
    def output(self, x_t: Tensor, t: Tensor, text: Tensor, condition: Condition | None) -> Tensor:
        """Computes the U-Net's output for `text` [N,L,D], in its own precision and parametrisation.

        Models that were trained on more of the condition (camera, image) override it. x_t [N,C,h,w] may hold several
        copies, one after the other, of the B images that the condition is about.
        """
        return self.unet(x_t, t, encoder_hidden_states=text).sample

    def predict(
        self,
        x_t: Float[Tensor, "N C h w"],
        t: Int[Tensor, "N"],
        text: Float[Tensor, "N L D"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "N C h w"]:
        """Predicts the noise in x_t, float32; x_t as in `output`. Callers who need no gradient use `no_grad`."""
        output = self.output(x_t.to(self.dtype), t, text.to(self.dtype), condition)
        # A model with a learned variance (DeepFloyd IF) has twice the channels; the first half is the mean.
        return to_eps(output[:, : x_t.shape[1]].float(), x_t.float(), t, self.schedule, self.prediction)

    def predict_each(
        self,
        x_t: Float[Tensor, "B C h w"],
        t: Int[Tensor, "B"],
        texts: list[Float[Tensor, "B L D"]],
        condition: Condition,
    ) -> tuple[Float[Tensor, "B C h w"], ...]:
        """Predicts the noise in x_t under each of the texts, in one call of the U-Net.

        Where a CPU has several threads to give, and no gradient is asked for, it is one call a text, side by side: a
        small U-Net gains more from that than from all threads at once.
        """
        n = len(texts)
        plain = not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")  # a thread has its own of both
        if self.device.type == "cpu" and plain and torch.get_num_threads() > 1:
            return tuple(side_by_side(lambda text: self.predict(x_t, t, text, condition), texts))
        return self.predict(x_t.repeat(n, 1, 1, 1), t.repeat(n), torch.cat(texts), condition).chunk(n)

    def condition(self, text: str, cameras: Cameras, **fields) -> Condition:
        """Returns what these cameras are to see of a text; `fields` are those of `Prompt.Config`, by keyword."""
        return Prompt(self, text=text, **fields).at(cameras)

    def embed(self, texts: list[str]) -> Float[Tensor, "N L D"]:
        """Embeds texts by this model's text encoder. Raises UserError where there is no encoder to load."""
        return self.embedded(self.config, texts, self.device)

    @classmethod
    def embedded(cls, config: pretrained.ModelConfig, texts: list[str], device: torch.device) -> Float[Tensor, "N L D"]:
        """Embeds texts as `embed` does, without the network, beside which a large text encoder may find no room."""
        return embedding.embed(config, texts, device)


def resize(images: Float[Tensor, "B C H W"], size: int) -> Float[Tensor, "B C {size} {size}"]:
    """Resizes images bilinearly, with antialiasing where they shrink."""
    if images.shape[-2:] == (size, size):
        return images
    shrinks = max(images.shape[-2:]) > size
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=shrinks)
