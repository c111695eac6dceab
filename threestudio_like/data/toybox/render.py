"""Exact images and meshes of toys, by sphere tracing on the CPU (numba) or on any other torch device."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from skimage.measure import marching_cubes
from torch import Tensor

from threestudio_like.cameras import Cameras
from threestudio_like.data.toybox import trace_cpu, trace_torch
from threestudio_like.data.toybox.assembly import COLOR, Toy
from threestudio_like.renderers.base import Render
from threestudio_like.scenes.mesh import Mesh


@dataclass(frozen=True)
class Light:
    """Lambertian light of B images: unit direction towards the sun, ambient share in 0..1, and whether the albedo is
    white."""

    direction: Float[Tensor, "B 3"]
    ambient: Float[Tensor, "B"]
    textureless: Tensor

    @staticmethod
    def flat(count: int) -> "Light":
        """Returns light without shading: the images show the albedo."""
        up = torch.tensor([0.0, 0.0, 1.0]).expand(count, 3)
        return Light(up, torch.ones(count), torch.zeros(count, dtype=torch.bool))


def render_toys(toys: np.ndarray, cameras: Cameras, light: Light, samples: int = 1) -> Render:
    """Renders B packed toys `[B, P, COLUMNS]` by B cameras on the cameras' device, `samples`^2 rays a pixel.

    All channels are weighted by the opacity, as in volume renderings; the rgb lies over black.
    """
    device = cameras.c2w.device
    if device.type == "cpu":
        image = torch.from_numpy(
            trace_cpu.trace(
                toys,
                cameras.c2w.numpy(),
                cameras.fov_y.numpy(),
                light.direction.numpy(),
                light.ambient.numpy(),
                light.textureless.numpy(),
                cameras.height,
                cameras.width,
                samples,
            )
        )
    else:
        image = trace_torch.trace(
            torch.from_numpy(toys).to(device),
            cameras,
            light.direction.to(device),
            light.ambient.to(device),
            light.textureless.to(device),
            samples,
        )
    opacity = image[..., 3:4]  # the tracer's other channels are means over the rays that hit
    return Render(
        rgb=image[..., :3],
        opacity=opacity,
        depth=image[..., 4:5] * opacity,
        normal=F.normalize(image[..., 5:8], dim=-1) * opacity,
        xyz=(0.5 * image[..., 8:11] + 0.5) * opacity,
    )


def mesh(toy: Toy, resolution: int = 128) -> Mesh:
    """Extracts the toy's surface by marching cubes, coloured by the primitive nearest to each vertex."""
    axis = np.linspace(-1, 1, resolution, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    distance, _ = trace_cpu.distances(toy.primitives, grid)
    vertices, faces, _, _ = marching_cubes(distance.reshape((resolution,) * 3), 0.0, gradient_direction="descent")
    vertices = (vertices / (resolution - 1) * 2 - 1).astype(np.float32)
    _, nearest = trace_cpu.distances(toy.primitives, vertices)
    return Mesh(vertices, faces, toy.primitives[nearest, COLOR])
