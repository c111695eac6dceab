"""Toys for multi-view priors: one image from anywhere, and Zero123++'s six views around it.

The image is a photograph, in a light that differs from one to the next. The six views are lit alike: most of the light
is ambient, the rest a sun straight above, so that a surface has one colour from wherever it is seen. All are on white.
"""

import functools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from threestudio_like.cameras import RIG_AZIMUTHS_DEG, RIG_ELEVATIONS_DEG, Cameras, zero123plus_rig
from threestudio_like.config.ranges import (
    Count,
    Distance,
    ElevationRange,
    FieldOfView,
    Pixels,
    Samples,
    Seed,
    ShareRange,
)
from threestudio_like.data.cache import cached_records, sources
from threestudio_like.data.toybox.assembly import Toy
from threestudio_like.data.toybox.catalogue import CATEGORIES, COLORS, random_toy
from threestudio_like.data.toybox.photographs import WORLD, CaptureConfig, pack
from threestudio_like.data.toybox.render import Light, render_toys
from threestudio_like.renderers.base import Render
from threestudio_like.utils.progress import progress

UNSEEN_CATEGORIES = ("boat", "teapot", "rabbit")
"""Categories left out by default: a vehicle, a household thing and an animal, with relatives among the others."""

VIEWS = len(RIG_AZIMUTHS_DEG)
AMBIENT = 0.65
CHUNK = 64  # objects traced at once

Split = Literal["train", "held_out", "unseen"]
"""Colour-toy pairs of the training; the pairs held out from it; and all pairs of the unseen categories."""
SPLITS: tuple[Split, ...] = ("train", "held_out", "unseen")
HELD_OUT = {"train": False, "held_out": True, "unseen": None}


@dataclass(frozen=True)
class MultiviewImages:
    """N objects on white, bytes that may lie on the disk: an `image [N, H, W, 3]` and its six `views [N, 6, H, W, 3]`,
    in the rig's order.

    `azimuth` and `elevation [N]` are the image's, in radians; `category` and `color [N]` number the catalogue's.
    """

    image: UInt8[np.ndarray, "N H W 3"]
    views: UInt8[np.ndarray, "N 6 H W 3"]
    azimuth: Float[np.ndarray, "N"]
    elevation: Float[np.ndarray, "N"]
    category: Int[np.ndarray, "N"]
    color: Int[np.ndarray, "N"]

    def __len__(self) -> int:
        return len(self.image)

    def images(self, indices: Int[np.ndarray, "B"]) -> Float[Tensor, "B 3 H W"]:
        """Returns images in 0..1."""
        return torch.from_numpy(self.image[indices]).permute(0, 3, 1, 2).float() / 255

    def six_views(self, indices: Int[np.ndarray, "B"]) -> Float[Tensor, "B 6 3 H W"]:
        """Returns the six views in 0..1."""
        return torch.from_numpy(self.views[indices]).permute(0, 1, 4, 2, 3).float() / 255


