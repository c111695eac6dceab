"""What a reconstructor learns from: the toys of a multi-view set, seen at random too, and points around their surfaces.

Every toy is turned until its one image is taken from azimuth 0, the frame in which a reconstructor works. Colours are
those in the six views' light, which depends on the surface alone: what is reconstructed looks like the views.
"""

import functools
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Int8, Int16, UInt8, UInt16
from torch import Tensor

from threestudio_like.cameras import Cameras, orbit_cameras
from threestudio_like.data.cache import cached, sources
from threestudio_like.data.toybox import render, trace_cpu
from threestudio_like.data.toybox.assembly import BOUND, CENTER, COLOR, GRAIN, ROTATION
from threestudio_like.data.toybox.multiview import AMBIENT, MultiviewSet, Split, even_light
from threestudio_like.data.toybox.photographs import WORLD, pack
from threestudio_like.data.toybox.render import render_toys
from threestudio_like.renderers.base import Render
from threestudio_like.scenes.mesh import Mesh
from threestudio_like.utils.progress import progress

TOGETHER = 64  # objects traced at once
LATTICE = 32767  # points are kept as 16-bit integers, and depths as tenths of a thousandth
DEPTH_UNIT = 1e-4
SCATTER, FAR_SCATTER = 0.03, 0.1
KINDS = 3


@dataclass(frozen=True)
class ReconstructionSet:
    """Beside the objects of `views`: `targets` random views of each, uniform in area, and `points` of each of three
    kinds, which lie on the surface; near it; and, half of them, somewhat farther, the others anywhere in the cube.

    Angles in degrees, sizes in pixels, `samples`^2 rays a pixel.
    """

    views: MultiviewSet = field(default_factory=MultiviewSet)
    targets: int = 4
    target_size: int = 32
    samples: int = 2
    elevation_deg: tuple[float, float] = (-30.0, 70.0)
    points: int = 1024

    @functools.cache
    def objects(self, split: Split = "train") -> "Objects":
        """Made or read at the first call."""
        count = self.views.count if split == "train" else self.views.held_out_count
        config = replace(self, views=replace(self.views, count=count, held_out_count=count))
        key = repr((asdict(config), split))
        key += sources(Path(__file__).parent, *WORLD, "multiview.py", "reconstruction.py")
        return Objects(self, split, **cached("reconstruction", key, lambda: render_dataset(self, split)))


@dataclass(frozen=True)
class Truth:
    """T target views of each of B objects, rgb on white, the rest weighted by opacity; `cameras` are B x T."""

    cameras: Cameras
    rgb: Float[Tensor, "B T H W 3"]
    opacity: Float[Tensor, "B T H W 1"]
    depth: Float[Tensor, "B T H W 1"]
    normal: Float[Tensor, "B T H W 3"]

    def only(self, views: Int[np.ndarray, "S"], device: torch.device) -> "Truth":
        """These of the T views, on a device."""
        count = self.rgb.shape[1]
        every = (np.arange(len(self.rgb))[:, None] * count + views).reshape(-1)
        images = (image[:, views].to(device) for image in (self.rgb, self.opacity, self.depth, self.normal))
        return Truth(replace(self.cameras[every], views=len(views)).to(device), *images)

    def cameras_of(self, i: int) -> Cameras:
        """Those of one object."""
        count = self.rgb.shape[1]
        return self.cameras[i * count : (i + 1) * count]


@dataclass(frozen=True)
class SurfacePoints:
    """K points of each of B objects with their signed distances; the first S, on the surface, have these colours."""

    x: Float[Tensor, "B K 3"]
    distance: Float[Tensor, "B K"]
    color: Float[Tensor, "B S 3"]

    def to(self, device) -> "SurfacePoints":
        return SurfacePoints(self.x.to(device), self.distance.to(device), self.color.to(device))


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
        """The one image and the six views of each."""
        return self.config.views.images(self.split)

    def truth(self, chosen: Int[np.ndarray, "B"]) -> Truth:
        rgba = torch.from_numpy(self.rgba[chosen]).float() / 255
        depth = torch.from_numpy(self.depth[chosen].astype(np.float32))[..., None] * DEPTH_UNIT
        cameras = target_cameras(self.config, torch.from_numpy(self.angles[chosen]).flatten(0, 1))
        normal = torch.from_numpy(self.normal[chosen]).float() / 127
        return Truth(cameras, rgba[..., :3] + 1 - rgba[..., 3:], rgba[..., 3:], depth, normal)

    def near(self, chosen: Int[np.ndarray, "B"], count: int, rng: np.random.Generator) -> SurfacePoints:
        """`count` points of each kind, drawn from those that are kept: the same places of all B objects."""
        each = self.config.points
        places = np.concatenate([kind * each + rng.permutation(each)[:count] for kind in range(KINDS)])
        return SurfacePoints(
            torch.from_numpy(self.points[chosen[:, None], places].astype(np.float32)) / LATTICE,
            torch.from_numpy(self.distances[chosen[:, None], places].astype(np.float32)),
            torch.from_numpy(self.colors[chosen[:, None], places[:count]]).float() / 255,
        )

    def mesh(self, index: int, resolution: int = 96) -> Mesh:
        """The true surface, without the light."""
        toy = self.config.views.toy(self.split, index)
        return render.mesh(replace(toy, primitives=rotated(pack([toy]), self.views.azimuth[[index]])[0]), resolution)


def target_cameras(config: ReconstructionSet, angles: Float[Tensor, "B 2"]) -> Cameras:
    """At these azimuths and elevations, as far away as the six views'."""
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


