"""Training data of a reconstructor: a multi-view set's toys, random views of them, and points around their surfaces.

Every toy is turned until its one image is taken from azimuth 0, the frame in which a reconstructor works. Colours are
the albedo, without the six views' light.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Int8, Int16, UInt8, UInt16
from torch import Tensor

from threestudio_like.cameras import Cameras, orbit_cameras
from threestudio_like.config.ranges import Count, ElevationRange, Pixels, Samples
from threestudio_like.data.cache import cached_records, sources
from threestudio_like.data.toybox import render, trace_cpu
from threestudio_like.data.toybox.assembly import BOUND, CENTER, COLOR, GRAIN, ROTATION, Toy
from threestudio_like.data.toybox.multiview import MultiviewSet, Split
from threestudio_like.data.toybox.photographs import WORLD, pack
from threestudio_like.data.toybox.render import Light, render_toys
from threestudio_like.renderers.base import Render
from threestudio_like.scenes.mesh import Mesh
from threestudio_like.utils.progress import progress
from threestudio_like.utils.tensors import map_tensors

CHUNK = 64  # objects traced at once
LATTICE = 32767  # points are kept as 16-bit integers, and depths as tenths of a thousandth
DEPTH_UNIT = 1e-4
SCATTER, FAR_SCATTER = 0.03, 0.1
KINDS = 3


@dataclass(frozen=True)
class ReconstructionSet:
    """Random views and points beside the objects of a multi-view set, as a recipe names them."""

    views: MultiviewSet = field(default_factory=MultiviewSet)
    """The objects, with their images and six views."""
    targets: Count = 4
    """Random views of each object, uniform in area."""
    target_size: Pixels = 32
    """Side length in pixels of the random views."""
    samples: Samples = 2
    """Square root of the rays a pixel of the random views."""
    elevation_deg: ElevationRange = (-30.0, 70.0)
    """Range of the random views' elevations."""
    points: Count = 1024
    """Points of each of three kinds: on the surface; near it; and, half of them, somewhat farther, the others anywhere
    in the cube."""

    @functools.cache
    def objects(self, split: Split = "train") -> "Objects":
        """Returns the objects of a split, rendered once and cached."""
        count = self.views.count if split == "train" else self.views.held_out_count
        config = replace(self, views=replace(self.views, count=count, held_out_count=count))
        key = repr((asdict(config), split))
        key += sources(Path(__file__).parent, *WORLD, "multiview.py", "reconstruction.py")
        return Objects(self, split, **cached_records("reconstruction", key, self.record, lambda: rendered(self, split)))

    @property
    def record(self) -> np.dtype:
        """The numpy type of what is kept of an object: the arrays of `Objects`."""
        image, count = (self.targets, self.target_size, self.target_size), KINDS * self.points
        views = [("rgba", np.uint8, (*image, 4)), ("depth", np.uint16, image), ("normal", np.int8, (*image, 3))]
        points = [("points", np.int16, (count, 3)), ("distances", np.float16, count)]
        return np.dtype(
            [*views, ("angles", np.float32, (self.targets, 2)), *points, ("colors", np.uint8, (self.points, 3))]
        )


@dataclass(frozen=True)
class Truth:
    """T target views of each of B objects: rgb on white, the rest weighted by opacity; `cameras` are B x T."""

    cameras: Cameras
    rgb: Float[Tensor, "B T H W 3"]
    opacity: Float[Tensor, "B T H W 1"]
    depth: Float[Tensor, "B T H W 1"]
    normal: Float[Tensor, "B T H W 3"]

    def select(self, views: Int[np.ndarray, "S"], device: torch.device) -> "Truth":
        """Selects some of the T views, on a device."""
        count = self.rgb.shape[1]
        every = (np.arange(len(self.rgb))[:, None] * count + views).reshape(-1)
        cameras = replace(self.cameras[every], views=len(views)).to(device)
        return replace(map_tensors(lambda image: image[:, views].to(device), self), cameras=cameras)

    def cameras_of(self, i: int) -> Cameras:
        """Returns the cameras of one object."""
        count = self.rgb.shape[1]
        return self.cameras[i * count : (i + 1) * count]


@dataclass(frozen=True)
class SurfacePoints:
    """K points of each of B objects with their signed distances; `color` is that of the first S, on the surface."""

    x: Float[Tensor, "B K 3"]
    distance: Float[Tensor, "B K"]
    color: Float[Tensor, "B S 3"]

    def to(self, device) -> "SurfacePoints":
        """Moves the tensors to a device."""
        return map_tensors(lambda tensor: tensor.to(device), self)


