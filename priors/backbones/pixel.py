"""Backbones without a VAE: the U-Net sees pixels, folded p x p into channels where it is so built (the Toybox's)."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from priors.backbones.base import Backbone, Condition, in_own_precision, resize
from priors.toybox.mean_predictor import MeanPredictor, refine
from threestudio_like import pretrained
from threestudio_like.errors import UserError
from threestudio_like.pretrained import ModelConfig
from threestudio_like.utils.precision import without_autocast


class PixelBackbone(Backbone):
    """DeepFloyd IF (p = 1), the Toybox models (p = 4) and others; beside the `image_channels` p^2 there may be a
    mean_predictor's mean.
    """

    Config = ModelConfig

    def __init__(self, device: torch.device | str = "cpu", config: ModelConfig | None = None, **fields):
        super().__init__(device, config, **fields)
        config = self.config
        self.mean_predictor = None
        if (self.folder / "mean_predictor").is_dir():
            self.mean_predictor = pretrained.load(
                MeanPredictor, self.folder, "mean_predictor", config.variant, self.dtype
            ).to(self.device)
        if self.mean_predictor is not None:
            self.channels -= self.mean_predictor.config.channels
        self.patch = math.isqrt(self.channels // self.image_channels)
        if self.image_channels * self.patch**2 != self.channels:
            raise UserError(
                f"{self.folder / 'unet'}: {self.channels} input channels are not {self.image_channels} p^2 of p x p "
                "pixels; a model with a VAE is `type: latent`, one of coordinate maps `type: geometric`"
            )
        self.image_size = self.unet.config.sample_size * self.patch

    @in_own_precision
    def output(self, x_t: Tensor, t: Tensor, text: Tensor, condition: Condition | None) -> Tensor:
        camera = self.camera_numbers(condition, len(x_t))
        camera = None if camera is None else camera.to(x_t.dtype)
        if self.mean_predictor is None:
            return self.unet(x_t, t, encoder_hidden_states=text, class_labels=camera).sample
        mean, spread = self.mean_predictor(text, camera), self.mean_predictor.spread
        return refine(self.unet, mean, x_t, t, text, self.schedule.alphas_cumprod[t].to(x_t.dtype), spread, camera)

    def camera_numbers(self, condition: Condition | None, count: int) -> Float[Tensor, "N K"] | None:
        """Returns what a model that knows the camera is given of it, for `count` images; None here."""
        return None

    @without_autocast()
    def encode(self, images: Float[Tensor, "B image H W"]) -> Float[Tensor, "B C h w"]:
        x = 2 * resize(images, self.image_size) - 1
        return (
            F.pixel_unshuffle(x, self.patch)
            if self.mean_predictor is None
            else self.mean_predictor.patchify(x, self.patch)
        )

    @without_autocast()
    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B image S S"]:
        x = (
            F.pixel_shuffle(latents, self.patch)
            if self.mean_predictor is None
            else self.mean_predictor.unpatchify(latents, self.patch)
        )
        return (0.5 * x + 0.5).clamp(0, 1)