def render_dataset(config: ReconstructionSet, split: Split) -> dict[str, np.ndarray]:
    """The arrays of `Objects`, filled in place."""
    azimuth = config.views.images(split).azimuth
    n, views, size, kept_points = len(azimuth), config.targets, config.target_size, KINDS * config.points
    made = {
        "rgba": np.empty((n, views, size, size, 4), np.uint8),
        "depth": np.empty((n, views, size, size), np.uint16),
        "normal": np.empty((n, views, size, size, 3), np.int8),
        "angles": np.empty((n, views, 2), np.float32),
        "points": np.empty((n, kept_points, 3), np.int16),
        "distances": np.empty((n, kept_points), np.float16),
        "colors": np.empty((n, config.points, 3), np.uint8),
    }
    for start in progress(range(0, n, TOGETHER), f"making shapes of {n} {split.replace('_', ' ')} toys"):
        part = slice(start, min(start + TOGETHER, n))
        rng = np.random.default_rng([config.views.seed, 2, start])
        toys = pack([config.views.toy(split, i) for i in range(part.start, part.stop)])
        toys = rotated(toys, azimuth[part])
        angles, view = seen_at_random(config, toys, rng)

        def image(values):
            return values.numpy().reshape(-1, views, size, size, values.shape[-1])

        made["angles"][part] = angles.unflatten(0, (-1, views))
        made["rgba"][part] = image((torch.cat([view.rgb, view.opacity], dim=-1) * 255).round())
        made["depth"][part] = image((view.depth / DEPTH_UNIT).round())[..., 0]
        made["normal"][part] = image((view.normal * 127).round())
        for i, rows in enumerate(toys, start):
            made["points"][i], made["distances"][i], made["colors"][i] = surface_points(
                rows[rows[:, BOUND] > 0], config.points, rng
            )
    return made


def rotated(toys: Float[np.ndarray, "B P 24"], azimuth: Float[np.ndarray, "B"]) -> Float[np.ndarray, "B P 24"]:
    """Packed toys turned about z by minus the azimuth: what a camera saw from there, one at azimuth 0 sees now."""
    cos, sin, zero, one = np.cos(azimuth), np.sin(azimuth), np.zeros_like(azimuth), np.ones_like(azimuth)
    turn = np.stack([cos, sin, zero, -sin, cos, zero, zero, zero, one], axis=-1).reshape(-1, 3, 3)
    rows, rotation = toys.copy(), toys[..., ROTATION].reshape(*toys.shape[:2], 3, 3)
    rows[..., CENTER] = np.einsum("bij,bpj->bpi", turn, toys[..., CENTER])
    rows[..., ROTATION] = np.einsum("bpij,bkj->bpik", rotation, turn).reshape(*toys.shape[:2], 9)
    return rows


def seen_at_random(config: ReconstructionSet, toys: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Render]:
    """Azimuths and elevations `[B T, 2]`, and what is seen from there."""
    count = len(toys) * config.targets
    low, high = (math.sin(math.radians(angle)) for angle in config.elevation_deg)
    angles = np.stack([rng.uniform(-math.pi, math.pi, count), np.arcsin(rng.uniform(low, high, count))], axis=-1)
    angles = torch.from_numpy(angles.astype(np.float32))
    cameras = target_cameras(config, angles)
    return angles, render_toys(np.repeat(toys, config.targets, axis=0), cameras, even_light(count), config.samples)


def surface_points(rows: Float[np.ndarray, "P 24"], count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """`count` points of each kind as integers, their distances as half floats, the first kind's colours as bytes.

    Points near the surface become points on it by three steps of the signed distance along its gradient.
    """
    reach = (np.abs(rows[:, CENTER]) + rows[:, [BOUND]]).max(0).clip(max=1.0)
    x = (rng.uniform(-1, 1, (12 * count, 3)) * reach).astype(np.float32)
    near = np.argsort(np.abs(trace_cpu.distances(rows, x)[0]))[: 2 * count]
    x = x[rng.permutation(near)[:count]]
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
    _, slope = distance_and_slope(rows, x[:count])
    upward = slope[:, 2] / np.maximum(np.linalg.norm(slope, axis=-1), 1e-12)
    color = albedo(rows, nearest[:count], x[:count]) * (AMBIENT + (1 - AMBIENT) * upward.clip(0, 1))[:, None]
    return points, distance.astype(np.float16), (color.clip(0, 1) * 255).round().astype(np.uint8)


def distance_and_slope(rows: np.ndarray, x: Float[np.ndarray, "N 3"]) -> tuple[np.ndarray, np.ndarray]:
    """The signed distance and its gradient, by differences at the corners of a small tetrahedron."""
    step = 2e-3
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], dtype=np.float32)
    around = (x[:, None] + step * corners).reshape(-1, 3).astype(np.float32)
    values = trace_cpu.distances(rows, around)[0].reshape(-1, 4)
    return values.mean(1), values @ corners / (4 * step)


def albedo(rows: np.ndarray, nearest: Int[np.ndarray, "N"], x: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """The colours of these primitives, with the grain of wood."""
    row = rows[nearest]
    local = np.einsum("nij,nj->ni", row[:, ROTATION].reshape(-1, 3, 3), x - row[:, CENTER])
    wave = np.sin(trace_cpu.GRAIN_FREQUENCY * (local @ np.array([1.0, 0.35, 0.15])))
    return row[:, COLOR] * (1 - row[:, [GRAIN]] * (0.5 + 0.5 * wave[:, None]))