@dataclass(frozen=True)
class Objects:
    """N objects of a split, numbered as in its multi-view images."""

    config: ReconstructionSet
    split: Split
    rgba: UInt8[np.ndarray, "N T H W 4"]
    depth: UInt16[np.ndarray, "N T H W"]
    normal: Int8[np.ndarray, "N T H W 3"]
    angles: Float[np.ndarray, "N T 2"]
    points: Int16[np.ndarray, "N K 3"]
    distances: Float[np.ndarray, "N K"]
    colors: UInt8[np.ndarray, "N S 3"]

    def __len__(self) -> int:
        return len(self.rgba)

    @property
    def views(self):
        """The image and the six views of each object."""
        return self.config.views.images(self.split)

    def truth(self, chosen: Int[np.ndarray, "B"]) -> Truth:
        """Returns the target views of some objects."""
        rgba = torch.from_numpy(self.rgba[chosen]).float() / 255
        depth = torch.from_numpy(self.depth[chosen].astype(np.float32))[..., None] * DEPTH_UNIT
        cameras = target_cameras(self.config, torch.from_numpy(self.angles[chosen]).flatten(0, 1))
        normal = torch.from_numpy(self.normal[chosen]).float() / 127
        return Truth(cameras, rgba[..., :3] + 1 - rgba[..., 3:], rgba[..., 3:], depth, normal)

    def sample_points(self, chosen: Int[np.ndarray, "B"], count: int, rng: np.random.Generator) -> SurfacePoints:
        """Draws `count` of the stored points of each kind, at the same positions of all B objects."""
        each = self.config.points
        index = np.concatenate([kind * each + rng.permutation(each)[:count] for kind in range(KINDS)])
        return SurfacePoints(
            torch.from_numpy(self.points[chosen[:, None], index].astype(np.float32)) / LATTICE,
            torch.from_numpy(self.distances[chosen[:, None], index].astype(np.float32)),
            torch.from_numpy(self.colors[chosen[:, None], index[:count]]).float() / 255,
        )

    def toy(self, index: int) -> Toy:
        """Builds the object, turned as it is reconstructed."""
        toy = self.config.views.toy(self.split, index)
        return replace(toy, primitives=rotated(pack([toy]), self.views.azimuth[[index]])[0])

    def mesh(self, index: int, resolution: int = 96) -> Mesh:
        """Extracts the true surface, with its colours."""
        return render.mesh(self.toy(index), resolution)

    def parts(self, index: int) -> tuple[Float[np.ndarray, "K 3"], Int[np.ndarray, "K"], Float[np.ndarray, "K 3"]]:
        """Returns points on the surface, the numbers of the parts that they are on, and their colours in 0..1."""
        count = self.config.points
        x = self.points[index, :count].astype(np.float32) / LATTICE
        return x, trace_cpu.distances(self.toy(index).primitives, x)[1], self.colors[index] / 255


def target_cameras(config: ReconstructionSet, angles: Float[Tensor, "B 2"]) -> Cameras:
    """Places cameras at azimuths and elevations (radians), as far away as the six views'."""
    full, fov = torch.ones(len(angles)), math.radians(config.views.fov_deg)
    return orbit_cameras(
        angles[:, 0],
        angles[:, 1],
        config.views.distance * full,
        fov * full,
        config.target_size,
        config.target_size,
        views=config.targets,
    )


def rendered(config: ReconstructionSet, split: Split) -> Iterator[np.ndarray]:
    """Renders the objects of a split, and yields their records, a chunk at a time."""
    azimuth = config.views.images(split).azimuth
    n = len(azimuth)
    for start in progress(range(0, n, CHUNK), f"making shapes of {n} {split.replace('_', ' ')} toys"):
        numbers = range(start, min(start + CHUNK, n))
        rng = np.random.default_rng([config.views.seed, 2, start])
        toys = rotated(pack([config.views.toy(split, i) for i in numbers]), azimuth[numbers])
        angles, view = random_views(config, toys, rng)
        made = np.empty(len(toys), config.record)

        def fill(name, values, made=made):
            made[name] = values.numpy().reshape(made[name].shape)

        fill("angles", angles)
        fill("rgba", (torch.cat([view.rgb, view.opacity], dim=-1) * 255).round())
        fill("depth", (view.depth / DEPTH_UNIT).round())
        fill("normal", (view.normal * 127).round())
        for one, rows in zip(made, toys, strict=True):
            one["points"], one["distances"], one["colors"] = surface_points(
                rows[rows[:, BOUND] > 0], config.points, rng
            )
        yield made