@dataclass(frozen=True)
class MultiviewSet:
    """The objects that a multi-view prior is trained and evaluated on, as a recipe names them.

    Lengths are in scene units. The image's distance and field of view are those of all Toybox photographs, and the six
    views' their means, so that objects keep their size.
    """

    count: Count = 12000
    """Objects of the training split."""
    held_out_count: Count = 96
    """Objects of each of the other splits."""
    seed: Seed = 7
    """Seed of objects, cameras and light."""
    size: Pixels = 64
    """Side length in pixels of image and views."""
    samples: Samples = 2
    """Square root of the rays a pixel."""
    elevation_deg: ElevationRange = (-10.0, 40.0)
    """Range of the image's elevation."""
    ambient: ShareRange = (0.45, 0.75)
    """Range of the ambient share of the image's light."""
    distance: Distance = 2.7
    """Distance of the six views' cameras from the middle."""
    fov_deg: FieldOfView = 41.0
    """Vertical field of view of the six views."""
    left_out: tuple[str, ...] = UNSEEN_CATEGORIES
    """Categories of the unseen split, which the others leave out in every colour; with none there is no such split."""
    more_of: tuple[str, ...] = ()
    """Categories that the training split has more of: one that is named k times is drawn 1 + k times as often."""

    def __post_init__(self):
        for name in ("left_out", "more_of"):
            unknown = sorted(set(getattr(self, name)) - set(CATEGORIES))
            if unknown:
                raise ValueError(f"{name}: there is no category {unknown[0]!r}; there are {', '.join(CATEGORIES)}")

    @property
    def held_out_splits(self) -> tuple[Split, ...]:
        """The splits that are not trained on."""
        return ("held_out", "unseen") if self.left_out else ("held_out",)

    @functools.cache
    def images(self, split: Split = "train") -> MultiviewImages:
        """Returns the images of a split, rendered once and cached."""
        count = self.count if split == "train" else self.held_out_count
        config = replace(self, count=count, held_out_count=count)
        key = repr((asdict(config), split, RIG_AZIMUTHS_DEG, RIG_ELEVATIONS_DEG))
        key += sources(Path(__file__).parent, *WORLD, "photographs.py", "multiview.py")
        return MultiviewImages(**cached_records("multiview", key, config.record, lambda: rendered(config, split)))

    @property
    def record(self) -> np.dtype:
        """The numpy type of what is kept of an object: the fields of `MultiviewImages`."""
        image, number = (self.size, self.size, 3), np.int16
        pictures = [("image", np.uint8, image), ("views", np.uint8, (VIEWS, *image))]
        angles = [(name, np.float32) for name in ("azimuth", "elevation")]
        return np.dtype([*pictures, *angles, ("category", number), ("color", number)])

    def toy(self, split: Split, index: int) -> Toy:
        """Builds the object of that number, for its true shape. Raises ValueError for a split that there is not."""
        if split != "train" and split not in self.held_out_splits:
            raise ValueError(f"left_out: no category is left out, so there are no {split} objects")
        rng = np.random.default_rng([self.seed, SPLITS.index(split), 1, index])
        named = self.more_of if split == "train" else ()
        most = 1 + max(map(named.count, named), default=0)
        while True:
            toy = random_toy(rng, HELD_OUT[split])
            if (toy.category in self.left_out) != (split == "unseen"):
                continue
            if most == 1 or rng.random() < (1 + named.count(toy.category)) / most:
                return toy

    def rig(self, azimuth: Float[Tensor, "B"]) -> Cameras:
        """Places the cameras of the six views of images taken from an azimuth (radians)."""
        return zero123plus_rig(azimuth, self.distance, self.fov_deg, self.size)

    def capture(self) -> CaptureConfig:
        """Returns the settings by which the images are taken: from all around alike."""
        return CaptureConfig(
            self.size,
            self.samples,
            elevation_deg=self.elevation_deg,
            overhead_share=0.0,
            front_share=0.0,
            ambient=self.ambient,
        )


def rendered(config: MultiviewSet, split: Split) -> Iterator[np.ndarray]:
    """Renders `config.count` objects of a split, and yields their records, a chunk at a time."""
    capture, categories, colors = config.capture(), list(CATEGORIES), list(COLORS)
    words = f"making images of {config.count} {split.replace('_', ' ')} toys"
    for start in progress(range(0, config.count, CHUNK), words):
        rng = np.random.default_rng([config.seed, SPLITS.index(split), 0, start])
        toys = [config.toy(split, i) for i in range(start, min(start + CHUNK, config.count))]
        packed, made = pack(toys), np.empty(len(toys), config.record)
        cameras = capture.cameras(len(toys), rng)
        rig = config.rig(cameras.azimuth)
        made["image"] = on_white(render_toys(packed, cameras, capture.light(cameras, rng), config.samples))
        views = on_white(render_toys(np.repeat(packed, VIEWS, axis=0), rig, even_light(len(rig)), config.samples))
        made["views"] = views.reshape(made["views"].shape)
        made["azimuth"], made["elevation"] = cameras.azimuth, cameras.elevation
        made["category"] = [categories.index(toy.category) for toy in toys]
        made["color"] = [colors.index(toy.color) for toy in toys]
        yield made


def even_light(count: int) -> Light:
    """Returns the six views' light."""
    up = torch.tensor([0.0, 0.0, 1.0]).expand(count, 3)
    return Light(up, torch.full((count,), AMBIENT), torch.zeros(count, dtype=torch.bool))


def on_white(view: Render) -> np.ndarray:
    """Puts a view on white: bytes `[B, H, W, 3]`."""
    return ((view.rgb + 1 - view.opacity) * 255).round().clamp(0, 255).byte().numpy()
