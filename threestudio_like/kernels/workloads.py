"""Makes what each op is tried on: about as much as a step at paper scale gives it."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from threestudio_like.kernels.composite import accumulate, composite
from threestudio_like.kernels.cubes import FlexibleWeights, cube_grid, flexible_cubes
from threestudio_like.kernels.encoded_mlp import Weights, encoded_mlp, encoded_mlp_with_gradient
from threestudio_like.kernels.hashgrid import HashGrid
from threestudio_like.kernels.march import march
from threestudio_like.kernels.rasterize import visible_faces
from threestudio_like.kernels.tets import body_centred_grid, marching_tetrahedra
from threestudio_like.utils.tensors import map_tensors

POINTS, RAYS, STEP = 1 << 18, 1 << 14, 0.0135
ROWS = 19
"""Binary logarithm of the rows of a level of the hash grid."""
CELLS = 52
"""Cells along each axis of the grids of tetrahedra and of cubes."""
SIZE = 512
"""Side length in pixels of an image."""
SEED = 0


def workload(package: str, device: torch.device) -> Callable[[], object]:
    """Returns what the op `package` is tried on, on a device."""
    generator = torch.Generator(device).manual_seed(SEED)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    return WORKLOADS[package.rpartition(".")[2]](draw)


def encoding(draw: Callable[..., Tensor]) -> Callable[[], object]:
    """Evaluates a field's density and colour, with normals and without, and the gradients by the weights."""
    grid = HashGrid(log2_hashmap_size=ROWS)
    shapes = ((grid.total_entries, 2), (32, grid.width), (32,), (4, 32), (4,))
    tensors = [(draw(*shape) - 0.5).requires_grad_() for shape in shapes]
    x, weights = draw(POINTS, 3), Weights(*tensors)

    def run():
        outputs, gradient = encoded_mlp_with_gradient(x[: POINTS // 4], weights, grid)
        loss = encoded_mlp(x, weights, grid).sum() + outputs.sum() + gradient.sum()
        return torch.autograd.grad(loss, tensors)

    return run


def rays_at_a_ball(draw: Callable[..., Tensor]):
    """Draws rays, their jitter, and an occupancy grid with a ball in it."""
    origins = 2.5 * F.normalize(draw(RAYS, 3) - 0.5, dim=-1)
    directions = F.normalize(1.6 * draw(RAYS, 3) - 0.8 - origins, dim=-1)
    axis = (torch.arange(64, device=origins.device) + 0.5) / 32 - 1
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    return origins, directions, x**2 + y**2 + z**2 < 0.25, draw(RAYS)


def marching(draw: Callable[..., Tensor]) -> Callable[[], object]:
    """Samples the rays of four images of 64 pixels."""
    origins, directions, occupancy, jitter = rays_at_a_ball(draw)
    return lambda: march(origins, directions, occupancy, STEP, jitter)


def compositing(draw: Callable[..., Tensor]) -> Callable[[], object]:
    """Computes weights and sums along those rays, and their gradients."""
    counts = (60 * draw(RAYS)).long()
    offsets = F.pad(counts.cumsum(0), (1, 0))
    count = int(offsets[-1])
    density, values = (20 * draw(count)).requires_grad_(), draw(count, 8).requires_grad_()

    def run():
        sums = accumulate(composite(density, STEP, offsets), values, offsets)
        return torch.autograd.grad(sums.sum(), [density, values])

    return run


def rasterizing(draw: Callable[..., Tensor]) -> Callable[[], object]:
    """Draws four views of the surface of a ball."""
    vertices, faces = ball(draw)
    screen = (SIZE * (0.5 + 0.4 * vertices[:, :2])).expand(4, -1, -1)
    depth = (2.5 + vertices[:, 2]).expand(4, -1)
    return lambda: visible_faces(screen, depth, faces, SIZE, SIZE)


def tetrahedra(draw: Callable[..., Tensor]) -> Callable[[], object]:
    """Extracts the surface of a ball in 1.7 million tetrahedra, and its gradient by the signed distance."""
    grid = body_centred_grid(CELLS).to(draw(1).device)
    distance = (grid.vertices.norm(dim=-1) - 0.6).requires_grad_()

    def run():
        vertices, _ = marching_tetrahedra(grid.vertices, distance, grid)
        return torch.autograd.grad(vertices.sum(), distance)

    return run


def dual_surface(draw: Callable[..., Tensor]) -> Callable[[], object]:
    """Extracts the dual surface of a ball in 141,000 cubes, and its gradient by the signed distance."""
    device = draw(1).device
    grid = map_tensors(lambda tensor: tensor.to(device), cube_grid(CELLS))
    distance, count = (grid.vertices.norm(dim=-1) - 0.6).requires_grad_(), len(grid.cubes)
    weights = FlexibleWeights(0.5 + draw(count, 8), 0.5 + draw(count, 12), 0.5 + draw(count))

    def run():
        vertices, _, deviation = flexible_cubes(grid.vertices, distance, weights, grid)
        return torch.autograd.grad(vertices.sum() + deviation, distance)

    return run


def ball(draw: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    """Builds a closed surface of many triangles."""
    grid = body_centred_grid(CELLS).to(draw(1).device)
    return marching_tetrahedra(grid.vertices, grid.vertices.norm(dim=-1) - 0.8, grid)


WORKLOADS: dict[str, Callable[[Callable[..., Tensor]], Callable[[], object]]] = {
    "encoded_mlp": encoding,
    "march": marching,
    "composite": compositing,
    "rasterize": rasterizing,
    "tets": tetrahedra,
    "cubes": dual_surface,
}
"""By the ops' names."""
