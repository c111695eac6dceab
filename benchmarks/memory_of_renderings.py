"""Counts the memory of renderings on real tensors at small sizes, for `benchmarks/memory.py`."""

import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.counter import line, peak_of
from priors.instantmesh import as_published
from priors.reconstructor import Reconstructor
from systems.memory.published import INSTANTMESH_LARGE, VIT_B16
from threestudio_like.cameras import orbit
from threestudio_like.kernels.cubes import cube_grid
from threestudio_like.kernels.hashgrid import HashGrid
from threestudio_like.kernels.march import march
from threestudio_like.renderers import regularizers
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.environment import EnvironmentLight
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.renderers.volume import VolumeRenderer
from threestudio_like.scenes import triplane
from threestudio_like.scenes.encoded import EncodedMLP
from threestudio_like.scenes.field import Field
from threestudio_like.scenes.tetmesh import TetMesh
from threestudio_like.scenes.triplane import Planes, shared_grid

SMALL = {"n_levels": 16, "n_features_per_level": 2, "log2_hashmap_size": 8, "base_resolution": 4, "max_resolution": 64}
"""A hash grid as wide as the recipes', with a small table, whose own bytes are reckoned and not counted."""


def count_rendering() -> dict:
    """Counts renderings on real tensors as they are on CUDA: bytes a sample, a pixel and a vertex."""
    from threestudio_like.kernels import encoded_mlp
    from threestudio_like.kernels.encoded_mlp import cuda, parts, reference
    from threestudio_like.renderers import volume

    weights = EncodedMLP(HashGrid(**SMALL), 64, 5).weights()

    def part(n):
        both = reference.encoded_mlp_with_gradient(torch.rand(n, 3), weights, HashGrid(**SMALL), 16)
        sum(one.sum() for one in both).backward()

    found: dict = {"part": line(lambda n: peak_of(lambda: part(n))[0], 10_000, 20_000)[1] * parts.AT_ONCE}
    on_cuda = mock.patch.object(encoded_mlp, "kernels", lambda *given: cuda)
    with on_cuda, mock.patch.object(parts, "AT_ONCE", 512), mock.patch.object(volume, "CHUNK", 512):
        for name, normals in (("volume", False), ("volume_with_normals", True)):
            found[name] = count_volume(normals)
        found["mesh"] = count_mesh()
    return found


def count_volume(normals: bool) -> dict:
    """Counts a volume's rendering: what a sample that is looked at, one that is drawn and a pixel take."""
    field = Field(encoding=SMALL, hidden=64, background={"type": "mlp"})
    generator = torch.Generator().manual_seed(0)

    def render(size, step):
        renderer = VolumeRenderer(render_step_size=step, faint_below=0.0, stop_at=0.0)
        return renderer(field, orbit(1, 20.0, 1.5, 45.0, size), Shading(), generator, normals)

    def learn(size, step):
        view = render(size, step)
        penalty = regularizers.orientation(view) if normals else 0.0
        (view.rgb.sum() + view.opacity.sum() + penalty).backward()

    def look(size, step):
        rays = orbit(1, 20.0, 1.5, 45.0, size).rays()
        renderer = VolumeRenderer(render_step_size=step)
        samples = march(rays.origins, rays.directions, renderer.occupancy, step, torch.zeros(size * size))
        with torch.no_grad():
            return renderer._visible(field, samples)

    return {
        "looked_at": each_sample(render, lambda *case: peak_of(lambda: look(*case))[0]),
        "kept": each_sample(render, lambda *case: peak_of(lambda: render(*case))[1]),
        "peak": each_sample(render, lambda *case: peak_of(lambda: learn(*case))[0]),
    }


def each_sample(render: Callable[[int, float], Render], measure: Callable[[int, float], int]) -> list[float]:
    """Fits samples times a, and pixels times b, to what is measured of renders of a size and a step."""
    few, more, larger = ((size, step) for size, step in ((32, 0.02), (32, 0.01), (64, 0.02)))
    samples = [len(render(*case).samples.ray) for case in (few, more, larger)]
    measured = [measure(*case) for case in (few, more, larger)]
    a = (measured[1] - measured[0]) / (samples[1] - samples[0])
    b = (measured[2] - measured[0] - a * (samples[2] - samples[0])) / (64**2 - 32**2)
    return [round(a), round(max(b, 0))]


