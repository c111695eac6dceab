"""Cubic grids, and FlexiCubes: the dual surface in them where a signed distance changes sign.

Shen et al. 2023, "Flexible Isosurface Extraction for Gradient-Based Mesh Optimization", section 4, on Nielson's dual
marching cubes. Gathers over precomputed tables, so one PyTorch implementation serves every device; kaolin can take
its place.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from threestudio_like.kernels import backend
from threestudio_like.kernels.cubes.patches import CORNERS, EDGES, FACES, patches, turn_around
from threestudio_like.kernels.pairs import distinct_pairs
from threestudio_like.utils.rows import rows

__all__ = ["CubeGrid", "FlexibleWeights", "cube_grid", "flexible_cubes"]

CLOSEST = 1e-3
"""How near to an end of its edge a crossing may lie, as a share of the edge."""


@dataclass(frozen=True)
class CubeGrid:
    """A grid of R^3 cubes over the scene cube: (R + 1)^3 vertices, the E edges' ends, and each cube's corners, edges
    and faces.

    Shared edges and faces have one number. `boundary` marks the vertices on the grid's outside.
    """

    vertices: Float[Tensor, "V 3"]
    cubes: Int[Tensor, "C 8"]
    edges: Int[Tensor, "E 2"]
    cube_edges: Int[Tensor, "C 12"]
    cube_faces: Int[Tensor, "C 6"]
    boundary: Bool[Tensor, "V"]


@dataclass(frozen=True)
class FlexibleWeights:
    """Positive weights of every cube.

    `corner` (alpha) moves the crossings, `edge` (beta) their mean, and `quad` (gamma) the split of the faces.
    """

    corner: Float[Tensor, "C 8"]
    edge: Float[Tensor, "C 12"]
    quad: Float[Tensor, "C"]


def cube_grid(resolution: int) -> CubeGrid:
    """Builds the grid of `resolution` cubes along each axis. Raises ValueError below three: the boundary is outside."""
    if resolution < 3:
        raise ValueError(f"a cubic grid needs at least 3 cubes along each axis, got {resolution}")

    def lattice(n):
        return torch.stack(torch.meshgrid(*[torch.arange(n)] * 3, indexing="ij"), dim=-1).reshape(-1, 3)

    points, first = lattice(resolution + 1), lattice(resolution)

    def number(place):
        return (place[..., 0] * (resolution + 1) + place[..., 1]) * (resolution + 1) + place[..., 2]

    cubes = number(first[:, None] + torch.tensor(CORNERS))
    pairs = cubes[:, torch.tensor(EDGES)].sort(-1).values
    edges, cube_edges = distinct_pairs(pairs, len(points))
    _, cube_faces = (
        cubes[:, torch.tensor(FACES)]
        .amin(-1)
        .mul(3)
        .add(torch.tensor([0, 0, 1, 1, 2, 2]))
        .view(-1)
        .unique(return_inverse=True)
    )
    outside = ((points == 0) | (points == resolution)).any(-1)
    return CubeGrid(points.float() * (2 / resolution) - 1, cubes, edges, cube_edges, cube_faces.view(-1, 6), outside)


def flexible_cubes(
    vertices: Float[Tensor, "V 3"],
    sdf: Float[Tensor, "V"],
    weights: FlexibleWeights,
    grid: CubeGrid,
    training: bool = True,
) -> tuple[Float[Tensor, "S 3"], Int[Tensor, "F 3"], Float[Tensor, ""]]:
    """Extracts the zero level of a signed distance (negative inside): vertices, outward faces, unevenness.

    `vertices` are the grid's, perhaps moved. Each patch of crossed edges in a cube is one vertex, the `edge`-weighted
    mean of its crossings; each crossed edge is one quad between the patches of the four cubes around it, split at a
    middle vertex (for optimising) or, without `training`, along its stronger diagonal (for export). Closed and oriented
    if the boundary's values are positive; empty where nothing changes sign. The third result is the mean absolute
    deviation of the distances between a vertex and the crossings that no weight has moved: the paper's regulariser
    (section 4.4), with the crossings of its code.
    """
    if (kernels := backend.adapter(__name__, vertices, sdf)) is not None:
        return kernels.flexible_cubes(vertices, sdf, weights, grid, training)
    inside = sdf < 0
    corner = inside[grid.cubes]
    mixed = (corner.any(-1) & ~corner.all(-1)).nonzero()[:, 0]
    patch = patch_of_edges(corner[mixed], grid.cube_faces[mixed])  # [M, 12]
    cube, edge = (patch >= 0).nonzero().unbind(-1)
    if len(cube) == 0:
        return vertices.new_zeros(0, 3), grid.cubes.new_zeros(0, 3), sdf.sum() * 0
    _, owner = (cube * 4 + patch[cube, edge]).unique(return_inverse=True)

    ends = torch.tensor(EDGES, device=sdf.device)[edge]
    which = grid.cubes[mixed][cube[:, None], ends]
    corner_weights = rows(weights.corner[mixed].flatten(), cube[:, None] * 8 + ends)
    values, (one, two) = rows(sdf, which), rows(vertices, which).unbind(1)

    def crossed(values):
        a, b = values.unbind(-1)
        return one + (a / (a - b)).clamp(CLOSEST, 1 - CLOSEST)[:, None] * (two - one)

    crossing = crossed(values * corner_weights)
    beta = weights.edge[mixed][cube, edge][:, None]
    count = int(owner.max()) + 1

    def total(values):
        return values.new_zeros(count, values.shape[-1]).index_add(0, owner, values)

    dual = total(beta * crossing) / total(beta)

    distance = (crossed(values) - rows(dual, owner)).norm(dim=-1, keepdim=True)
    mean = total(distance) / total(torch.ones_like(distance))
    deviation = (distance - rows(mean, owner)).abs().mean()
    # the four entries of each crossed edge, in their order around it
    order = (grid.cube_edges[mixed][cube, edge] * 4 + torch.tensor(turn_around(), device=sdf.device)[edge]).argsort()
    around = order.view(-1, 4)
    backward = sdf[grid.edges[grid.cube_edges[mixed][cube, edge]][around[:, 0], 0]] >= 0
    around = torch.where(backward[:, None], around.flip(-1), around)
    quads, gamma = owner[around], rows(weights.quad[mixed], cube[around])
    return (*split(dual, quads, gamma, training), deviation)


def patch_of_edges(corner: Bool[Tensor, "M 8"], faces: Int[Tensor, "M 6"]) -> Int[Tensor, "M 12"]:
    """Finds the patch, 0 to 3, that each edge of the mixed cubes belongs to; -1 where it is not crossed.

    A face whose corners alternate can be cut in two ways. Cut around its inside corners, both cuts may belong to one
    patch in both cubes of the face; two such vertices would share two edges. Cut the other way, the patch falls apart
    in both.
    """
    case = (corner.long() << torch.arange(8, device=corner.device)).sum(-1)
    around = corner[:, torch.tensor(FACES, device=corner.device)]
    alternates = (
        (around[..., 0] == around[..., 2]) & (around[..., 1] == around[..., 3]) & (around[..., 0] != around[..., 1])
    )
    other = torch.zeros_like(alternates)
    while True:
        bits = (other.long() << torch.arange(6, device=corner.device)).sum(-1)
        kinds, kind = distinct_pairs(torch.stack([case, bits], dim=-1), 1 << 6)
        found = [patches(*row) for row in kinds.tolist()]
        one_patch = torch.tensor([joined for _, joined in found], dtype=torch.bool, device=corner.device)
        suspect = alternates & one_patch[kind] if len(found) else alternates
        twice = (
            torch.zeros(int(faces.max()) + 1 if len(faces) else 0, device=corner.device).index_add(
                0, faces.flatten(), suspect.flatten().float()
            )[faces]
            > 1.5
        )
        if not (suspect & twice).any():
            table = torch.tensor([patch for patch, _ in found], dtype=torch.int64, device=corner.device).view(-1, 12)
            return table[kind]
        other = other ^ (suspect & twice)


def split(
    dual: Float[Tensor, "S 3"], quads: Int[Tensor, "Q 4"], gamma: Float[Tensor, "Q 4"], training: bool
) -> tuple[Float[Tensor, "P 3"], Int[Tensor, "F 3"]]:
    """Splits quads into triangles: four around a middle vertex that leans to the stronger diagonal, or two along it."""
    one, two = gamma[:, 0] * gamma[:, 2], gamma[:, 1] * gamma[:, 3]
    if not training:
        a, b, c, d = quads.unbind(-1)
        first = torch.stack([a, b, c, a, c, d], dim=-1)
        second = torch.stack([b, c, d, b, d, a], dim=-1)
        return dual, torch.where((one > two)[:, None], first, second).view(-1, 3)
    corners = rows(dual, quads)
    along = 0.5 * torch.stack([corners[:, 0] + corners[:, 2], corners[:, 1] + corners[:, 3]], dim=1)
    middle = (one[:, None] * along[:, 0] + two[:, None] * along[:, 1]) / (one + two)[:, None]
    centre = (len(dual) + torch.arange(len(quads), device=quads.device))[:, None].expand(-1, 4)
    faces = torch.stack([quads, quads.roll(-1, dims=-1), centre], dim=-1)
    return torch.cat([dual, middle]), faces.view(-1, 3)
