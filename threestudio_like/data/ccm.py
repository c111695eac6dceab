"""Canonical coordinate maps (CCM) of many objects with their cameras: the training data of a geometric prior."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor


@runtime_checkable
class Rows(Protocol):
    """Maps in an array's order, wherever they lie."""

    def __getitem__(self, rows: Int[np.ndarray, "B"]) -> UInt8[np.ndarray, "B H W 4"]: ...


@dataclass(frozen=True)
class CoordinateMaps:
    """N maps `[N, H, W, 4]` (bytes: xyz times opacity, and opacity), cameras, and the captions of M objects.

    `maps` is an array, or reads the rows that it is asked for. `object` numbers the object that each map shows; every
    object has at least one caption.
    """

    maps: Rows
    c2w: Float[np.ndarray, "N 16"]
    object: Int[np.ndarray, "N"]
    captions: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.object)

    def images(self, indices: Int[np.ndarray, "B"]) -> Float[Tensor, "B 4 H W"]:
        """Reads maps in 0..1."""
        return torch.from_numpy(self.maps[indices]).permute(0, 3, 1, 2).float() / 255

    def cameras(self, indices: Int[np.ndarray, "B"]) -> Float[Tensor, "B 16"]:
        """Returns camera-to-world matrices, row by row."""
        return torch.from_numpy(self.c2w[indices])

    def caption(self, index: int, rng: np.random.Generator) -> str:
        """Draws one of the object's captions."""
        choices = self.captions[self.object[index]]
        return choices[rng.integers(len(choices))]
