"""Gathers what metrics see of a finished run: its figures, its turntables, and what they are scored with."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from threestudio_like.evaluate.clip import ImageTextScorer
from threestudio_like.evaluate.reference import Reference

VIEWS = 8
"""Views on a turntable."""


@dataclass(frozen=True, eq=False)
class Context:
    """Holds what all results of a comparison are measured with."""

    captions: tuple[str, ...] = ()
    """The prompts and distractors, from which R-Precision chooses."""
    scorer: ImageTextScorer | None = None
    reference: Reference | None = None

    @cached_property
    def caption_embeddings(self) -> Float[Tensor, "N D"]:
        """The captions as unit vectors."""
        assert self.scorer is not None, "a metric that needs captions says so"
        return self.scorer.text(list(self.captions))

    @cached_property
    def reference_features(self) -> dict[str, Float[Tensor, "M E"]]:
        """The features that results are compared with, by prompt."""
        assert self.reference is not None and self.scorer is not None, "a metric that needs them says so"
        return self.reference.features(self.scorer)


@dataclass(frozen=True, eq=False)
class Result:
    """One finished run as metrics see it."""

    method: str
    prompt: str
    seed: int
    figures: dict[str, float]
    """The run's own finite figures."""
    generated: bool
    """Whether it was made in one pass, and not optimised."""
    count: int
    """Objects that the run left: its particles, or those it generated."""
    turntables: tuple[Float[Tensor, "2 8 3 S S"], ...] = ()
    """The views of each object, in 0..1: in colour, and the bare shape; empty where no metric needs them."""
    context: Context = Context()

    @cached_property
    def color(self) -> Float[Tensor, "P 8 3 S S"]:
        """The colour views of all objects."""
        return torch.stack([views[0] for views in self.turntables])

    @cached_property
    def shape(self) -> Float[Tensor, "P 8 3 S S"]:
        """The textureless views of all objects."""
        return torch.stack([views[1] for views in self.turntables])

    @cached_property
    def features(self) -> tuple[Float[Tensor, "8 E"], ...]:
        """The scorer's features of each object's colour views."""
        scorer = self.context.scorer
        assert scorer is not None, "a metric that needs a scorer says so"
        return tuple(scorer.features(views[0]).cpu() for views in self.turntables)

    @cached_property
    def color_scores(self) -> Float[Tensor, "P N"]:
        """The mean similarity of each object's colour views to each caption."""
        return self._caption_scores(0)

    @cached_property
    def shape_scores(self) -> Float[Tensor, "P N"]:
        """The mean similarity of each object's textureless views to each caption."""
        return self._caption_scores(1)

    @property
    def caption(self) -> int:
        """The prompt's place among the captions."""
        return self.context.captions.index(self.prompt)

    def _caption_scores(self, row: int) -> Float[Tensor, "P N"]:
        scorer, text = self.context.scorer, self.context.caption_embeddings
        assert scorer is not None, "a metric that needs a scorer says so"
        return torch.stack([(scorer.image(views[row]) @ text.T).mean(0) for views in self.turntables])


def read_turntable(folder: Path) -> UInt8[np.ndarray, "2 8 S S 3"]:
    """Reads the views in a result's folder: in colour, and the bare shape. Raises OSError or ValueError."""
    strip = iio.imread(folder / "turntable.png")[..., :3]
    size = strip.shape[0] // 2
    if size == 0 or strip.shape != (2 * size, VIEWS * size, 3):
        raise ValueError(f"{folder}: turntable.png is not a strip of {VIEWS} views above {VIEWS}")
    return strip.reshape(2, size, VIEWS, size, 3).swapaxes(1, 2)


def as_tensor(views: UInt8[np.ndarray, "2 8 S S 3"]) -> Float[Tensor, "2 8 3 S S"]:
    """Turns a turntable's bytes into images in 0..1."""
    return torch.from_numpy(views.copy()).permute(0, 1, 4, 2, 3) / 255
