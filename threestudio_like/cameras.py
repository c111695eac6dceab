"""Cameras and rays, their sampling, and every geometric convention of the project.

Right-handed world, z up, an object's front is +x. A camera looks along -z of its own frame, +y is up in the image
(OpenGL). Azimuth 0 sees the front, azimuth +90 degrees (camera at +y) sees the object's left side. Angles are radians
in code; configuration keys that end in `_deg` are degrees. The scene fills the cube [-1, 1]^3.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from threestudio_like.config.ranges import (
    AngleRange,
    Count,
    DistanceRange,
    ElevationRange,
    FieldOfViewRange,
    NonNegative,
    PixelsSchedule,
    Share,
)
from threestudio_like.config.registry import configure
from threestudio_like.config.schedule import Schedule
from threestudio_like.utils.tensors import map_tensors


@dataclass(frozen=True)
class Rays:
    """N rays; directions are unit vectors."""

    origins: Float[Tensor, "N 3"]
    directions: Float[Tensor, "N 3"]


@dataclass(frozen=True)
class Cameras:
    """B pinhole cameras that share an image size; B = objects x views, the views of one object side by side."""

    c2w: Float[Tensor, "B 4 4"]
    fov_y: Float[Tensor, "B"]
    azimuth: Float[Tensor, "B"]
    elevation: Float[Tensor, "B"]
    distance: Float[Tensor, "B"]
    height: int
    width: int
    views: int = 1

    def __len__(self) -> int:
        return len(self.c2w)

    @property
    def position(self) -> Float[Tensor, "B 3"]:
        """Centres of the cameras in the world."""
        return self.c2w[:, :3, 3]

    def to(self, device) -> "Cameras":
        """Moves the tensors to a device."""
        return map_tensors(lambda tensor: tensor.to(device), self)

    def resized(self, height: int, width: int) -> "Cameras":
        """Returns the same cameras with another image size."""
        return replace(self, height=height, width=width)

    def __getitem__(self, index: slice | list[int] | Tensor | np.ndarray) -> "Cameras":
        return map_tensors(lambda tensor: tensor[index], self)

    @staticmethod
    def join(parts: "list[Cameras]") -> "Cameras":
        """Concatenates the cameras of several objects, of one image size and number of views."""
        return map_tensors(lambda *tensors: torch.cat(tensors), *parts)

    def rays(self) -> Rays:
        """Casts one ray through every pixel centre, in row-major order: N = B x height x width."""
        device = self.c2w.device
        focal = 0.5 * self.height / torch.tan(0.5 * self.fov_y)
        x = torch.arange(self.width, device=device) + 0.5 - 0.5 * self.width
        y = 0.5 * self.height - (torch.arange(self.height, device=device) + 0.5)
        right, up, backward = self.c2w[:, None, None, :3, :3].unbind(-1)  # no matrix product, which TF32 would round
        world = x[:, None] * right + y[:, None, None] * up - focal[:, None, None, None] * backward
        directions = torch.nn.functional.normalize(world, dim=-1)
        origins = self.position[:, None, None].expand_as(directions)
        return Rays(origins.reshape(-1, 3), directions.reshape(-1, 3))

    def project(self, points: Float[Tensor, "B P 3"]) -> tuple[Float[Tensor, "B P 2"], Float[Tensor, "B P"]]:
        """Computes pixel coordinates (x right, y down; pixel centres at .5) and depth along the optical axis."""
        x, y, z = (points - self.position[:, None]).unbind(-1)
        axes = self.c2w[:, :3, :3].unbind(-1)  # no matrix product, which TF32 would round
        right, up, backward = (x * axis[:, 0, None] + y * axis[:, 1, None] + z * axis[:, 2, None] for axis in axes)
        depth = -backward
        focal = (0.5 * self.height / torch.tan(0.5 * self.fov_y))[:, None]
        x = 0.5 * self.width + focal * right / depth
        y = 0.5 * self.height - focal * up / depth
        return torch.stack([x, y], dim=-1), depth


def look_at(
    position: Float[Tensor, "B 3"], target: Float[Tensor, "B 3"], up: Float[Tensor, "B 3"]
) -> Float[Tensor, "B 4 4"]:
    """Computes the camera-to-world matrices of cameras at `position` that look at `target`."""
    backward = torch.nn.functional.normalize(position - target, dim=-1)
    right = torch.nn.functional.normalize(torch.linalg.cross(up, backward), dim=-1)
    true_up = torch.linalg.cross(backward, right)
    c2w = torch.eye(4, dtype=position.dtype, device=position.device).repeat(len(position), 1, 1)
    c2w[:, :3, :3] = torch.stack([right, true_up, backward], dim=-1)
    c2w[:, :3, 3] = position
    return c2w


def spherical(azimuth: Tensor, elevation: Tensor, distance: Tensor) -> Float[Tensor, "*B 3"]:
    """Computes the point at these spherical coordinates around the origin; angles in radians."""
    flat = distance * torch.cos(elevation)
    return torch.stack([flat * torch.cos(azimuth), flat * torch.sin(azimuth), distance * torch.sin(elevation)], dim=-1)


def orbit_cameras(
    azimuth: Tensor,
    elevation: Tensor,
    distance: Tensor,
    fov_y: Tensor,
    height: int,
    width: int,
    target: Tensor | None = None,
    up: Tensor | None = None,
    views: int = 1,
) -> Cameras:
    """Places cameras on a sphere around the origin; the four angles (radians) and lengths are `[B]` each."""
    position = spherical(azimuth, elevation, distance)
    target = torch.zeros_like(position) if target is None else target
    up = position.new_tensor([0.0, 0.0, 1.0]).expand_as(position) if up is None else up
    return Cameras(look_at(position, target, up), fov_y, azimuth, elevation, distance, height, width, views)


def orbit(views: int, elevation_deg: float, distance: float, fov_deg: float, size: int) -> Cameras:
    """Places `views` cameras evenly once around the object, starting at its front."""
    full = torch.full((views,), 1.0)
    azimuth = torch.arange(views) * (2 * math.pi / views)
    return orbit_cameras(
        azimuth,
        full * math.radians(elevation_deg),
        full * distance,
        full * math.radians(fov_deg),
        size,
        size,
        views=views,
    )


RIG_AZIMUTHS_DEG = (30.0, 90.0, 150.0, 210.0, 270.0, 330.0)
RIG_ELEVATIONS_DEG = (20.0, -10.0, 20.0, -10.0, 20.0, -10.0)


def zero123plus_rig(azimuth: Float[Tensor, "B"], distance: float, fov_deg: float, size: int) -> Cameras:
    """Places the six cameras of Zero123++ v1.2 that go with one image, for B objects (arXiv 2310.15110, section 2.1).

    `azimuth` is the image's own, in radians. The views lie 30, 90, ..., 330 degrees from it, at elevations that are 20
    and -10 degrees in turn, however high the image was taken from: B x 6 cameras, an object's side by side.
    """
    around, up = (azimuth.new_tensor(angles).deg2rad() for angles in (RIG_AZIMUTHS_DEG, RIG_ELEVATIONS_DEG))
    everywhere = (azimuth[:, None] + around).flatten()
    full = torch.ones_like(everywhere)
    return orbit_cameras(
        everywhere,
        up.repeat(len(azimuth)),
        distance * full,
        math.radians(fov_deg) * full,
        size,
        size,
        views=len(around),
    )


class RandomCameras:
    """DreamFusion's camera sampler (appendix A.2). Built as `RandomCameras(config)`; `sample` draws `views` cameras."""

    @dataclass
    class Config:
        size: PixelsSchedule = Schedule.constant(64)
        """Side length in pixels of the images."""
        views: Count = 4
        """Cameras of one step."""
        stratified: bool = True
        """Spaces the azimuths of one step evenly from a random start (jittered); otherwise they are independent."""
        azimuth_deg: AngleRange = (-180.0, 180.0)
        """Range of the azimuths; 0 sees the front."""
        elevation_deg: ElevationRange = (-10.0, 90.0)
        """Range of the elevations."""
        elevation_by_area: Share = 0.5
        """Share of the elevations that are uniform in area on the sphere; the rest is uniform in angle."""
        distance: DistanceRange = (1.0, 1.5)
        """Range of the distances from the origin, in scene units."""
        fov_deg: FieldOfViewRange = (40.6, 71.1)
        """Range of the vertical fields of view."""
        position_jitter: NonNegative = 0.0
        """Half width of the uniform noise added to a camera's position, in scene units."""
        target_jitter: NonNegative = 0.0
        """Standard deviation of the point that a camera looks at, around the origin."""
        up_jitter: NonNegative = 0.0
        """Standard deviation of the noise added to a camera's up vector."""
        shift_jitter: NonNegative = 0.0
        """Half width of the uniform shift of a camera across its image, unturned, in scene units (Fantasia3D)."""

    def __init__(self, config: Config | None = None, **fields):
        self.config = configure(self, config, fields)

    def sample(self, step: int, generator: torch.Generator) -> Cameras:
        """Draws the cameras of one step, on the generator's device."""
        config, count, device = self.config, self.config.views, generator.device

        def uniform(low, high, *shape):
            return low + (high - low) * torch.rand(*shape, generator=generator, device=device)

        low, high = (math.radians(angle) for angle in config.azimuth_deg)
        azimuth = uniform(low, high, count)
        if config.stratified:
            stratum = (torch.arange(count, device=device) + uniform(0, 1, count)) / count
            azimuth = low + ((stratum + uniform(0, 1, 1)) % 1) * (high - low)
        low, high = (math.radians(angle) for angle in config.elevation_deg)
        by_area = torch.asin(uniform(math.sin(low), math.sin(high), count))
        elevation = torch.where(uniform(0, 1, count) < config.elevation_by_area, by_area, uniform(low, high, count))
        distance = uniform(*config.distance, count)
        fov = torch.deg2rad(uniform(*config.fov_deg, count))

        def normal():
            return torch.randn(count, 3, generator=generator, device=device)

        position = spherical(azimuth, elevation, distance) + config.position_jitter * uniform(-1, 1, count, 3)
        up = position.new_tensor([0.0, 0.0, 1.0]) + config.up_jitter * normal()
        c2w = look_at(position, config.target_jitter * normal(), up)
        if config.shift_jitter > 0:
            across = config.shift_jitter * uniform(-1, 1, count, 1, 2)
            c2w[:, :3, 3] += (c2w[:, :3, :2] * across).sum(-1)
        size = int(config.size(step))
        return Cameras(c2w, fov, azimuth, elevation, distance, size, size, count)
