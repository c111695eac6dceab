"""Backbones with a VAE: Stable Diffusion and its like."""

from dataclasses import dataclass
from typing import Literal

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor

from priors.backbones.base import Backbone, resize
from threestudio_like import pretrained
from threestudio_like.errors import UserError


class LatentBackbone(Backbone):
    """A latent is `scaling_factor * (z - shift_factor)`, z the mean of the VAE's posterior (Rombach et al. 2022)."""

    parts = ("unet", "scheduler", "vae")

    @dataclass(frozen=True)
    class Config(pretrained.ModelConfig):
        """Configures a latent model."""

        vae_precision: Literal["fp32", "fp16", "bf16"] | None = None
        """The VAE's precision; the U-Net's where null."""
        vae_slicing: bool = False
        """Whether images go through the VAE one at a time, which saves memory."""

    def __init__(self, device: torch.device | str = "cpu", config: Config | None = None, **fields):
        super().__init__(device, config, **fields)
        config = self.config
        dtype = pretrained.dtype_on(self.device, config.vae_precision or config.precision)
        self.vae = pretrained.load(AutoencoderKL, self.folder, "vae", config.variant, dtype).to(self.device)
        self.vae.use_slicing = config.vae_slicing
        if self.vae.config.latent_channels != self.unet.config.in_channels:
            raise UserError(
                f"{self.folder}: the VAE makes {self.vae.config.latent_channels} channels, the U-Net takes "
                f"{self.unet.config.in_channels}; take both from one release"
            )
        self.scale = self.vae.config.scaling_factor
        self.shift = self.vae.config.shift_factor or 0.0
        self.image_size = self.unet.config.sample_size * 2 ** (len(self.vae.config.block_out_channels) - 1)

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        # The posterior's mean: its spread is a hundredth of the latents', and a sample would need a generator.
        pixels = (2 * resize(images, self.image_size) - 1).to(self.vae.dtype)
        mean = self.vae.encode(pixels).latent_dist.mean.float()
        return self.scale * (mean - self.shift)

    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 S S"]:
        z = (latents / self.scale + self.shift).to(self.vae.dtype)
        return (0.5 * self.vae.decode(z).sample.float() + 0.5).clamp(0, 1)


class DirectBackbone(Backbone):
    """A latent model without its VAE: an image of as many channels is the latent (Fantasia3D, section 3.2)."""

    Config = pretrained.ModelConfig

    def __init__(self, device: torch.device | str = "cpu", config: pretrained.ModelConfig | None = None, **fields):
        super().__init__(device, config, **fields)
        config = self.config
        self.image_size, self.image_channels = self.unet.config.sample_size, self.unet.config.in_channels

    def encode(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        return 2 * resize(images, self.image_size) - 1

    def decode(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        return (0.5 * latents + 0.5).clamp(0, 1)