def rotated(toys: Float[np.ndarray, "B P 24"], azimuth: Float[np.ndarray, "B"]) -> Float[np.ndarray, "B P 24"]:
    """Rotates packed toys about z by minus the azimuth: what a camera saw from there, one at azimuth 0 sees then."""
    cos, sin, zero, one = np.cos(azimuth), np.sin(azimuth), np.zeros_like(azimuth), np.ones_like(azimuth)
    turn = np.stack([cos, sin, zero, -sin, cos, zero, zero, zero, one], axis=-1).reshape(-1, 3, 3)
    rows, rotation = toys.copy(), toys[..., ROTATION].reshape(*toys.shape[:2], 3, 3)
    rows[..., CENTER] = np.einsum("bij,bpj->bpi", turn, toys[..., CENTER])
    rows[..., ROTATION] = np.einsum("bpij,bkj->bpik", rotation, turn).reshape(*toys.shape[:2], 9)
    return rows


def random_views(config: ReconstructionSet, toys: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Render]:
    """Draws azimuths and elevations `[B T, 2]`, and renders the toys from there."""
    count = len(toys) * config.targets
    low, high = (math.sin(math.radians(angle)) for angle in config.elevation_deg)
    angles = np.stack([rng.uniform(-math.pi, math.pi, count), np.arcsin(rng.uniform(low, high, count))], axis=-1)
    angles = torch.from_numpy(angles.astype(np.float32))
    cameras = target_cameras(config, angles)
    return angles, render_toys(np.repeat(toys, config.targets, axis=0), cameras, Light.flat(count), config.samples)


def surface_points(rows: Float[np.ndarray, "P 24"], count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Draws `count` points of each kind as integers, with distances as half floats and the first kind's colours as
    bytes.

    Points near the surface become points on it by three steps of the signed distance along its gradient.
    """
    reach = (np.abs(rows[:, CENTER]) + rows[:, [BOUND]]).max(0).clip(max=1.0)
    x = (rng.uniform(-1, 1, (12 * count, 3)) * reach).astype(np.float32)
    distance, nearest = trace_cpu.distances(rows, x)
    near = np.argsort(np.abs(distance))[: 2 * count]
    x = x[near[by_part(nearest[near], count, rng)]]
    for _ in range(3):
        value, slope = distance_and_slope(rows, x)
        x = x - value[:, None] * slope / np.maximum((slope**2).sum(-1, keepdims=True), 0.25)
    half = count // 2
    x = np.concatenate(
        [
            x,
            x + rng.normal(0, SCATTER, x.shape),
            x[:half] + rng.normal(0, FAR_SCATTER, (half, 3)),
            rng.uniform(-1, 1, (count - half, 3)),
        ]
    )
    points = (x.clip(-1, 1) * LATTICE).round().astype(np.int16)
    x = points.astype(np.float32) / LATTICE
    distance, nearest = trace_cpu.distances(rows, x)
    color = albedo(rows, nearest[:count], x[:count])
    return points, distance.astype(np.float16), (color.clip(0, 1) * 255).round().astype(np.uint8)


def by_part(part: Int[np.ndarray, "N"], count: int, rng: np.random.Generator) -> Int[np.ndarray, "{count}"]:
    """Chooses `count` of N points, those of small parts more often: by the root of one over their part's number."""
    _, which, numbers = np.unique(part, return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(numbers[which])
    return rng.choice(len(part), count, replace=False, p=weight / weight.sum())


def distance_and_slope(rows: np.ndarray, x: Float[np.ndarray, "N 3"]) -> tuple[np.ndarray, np.ndarray]:
    """Computes the signed distance and its gradient, by differences at the corners of a small tetrahedron."""
    step = 2e-3
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], dtype=np.float32)
    around = (x[:, None] + step * corners).reshape(-1, 3).astype(np.float32)
    values = trace_cpu.distances(rows, around)[0].reshape(-1, 4)
    return values.mean(1), values @ corners / (4 * step)


def albedo(rows: np.ndarray, nearest: Int[np.ndarray, "N"], x: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """Returns the colours of these primitives, with the grain of wood."""
    row = rows[nearest]
    local = np.einsum("nij,nj->ni", row[:, ROTATION].reshape(-1, 3, 3), x - row[:, CENTER])
    wave = np.sin(trace_cpu.GRAIN_FREQUENCY * (local @ np.array([1.0, 0.35, 0.15])))
    return row[:, COLOR] * (1 - row[:, [GRAIN]] * (0.5 + 0.5 * wave[:, None]))
