"""Zero123++ as it is published (arXiv 2310.15110): Stable Diffusion 2's parts, and a CLIP vision encoder for the image.

`v` is the latent of the VAE. The views are `0.75 (s v(0.5/0.8 (2 x - 1)) - 0.22)`, s the VAE's scaling factor; the
condition image is `v` of what `feature_extractor_vae` makes of it, unscaled. The image's CLIP embedding c is added to
every token of the empty text, `text_i = empty_i + ramp_i c`, with the folder's `ramping_coefficients` (section 2.3).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from priors import text_encoders
from priors.backbones.multiview import MultiviewBackbone, MultiviewConfig
from threestudio_like import pretrained
from threestudio_like.config.ranges import Pixels
from threestudio_like.errors import UserError
from threestudio_like.utils.precision import without_autocast

SHIFT, SCALE = 0.22, 0.75
CONTRAST = 0.5 / 0.8
FILTERS = {2: "bilinear", 3: "bicubic"}
"""By Pillow's numbers."""


class Zero123Plus(MultiviewBackbone):
    """Latents of 4 channels; version 1.2 was trained on views of 320 pixels and the noised condition."""

    parts = (
        "unet",
        "scheduler",
        "vae",
        *text_encoders.PARTS,
        "vision_encoder",
        "feature_extractor_clip",
        "feature_extractor_vae",
    )

    @dataclass(frozen=True)
    class Config(MultiviewConfig):
        """Configures a published Zero123++."""

        untrained = (*MultiviewConfig.untrained, "vae_slicing")

        view_size: Pixels = 320
        """Side length in pixels of each view; version 1.2 was trained on 320."""
        vae_slicing: bool = False
        """Whether images go through the VAE one at a time, which saves memory."""

    def __init__(self, device: torch.device | str = "cpu", config: Config | None = None, **fields):
        super().__init__(device, config, **fields)
        config = self.config

        def load(kind, part):
            return pretrained.load(kind, self.folder, part, config.variant, self.dtype).to(self.device)

        self.vae, self.vision = load(AutoencoderKL, "vae"), load(CLIPVisionModelWithProjection, "vision_encoder")
        self.vae.use_slicing = config.vae_slicing
        for part in (self.vae.encoder, self.vae.decoder):
            self.made_fast(part)
        self.factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.view_size = config.view_size
        if self.view_size < self.factor or self.view_size % self.factor:
            raise UserError(
                f"view_size: {self.view_size} is not a multiple of {self.factor}, the VAE's pixels a latent"
            )
        self.for_clip, self.for_vae = (
            Preprocessor.read(self.folder / part / "preprocessor_config.json")
            for part in ("feature_extractor_clip", "feature_extractor_vae")
        )
        self.condition_size = max(self.for_clip.size, self.for_vae.size)
        self.empty = self.embed([""])
        self.ramp = read_ramp(self.folder / "model_index.json", self.empty.shape[1]).to(self.device)

    @without_autocast()
    def tokens(self, images: Float[Tensor, "B 3 h w"]) -> tuple[Tensor, Tensor]:
        clip = self.vision(self.for_clip(images).to(self.dtype)).image_embeds.float()
        return self.empty + self.ramp[:, None] * clip[:, None], self.empty.expand(len(images), -1, -1)

    def encode_image(self, images: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 4 i i"]:
        return self.posterior_mean(self.for_vae(images))

    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 4 h w"]:
        z = self.posterior_mean(CONTRAST * (2 * self.to_size(images) - 1))
        return SCALE * (self.vae.config.scaling_factor * z - SHIFT)

    @without_autocast()
    def decode(self, latents: Float[Tensor, "B 4 h w"]) -> Float[Tensor, "B 3 H W"]:
        z = (latents / SCALE + SHIFT) / self.vae.config.scaling_factor
        return (0.5 * self.vae.decode(z.to(self.vae.dtype)).sample.float() / CONTRAST + 0.5).clamp(0, 1)

    @without_autocast()
    def posterior_mean(self, pixels: Tensor) -> Tensor:
        """Encodes pixels in -1..1 to the mean of the VAE's posterior, unscaled."""
        return self.vae.encode(pixels.to(self.vae.dtype)).latent_dist.mean.float()


@dataclass(frozen=True)
class Preprocessor:
    """A published image processor on tensors: the shorter side becomes `size`, the middle is cut out and normalised."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of each channel, or one of all."""
    filter: str

    @classmethod
    def read(cls, path: Path) -> "Preprocessor":
        """Raises UserError."""
        config = pretrained.read_json(path)
        try:
            size = config["crop_size"]
            size = size["height"] if isinstance(size, dict) else size
            mean, std = (
                tuple(map(float, one if isinstance(one, list) else [one]))
                for one in (config["image_mean"], config["image_std"])
            )
            return cls(int(size), mean, std, FILTERS[config.get("resample", 3)])
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{path} lacks crop_size, image_mean or image_std, or resamples in another way than "
                f"{' and '.join(FILTERS.values())}; fetch the model again"
            ) from None

    def __call__(self, images: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 size size"]:
        height, width = images.shape[-2:]
        shorter = min(height, width)
        height, width = height * self.size // shorter, width * self.size // shorter  # cut off, as theirs are
        resized = F.interpolate(images.float(), (height, width), mode=self.filter, antialias=True, align_corners=False)
        top, left = (height - self.size) // 2, (width - self.size) // 2
        middle = resized[..., top : top + self.size, left : left + self.size].clamp(0, 1)
        mean, std = (middle.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (middle - mean) / std


def read_ramp(path: Path, tokens: int) -> Float[Tensor, "L"]:
    """Reads the published weights of the image in each token of the text. Raises UserError."""
    ramp = pretrained.read_json(path).get("ramping_coefficients")
    if not isinstance(ramp, list) or len(ramp) != tokens or not all(isinstance(x, (int, float)) for x in ramp):
        raise UserError(f"{path}: `ramping_coefficients` are not {tokens} numbers, one a token; fetch the model again")
    return torch.tensor(ramp, dtype=torch.float32)
