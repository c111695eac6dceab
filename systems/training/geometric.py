"""Fine-tunes a text-to-image prior into an aligned geometric prior (SweetDreamer, arXiv 2310.02596, section 3.2).

    L = E || target(x, eps, t) - model(x_t, t, y, c) ||^2,   x a canonical coordinate map seen by the camera c

The paper's target is eps. A base model keeps its own: the Toybox's small U-Net predicts the clean map.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from priors.backbones.geometric import MAP_CHANNELS, camera_numbers, geometric_mean_predictor, geometric_unet
from priors.sampling import ddim
from priors.text_encoders import load_encoder
from systems.memory import training as memory_of
from systems.training.denoiser import Denoiser
from systems.training.diffusion import DiffusionBatch, DiffusionTraining, DiffusionTrainingConfig
from threestudio_like.cameras import orbit
from threestudio_like.config.ranges import Count, NonNegative, Share
from threestudio_like.config.registry import Component
from threestudio_like.data.ccm import CoordinateMaps
from threestudio_like.data.toybox.ccm import ToyboxCoordinates
from threestudio_like.data.toybox.split import check_split, sign
from threestudio_like.engine.memory import Memory
from threestudio_like.engine.monitor import write_png
from threestudio_like.engine.system import Context, SystemConfig
from threestudio_like.evaluate.ccm import compare
from threestudio_like.utils.seeding import generator as make_generator
from threestudio_like.utils.seeding import on_the_cpu


@dataclass
class GeometricTrainingConfig(DiffusionTrainingConfig):
    """Keys of the training of a geometric prior."""

    untrained = (*DiffusionTrainingConfig.untrained, "judged")

    backbone: Annotated[Component, "backbone"] = field(kw_only=True)
    """The text-to-image prior to start from; its text encoder stays as it is."""
    data: Annotated[Component, "coordinates"] = field(kw_only=True)
    """Coordinate maps with captions and cameras."""
    empty: Share = 0.1
    """Share of examples without a caption, for classifier-free guidance; they keep their camera."""
    prompts: tuple[str, ...] = ("a dog", "a chair", "a duck", "a car", "a mug", "an aeroplane")
    """Prompts of the sample grids, each seen from eight sides."""
    gradient_checkpointing: bool = False
    """The U-Net's activations are computed again for the backward pass, for batches that would not fit otherwise."""
    scale: NonNegative = 3.0
    """Scale of classifier-free guidance in samples."""
    judged: Count = 256
    """Held-out maps that the finished model's samples are compared with."""


class GeometricTraining(DiffusionTraining):
    """Trains, samples, measures and saves an aligned geometric prior, in diffusers' folder layout."""

    Config = GeometricTrainingConfig

    def __init__(self, context: Context, config: GeometricTrainingConfig | None = None, **fields):
        super().__init__(context, config, **fields)
        config = self.config
        base = config.backbone.build(context.device)
        check_split(base.folder)
        mean_predictor = getattr(base, "mean_predictor", None)
        self.patch = getattr(base, "patch", 1)  # the paper's map, 64 x 64, takes the place of a latent
        self.size = base.unet.config.sample_size * self.patch
        tokenizer, encoder = load_encoder(base.config, context.device)
        unet = geometric_unet(base.unet, mean_predictor is not None, self.patch)
        if config.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        model = Denoiser(
            encoder,
            None if mean_predictor is None else geometric_mean_predictor(mean_predictor, self.patch),
            unet,
            base.schedule.alphas_cumprod,
            base.prediction,
            self.patch,
        )
        self.use(model.to(context.device), tokenizer, base.scheduler)
        self.data = config.data.build()

    @classmethod
    def memory(cls, config: SystemConfig, context: Context) -> Memory | None:
        return memory_of.geometric_training(config, context.mixed)

    def draw(self, count: int, generator: torch.Generator) -> DiffusionBatch:
        """Draws maps of training objects, each with one of its captions."""
        _, rng = on_the_cpu(generator)
        maps, _ = (self.data.maps(held_out=part) for part in (False, True))  # what is missing is told before the work
        chosen = rng.integers(len(maps), size=count)
        images = 2 * self.resized(maps.images(chosen)).to(self.device) - 1
        captions = ["" if rng.random() < self.config.empty else maps.caption(i, rng) for i in chosen]
        return DiffusionBatch(images, self.tokens(captions), camera_numbers(maps.cameras(chosen)).to(self.device))

    def resized(self, images: Float[Tensor, "B 4 H W"]) -> Float[Tensor, "B 4 S S"]:
        """Resizes maps to the size that the model makes."""
        return images if images.shape[-1] == self.size else F.interpolate(images, (self.size, self.size), mode="area")

    @torch.no_grad()
    def sample(self, texts: list[str], c2w: Float[Tensor, "N 16"], seed: int = 0) -> Float[Tensor, "N 4 H W"]:
        """Samples maps in 0..1 by the averaged weights."""
        text, uncond = (self.averaged.embed(self.tokens(t)) for t in (texts, [""] * len(texts)))
        camera = camera_numbers(c2w).to(self.device).repeat(2, 1)

        def predict(x, t, both):
            return self.averaged(x, t, both, camera)

        side = self.size // self.patch
        x = ddim(
            predict,
            self.scheduler,
            text,
            uncond,
            (MAP_CHANNELS * self.patch**2, side, side),
            scale=self.config.scale,
            steps=self.config.sample_steps,
            generator=make_generator(self.device, "samples", seed),
            clip=self.averaged.clip,
        )
        return (self.averaged.unpatchify(x) / 2 + 0.5).clamp(0, 1)

    def preview(self) -> Tensor:
        """Renders one row a prompt, once around the object in eight views."""
        c2w = orbit(8, 15.0, 2.7, 41.0, self.size).c2w.reshape(-1, 16)
        rows = [
            torch.cat(list(self.sample([text] * 8, c2w, seed=i)[:, :3]), dim=-1)
            for i, text in enumerate(self.config.prompts)
        ]
        return torch.cat(rows, dim=-2).permute(1, 2, 0)

    def export(self, folder: Path) -> dict[str, float]:
        found = super().export(folder)
        if isinstance(self.data, ToyboxCoordinates):
            sign(folder / "model")
        return found

    def evaluate(self, folder: Path) -> dict[str, float]:
        write_png(folder / "samples.png", self.preview())
        maps = self.data.maps(held_out=True)
        chosen = np.random.default_rng(0).permutation(len(maps))[: self.config.judged]
        parts = np.array_split(chosen, max(len(chosen) // 32, 1))
        sampled = torch.cat([self.sampled_like(maps, part, seed) for seed, part in enumerate(parts)])
        return compare(sampled, self.resized(maps.images(chosen)))

    def sampled_like(self, maps: CoordinateMaps, chosen: np.ndarray, seed: int) -> Tensor:
        """Samples maps for the captions and cameras of these maps."""
        rng = np.random.default_rng(seed)
        return self.sample([maps.caption(i, rng) for i in chosen], maps.cameras(chosen), seed).cpu()