def count_mesh() -> dict:
    """Counts a mesh's rendering in an environment: what a pixel on the object and a vertex of the grid take."""
    generator = torch.Generator().manual_seed(0)

    def scene(resolution):
        keys = {"shape_init": {"ellipsoid": [0.9, 0.9, 0.9]}, "material": "pbr", "sdf": "mlp"}
        return TetMesh(resolution=resolution, encoding=SMALL, hidden=32, **keys)

    def render(scene, size):
        cameras = orbit(1, 20.0, 1.3, 45.0, size)
        light = Shading("environment", EnvironmentLight().light(torch.zeros(1)), eye=cameras.position)
        return MeshRenderer(supersample=1)(scene, cameras, light, generator)

    def learn(scene, size):
        view = render(scene, size)
        penalties = regularizers.laplacian(view) + regularizers.normal_consistency(view)
        (view.rgb.sum() + view.normal.sum() + view.opacity.sum() + penalties).backward()

    def each(measure) -> list[float]:
        """Fits pixels times a, and vertices times b."""
        small, large = scene(16), scene(24)
        first, larger, finer = measure(small, 64), measure(small, 128), measure(large, 64)
        vertices = len(large.vertices) - len(small.vertices)
        return [round((larger - first) / (128**2 - 64**2)), round((finer - first) / vertices)]

    return {
        "kept": each(lambda *case: peak_of(lambda: render(*case))[1]),
        "peak": each(lambda *case: peak_of(lambda: learn(*case))[0]),
    }


def count_planes(design: str) -> dict:
    """Counts a ball drawn from planes by the decoder of a design.

    `grid` is bytes a cube that all objects share; `mesh` bytes a pixel, a square of the grid's side and a cube, of
    each object; `volume` bytes a sample and a pixel; `samples` those of a pixel, where the ball fills two fifths of the
    image.
    """
    generator = torch.Generator().manual_seed(0)
    small = INSTANTMESH_LARGE | {"vit": VIT_B16 | {"num_hidden_layers": 1}, "layers": 1, "design": design}

    def scene(grid, radius=0.6):
        model = Reconstructor(**small | {"grid": grid})
        said = model.decoder.distance
        model.decoder.distance = lambda x, features: x.norm(dim=-1) - radius + 1e-4 * said(x, features).tanh()
        planes = torch.randn(1, 3, 80, 64, 64).requires_grad_()
        return model.scene(as_published(planes) if design == "instantmesh" else Planes(planes))

    def learn(view):
        (view.rgb.sum() + view.opacity.sum()).backward()

    def mesh(grid, size):
        ball = scene(grid)
        shared_grid(grid, ball.device)
        cameras, renderer = orbit(1, 20.0, 2.0, 30.0, size), MeshRenderer(supersample=1)
        return peak_of(lambda: learn(renderer(ball, cameras, Shading(), generator)))[0]

    def march_through(scene, size, step):
        renderer = VolumeRenderer(render_step_size=step, faint_below=0.0, stop_at=0.0)
        return renderer(scene, orbit(1, 20.0, 2.0, 30.0, size), Shading(), generator)

    def marched(size, step):
        nothing = scene(16, radius=-1.0)  # where every sample counts
        return peak_of(lambda: learn(march_through(nothing, size, step)))[0]

    def samples():
        renderer, ball = VolumeRenderer(render_step_size=0.02, resolution=32), scene(16, radius=0.75)
        renderer.refresh(ball, 0, generator)
        return len(renderer(ball, orbit(1, 20.0, 4.0, 30.0, 64), Shading(), generator).samples.ray) / 64**2

    with mock.patch.object(triplane, "CHUNK", 512):
        sides = (16, 32, 48)
        powers = np.array([[1, side**2, side**3] for side in sides])
        _, square, cube = np.linalg.solve(powers, [mesh(side, 16) for side in sides])
        found = {
            "mesh": [round((mesh(16, 128) - mesh(16, 64)) / (128**2 - 64**2)), round(square), round(cube)],
            "volume": each_sample(lambda *case: march_through(scene(16, radius=-1.0), *case), marched),
            "samples": round(samples(), 1),
            "grid": round(peak_of(lambda: cube_grid(32))[1] / 32**3),
        }
    assert min(*found["mesh"], *found["volume"]) >= 0, found
    return found
