"""Coordinate maps of toys, by sphere tracing, each scaled to its own tight box."""

import functools
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from threestudio_like.cameras import Cameras, orbit_cameras
from threestudio_like.config.ranges import Count, DistanceRange, ElevationRange, FieldOfViewRange, Pixels, Samples, Seed
from threestudio_like.config.registry import configure
from threestudio_like.data.cache import cached, sources
from threestudio_like.data.ccm import CoordinateMaps
from threestudio_like.data.toybox.assembly import Toy
from threestudio_like.data.toybox.catalogue import caption, random_toy
from threestudio_like.data.toybox.photographs import WORLD, pack
from threestudio_like.data.toybox.render import Light, render_toys
from threestudio_like.renderers.ccm import SEEN, canonical_coordinates
from threestudio_like.utils.progress import progress

BOX_VIEWS = ((0, 0), (90, 0), (180, 0), (270, 0), (0, 89.9), (0, -89.9))  # azimuth and elevation in degrees
BOX_SIZE = 48


class ToyboxCoordinates:
    """Toys of the training pairs, each rendered from several cameras. Built as `cls(config)`."""

    @dataclass(frozen=True)
    class Config:
        """Sizes of the set, and its cameras. Lengths are in scene units."""

        toys: Count = 12000
        """Toys of the training pairs; a tenth as many are of held-out pairs."""
        views: Count = 4
        """Cameras of each toy."""
        seed: Seed = 5
        """Seed of toys and cameras."""
        size: Pixels = 64
        """Side length in pixels of the maps."""
        samples: Samples = 2
        """Square root of the rays a pixel."""
        distance: DistanceRange = (2.5, 2.9)
        """Range of the cameras' distances from the middle."""
        fov_deg: FieldOfViewRange = (38.0, 44.0)
        """Range of the vertical fields of view."""
        elevation_deg: ElevationRange = (-10.0, 80.0)
        """Range of the elevations."""

    def __init__(self, config: Config | None = None, **fields):
        self.config = configure(self, config, fields)

    @functools.cache
    def maps(self, held_out: bool | None = False) -> CoordinateMaps:
        """Returns the maps of the training pairs, of the held-out ones (True), or of all (None), rendered once and
        cached."""
        config = self.config
        here = Path(__file__).parent
        key = (
            repr((asdict(config), held_out))
            + sources(here, *WORLD, "ccm.py")
            + sources(here.parents[1], "renderers/ccm.py")
        )
        stored = cached("coordinates", key, lambda: render_dataset(config, held_out))
        captions = tuple(tuple(lines.split("\n")) for lines in stored.pop("captions").tolist())
        return CoordinateMaps(**stored, captions=captions)


def render_dataset(config: ToyboxCoordinates.Config, held_out: bool | None) -> dict[str, np.ndarray]:
    """Renders the arrays of a `CoordinateMaps`, a toy's captions as lines of one text."""
    rng = np.random.default_rng([config.seed, (False, True, None).index(held_out)])
    count = max(config.toys // 10, 1) if held_out else config.toys
    maps, c2w, captions = [], [], []
    for start in progress(range(0, count, 128), f"making coordinate maps of {count} toys"):
        toys = [random_toy(rng, held_out) for _ in range(min(128, count - start))]
        low, high = boxes(toys)
        cameras = random_cameras(config, len(toys) * config.views, rng)
        packed = np.repeat(pack(toys), config.views, axis=0)
        view = render_toys(packed, cameras, Light.flat(len(packed)), config.samples)
        bounds = (bound.repeat_interleave(config.views, dim=0) for bound in (low, high))
        maps.append((canonical_coordinates(view, *bounds) * 255).round().byte().numpy())
        c2w.append(cameras.c2w.reshape(-1, 16).numpy())
        captions += ["\n".join(captions_of(toy)) for toy in toys]
    return {
        "maps": np.concatenate(maps),
        "c2w": np.concatenate(c2w),
        "captions": np.array(captions),
        "object": np.arange(count).repeat(config.views),
    }


def captions_of(toy: Toy) -> list[str]:
    """Lists a toy's captions, some of them equal: half name the colour, two thirds the feature."""
    return [
        caption(toy.category, color, feature)
        for color in (toy.color, None)
        for feature in (toy.feature, toy.feature, None)
    ]


def random_cameras(config: ToyboxCoordinates.Config, count: int, rng: np.random.Generator) -> Cameras:
    """Draws cameras with azimuths from all around; elevations half uniform in angle, half in area."""
    low, high = (math.radians(angle) for angle in config.elevation_deg)
    by_area = np.arcsin(rng.uniform(math.sin(low), math.sin(high), count))
    elevation = np.where(rng.random(count) < 0.5, by_area, rng.uniform(low, high, count))
    numbers = (
        rng.uniform(-math.pi, math.pi, count),
        elevation,
        rng.uniform(*config.distance, count),
        np.radians(rng.uniform(*config.fov_deg, count)),
    )
    return orbit_cameras(*(torch.from_numpy(x.astype(np.float32)) for x in numbers), config.size, config.size)


def boxes(toys: list[Toy]) -> tuple[Float[Tensor, "B 3"], Float[Tensor, "B 3"]]:
    """Measures the toys' tight boxes, lowest and highest `xyz` in 0..1, from six sides."""
    angles = torch.tensor(BOX_VIEWS).deg2rad().repeat(len(toys), 1)
    full = torch.ones(len(angles))
    cameras = orbit_cameras(angles[:, 0], angles[:, 1], 2.7 * full, math.radians(41.0) * full, BOX_SIZE, BOX_SIZE)
    view = render_toys(np.repeat(pack(toys), len(BOX_VIEWS), axis=0), cameras, Light.flat(len(angles)))
    covered = (view.opacity > SEEN).unflatten(0, (len(toys), -1)).flatten(1, 3)
    xyz = view.xyz.unflatten(0, (len(toys), -1)).flatten(1, 3)
    return (torch.where(covered, xyz, torch.inf).amin(1), torch.where(covered, xyz, -torch.inf).amax(1))
