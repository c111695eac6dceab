"""Photographs of toys: their cameras and light, and the cached set that priors are trained on.

The capture has the web's bias: fronts are commoner than backs, and the view is often not named in the caption.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from threestudio_like.cameras import Cameras, orbit_cameras
from threestudio_like.config.ranges import (
    DistanceRange,
    ElevationRange,
    FieldOfViewRange,
    NonNegative,
    Pixels,
    Samples,
    Share,
    ShareRange,
)
from threestudio_like.data.cache import cached, sources
from threestudio_like.data.toybox.assembly import COLUMNS, Toy
from threestudio_like.data.toybox.catalogue import CATEGORIES, COLORS, caption, random_toy, view_words
from threestudio_like.data.toybox.render import Light, render_toys
from threestudio_like.utils.progress import progress

WORLD = ("assembly.py", "animals.py", "things.py", "catalogue.py", "render.py", "trace_cpu.py", "../../cameras.py")
"""The source files that the world's appearance depends on."""


@dataclass(frozen=True)
class CaptureConfig:
    """Cameras and light of photographs. Lengths are in scene units, shares in 0..1."""

    size: Pixels = 64
    """Side length in pixels."""
    samples: Samples = 2
    """Square root of the rays a pixel."""
    distance: DistanceRange = (2.6, 2.8)
    """Range of the distances from the middle."""
    fov_deg: FieldOfViewRange = (40.0, 42.0)
    """Range of the vertical fields of view."""
    elevation_deg: ElevationRange = (-8.0, 45.0)
    """Range of the elevations, but for those from overhead."""
    overhead_share: Share = 0.1
    """Share of photographs from overhead, at 61 to 85 degrees."""
    front_share: Share = 0.3
    """Share of photographs from around the front; the others' azimuths are uniform."""
    front_std_deg: NonNegative = 35.0
    """Standard deviation of the azimuths around the front."""
    ambient: ShareRange = (0.45, 0.75)
    """Range of the ambient share of the light."""
    textureless_share: Share = 0.0
    """Share of photographs of white toys (clay)."""

    def cameras(self, count: int, rng: np.random.Generator) -> Cameras:
        """Draws cameras with the web's bias: `front_share` of them crowd around azimuth 0, the rest are uniform."""
        uniform = rng.uniform(-math.pi, math.pi, count)
        front = rng.normal(0, math.radians(self.front_std_deg), count)
        azimuth = np.where(rng.random(count) < self.front_share, front, uniform)
        azimuth = (azimuth + math.pi) % (2 * math.pi) - math.pi
        elevation = rng.uniform(*self.elevation_deg, count)
        overhead = rng.random(count) < self.overhead_share
        elevation = np.radians(np.where(overhead, rng.uniform(61, 85, count), elevation))
        distance, fov = rng.uniform(*self.distance, count), np.radians(rng.uniform(*self.fov_deg, count))
        tensors = (torch.from_numpy(a.astype(np.float32)) for a in (azimuth, elevation, distance, fov))
        return orbit_cameras(*tensors, self.size, self.size)

    def light(self, cameras: Cameras, rng: np.random.Generator) -> Light:
        """Draws a sun behind and above each camera, and ambient light."""
        toward = cameras.position / cameras.distance[:, None] + torch.tensor([0.0, 0.0, 0.6])
        toward = toward + torch.from_numpy(rng.normal(0, 0.3, (len(cameras), 3)).astype(np.float32))
        ambient = torch.from_numpy(rng.uniform(*self.ambient, len(cameras)).astype(np.float32))
        textureless = torch.from_numpy(rng.random(len(cameras)) < self.textureless_share)
        return Light(torch.nn.functional.normalize(toward, dim=-1), ambient, textureless)


