"""Trains the Toybox text-to-image prior from scratch, on photographs of the procedural world."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from priors.sampling import ddim
from priors.toybox import build
from systems.training.denoiser import Denoiser
from systems.training.diffusion import DiffusionBatch, DiffusionTraining, DiffusionTrainingConfig
from threestudio_like.config.ranges import Part, Share, Whole
from threestudio_like.data.toybox.catalogue import CATEGORIES, COLORS, HEIGHTS, VIEWS, caption, is_held_out
from threestudio_like.data.toybox.photographs import random_backgrounds
from threestudio_like.data.toybox.split import sign
from threestudio_like.data.toybox.training_set import TrainingSet
from threestudio_like.engine.monitor import write_png
from threestudio_like.engine.system import Context
from threestudio_like.evaluate.scorer import Scorer
from threestudio_like.evaluate.toybox import score_samples
from threestudio_like.utils.seeding import generator as make_generator
from threestudio_like.utils.seeding import on_the_cpu


@dataclass
class Captions:
    """Detail of the captions, as shares of them in 0..1."""

    color: Share = 0.9
    """Share that names the colour."""
    feature: Share = 0.7
    """Share that names the feature."""
    view: Share = 0.9
    """Share that names the view."""
    exact_share: Share = 0.6
    """Share of the named views that is named as one of eight sides and two heights."""
    side_share: Share = 0.15
    """Share of the other left and right views that is called only "side view", as on the web."""
    empty: Share = 0.1
    """Share of empty captions, for classifier-free guidance."""


@dataclass
class TextToImageConfig(DiffusionTrainingConfig):
    """Keys of the training of a text-to-image prior."""

    untrained = (*DiffusionTrainingConfig.untrained, "scorer")

    size: build.TextToImageSize = field(default_factory=build.TextToImageSize)
    """Sizes of the model."""
    data: TrainingSet = field(default_factory=TrainingSet)
    """Photographs that it is trained on."""
    captions: Captions = field(default_factory=Captions)
    """Detail of the captions."""
    denoising_end: Part = 1.0
    """Share of the timesteps in which samples take their steps (`priors.sampling.ddim`)."""
    draws: Whole = 0
    """Fresh noises that a sample is the mean of at last, against grain (`priors.sampling.ddim`)."""
    scorer: str | None = None
    """Folder of a scorer that measures the finished model's samples."""


class TextToImageTraining(DiffusionTraining):
    """Trains, samples and saves a small text-to-image model in diffusers' folder layout."""

    Config = TextToImageConfig

    def __init__(self, context: Context, config: TextToImageConfig | None = None, **fields):
        super().__init__(context, config, **fields)
        config = self.config
        if config.scorer is not None:
            Scorer.load(config.scorer)  # a missing scorer is told before the work, not after
        tokenizer, scheduler = build.word_tokenizer(vocabulary(), config.size.tokens), build.noise_scheduler()
        model = Denoiser(
            build.text_encoder(config.size, len(tokenizer)),
            build.mean_predictor(config.size),
            build.unet(config.size),
            scheduler.alphas_cumprod.clone(),
            "sample",
            config.size.patch,
        )
        self.use(model, tokenizer, scheduler)

    def draw(self, count: int, generator: torch.Generator) -> DiffusionBatch:
        """Draws photographs over random backgrounds, with captions."""
        on_cpu, rng = on_the_cpu(generator)
        photographs = self.config.data.photographs()
        chosen = rng.integers(len(photographs), size=count)
        images = photographs.images(chosen, random_backgrounds(count, on_cpu)).to(self.device)
        return DiffusionBatch(2 * images - 1, self.tokens([self.caption(i, rng) for i in chosen]))

    def caption(self, index: int, rng: np.random.Generator) -> str:
        """Writes a photograph's caption in random detail."""
        shares = self.config.captions
        named = (rng.random() < share for share in (shares.color, shares.feature, shares.view, shares.exact_share))
        text = self.config.data.photographs().caption(index, *named)
        if rng.random() < shares.side_share:
            text = re.sub("(left|right) side view$", "side view", text)
        return "" if rng.random() < shares.empty else text

    @torch.no_grad()
    def sample(self, texts: list[str], scale: float = 3.0, seed: int = 0) -> Tensor:
        """Samples images `[N, 3, H, W]` in 0..1 by the averaged weights."""
        size, random = self.config.size, make_generator(self.device, "samples", seed)
        text, uncond = (self.averaged.embed(self.tokens(t)) for t in (texts, [""] * len(texts)))
        shape = (3 * size.patch**2, size.image // size.patch, size.image // size.patch)
        x = ddim(
            self.averaged,
            self.scheduler,
            text,
            uncond,
            shape,
            scale=scale,
            steps=self.config.sample_steps,
            generator=random,
            clip=self.averaged.clip,
            denoising_end=self.config.denoising_end,
            draws=self.config.draws,
        )
        return (self.averaged.unpatchify(x) / 2 + 0.5).clamp(0, 1)

    def preview(self) -> Tensor:
        """Samples one row a category in a colour it was trained on, one column a view."""
        return self.grid(held_out=False, categories=list(CATEGORIES)[::2])

    def grid(self, held_out: bool, categories: list[str]) -> Tensor:
        """Samples these categories, each in a colour that is held out or not, from all views."""
        rows = []
        for i, category in enumerate(categories):
            colors = [color for color in COLORS if is_held_out(color, category) == held_out]
            texts = [caption(category, colors[i % len(colors)], view=view) for view in VIEWS]
            rows.append(torch.cat(list(self.sample(texts, seed=i)), dim=-1))
        half = (len(rows) + 1) // 2
        columns = [torch.cat(rows[:half], dim=-2), torch.cat(rows[half:], dim=-2)]
        if len(rows) % 2:
            columns[1] = F.pad(columns[1], (0, 0, 0, rows[0].shape[-2]), value=1.0)
        return torch.cat(columns, dim=-1).permute(1, 2, 0)

    def export(self, folder: Path) -> dict[str, float]:
        found = super().export(folder)
        sign(folder / "model")
        return found

    def evaluate(self, folder: Path) -> dict[str, float]:
        for name, held_out in (("seen", False), ("held-out", True)):
            write_png(folder / f"samples-{name}.png", self.grid(held_out, list(CATEGORIES)))
        if self.config.scorer is None:
            return {}
        return score_samples(
            lambda texts, seed: self.sample(texts, seed=seed), Scorer.load(self.config.scorer, self.device)
        )


def vocabulary() -> list[str]:
    """Lists every word of every caption of the world."""
    texts = [
        caption(category, color, feature, view)
        for category, kind in CATEGORIES.items()
        for color in (None, *COLORS)
        for feature in (None, *kind.features)
        for view in (*VIEWS, "side view", *HEIGHTS)
    ]
    return sorted(set(re.findall(r"\w+|[^\w\s]", " ".join(texts))) | {"a", "an"})