@dataclass(frozen=True)
class Photographs:
    """N photographs: `rgba [N, H, W, 4]` bytes, rgb premultiplied, with their labels."""

    rgba: np.ndarray
    category: np.ndarray
    color: np.ndarray
    feature: np.ndarray
    azimuth: np.ndarray
    elevation: np.ndarray
    textureless: np.ndarray

    def __len__(self) -> int:
        return len(self.rgba)

    def caption(
        self,
        index: int,
        with_color: bool = True,
        with_feature: bool = True,
        with_view: bool = True,
        exact_view: bool = False,
    ) -> str:
        """Writes a photograph's caption with the parts that are asked for; clay has no colour."""
        category = list(CATEGORIES)[self.category[index]]
        color = list(COLORS)[self.color[index]] if with_color and not self.textureless[index] else None
        feature = (
            CATEGORIES[category].features[self.feature[index]] if with_feature and self.feature[index] >= 0 else None
        )
        view = view_words(self.azimuth[index], self.elevation[index], exact_view) if with_view else None
        return caption(category, color, feature, view)

    def target(self, indices: np.ndarray) -> Tensor:
        """Returns labels `[B]`: the number of colour x category among all pairs (category-major); after them, of bare
        categories for clay."""
        pair = self.category[indices].astype(np.int64) * len(COLORS) + self.color[indices]
        bare = len(CATEGORIES) * len(COLORS) + self.category[indices].astype(np.int64)
        return torch.from_numpy(np.where(self.textureless[indices], bare, pair))

    def images(self, indices: np.ndarray, background: Tensor) -> Tensor:
        """Composes images `[B, 3, H, W]` in 0..1 over a background colour `[B, 3]`."""
        rgba = torch.from_numpy(self.rgba[indices]).permute(0, 3, 1, 2).float() / 255
        return rgba[:, :3] + (1 - rgba[:, 3:]) * background[:, :, None, None]


def random_backgrounds(count: int, generator: torch.Generator) -> Tensor:
    """Draws plain studio backgrounds `[B, 3]`: greys between 0.3 and 1 with a slight tint."""
    grey = torch.empty(count, 1).uniform_(0.3, 1.0, generator=generator)
    tint = torch.empty(count, 3).uniform_(-0.04, 0.04, generator=generator)
    return (grey + tint).clamp(0, 1)


def pack(toys: list[Toy]) -> np.ndarray:
    """Packs the toys' primitives in one array `[B, P, COLUMNS]`, padded with zero rows."""
    packed = np.zeros((len(toys), max(len(toy.primitives) for toy in toys), COLUMNS), dtype=np.float32)
    for row, toy in zip(packed, toys, strict=True):
        row[: len(toy.primitives)] = toy.primitives
    return packed


def render_dataset(capture: CaptureConfig, count: int, seed: int, held_out: bool | None = False) -> Photographs:
    """Renders `count` photographs of as many toys of the training pairs, the held-out ones (True), or all (None)."""
    names, colors = list(CATEGORIES), list(COLORS)
    rng = np.random.default_rng([seed, (False, True, None).index(held_out)])
    rgba = np.empty((count, capture.size, capture.size, 4), dtype=np.uint8)
    labels = np.empty((count, 3), dtype=np.int16)
    angles = np.empty((count, 2), dtype=np.float32)
    textureless = np.empty(count, dtype=bool)
    for start in progress(range(0, count, 512), f"making {count} photographs"):
        stop = min(start + 512, count)
        toys = [random_toy(rng, held_out) for _ in range(stop - start)]
        cameras = capture.cameras(len(toys), rng)
        light = capture.light(cameras, rng)
        view = render_toys(pack(toys), cameras, light, capture.samples)
        rgba[start:stop] = (torch.cat([view.rgb, view.opacity], -1) * 255).round().byte().numpy()
        for i, toy in enumerate(toys):
            feature = -1 if toy.feature is None else CATEGORIES[toy.category].features.index(toy.feature)
            labels[start + i] = names.index(toy.category), colors.index(toy.color), feature
        angles[start:stop] = torch.stack([cameras.azimuth, cameras.elevation], -1).numpy()
        textureless[start:stop] = light.textureless.numpy()
    return Photographs(rgba, *labels.T, *angles.T, textureless)


def cached_dataset(capture: CaptureConfig, count: int, seed: int, held_out: bool | None = False) -> Photographs:
    """Renders photographs as `render_dataset` does, or reads them from the cache."""
    key = repr((asdict(capture), count, seed, held_out)) + sources(Path(__file__).parent, *WORLD, "photographs.py")
    return Photographs(**cached("toybox", key, lambda: vars(render_dataset(capture, count, seed, held_out))))
