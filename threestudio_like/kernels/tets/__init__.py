"""Tetrahedral grids, and the surface in them where a signed distance changes sign (marching tetrahedra).

Doi & Koide 1991; made differentiable by Shen et al. 2021, "Deep Marching Tetrahedra" (DMTet), equation 3. All of it
gathers over precomputed edges, so one PyTorch implementation serves every device; kaolin can take its place.
"""

import functools
import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from threestudio_like.kernels import backend
from threestudio_like.kernels.pairs import distinct_pairs
from threestudio_like.utils.rows import rows
from threestudio_like.utils.tensors import map_tensors

__all__ = ["TetGrid", "body_centred_grid", "marching_tetrahedra", "sizes_of_body_centred_grid"]

TET_EDGES = tuple(itertools.combinations(range(4), 2))
CLOSEST = 1e-3
"""How near to an end of its edge a surface vertex may lie, as a share of the edge: no face has zero area."""


@dataclass(frozen=True)
class TetGrid:
    """V vertices in the scene cube, T positively oriented tetrahedra, their E edges, and the six edges of each.

    `boundary` marks the vertices on the grid's outside. Whole numbers are int32, half as large as torch's own choice.
    """

    vertices: Float[Tensor, "V 3"]
    tets: Int[Tensor, "T 4"]
    edges: Int[Tensor, "E 2"]
    tet_edges: Int[Tensor, "T 6"]
    boundary: Bool[Tensor, "V"]

    def to(self, device) -> "TetGrid":
        """Moves the tensors to a device."""
        return map_tensors(lambda tensor: tensor.to(device), self)


@functools.lru_cache(maxsize=2)
def body_centred_grid(resolution: int) -> TetGrid:
    """Builds the body-centred cubic lattice over [-1, 1]^3: congruent tetrahedra, `resolution` cells along each axis.

    Each tetrahedron joins the centres of two neighbouring cells with an edge of the face between them (Labelle &
    Shewchuk 2007, section 3). The last two grids are kept, for the stages of a run that share one: nobody may write
    into them. Raises ValueError below two cells along each axis.
    """
    if resolution < 2:
        raise ValueError(f"a tetrahedral grid needs at least 2 cells along each axis, got {resolution}")

    def lattice(n):
        return torch.stack(torch.meshgrid(*[torch.arange(n)] * 3, indexing="ij"), dim=-1).reshape(-1, 3)

    corners, centres = lattice(resolution + 1), lattice(resolution)

    def number(cell, n):
        return (cell[..., 0] * n + cell[..., 1]) * n + cell[..., 2]

    around = []
    for axis in range(3):
        unit = torch.eye(3, dtype=torch.long)
        u, v = unit[(axis + 1) % 3], unit[(axis + 2) % 3]
        near = centres[centres[:, axis] < resolution - 1]
        far = near + unit[axis]
        ring = [number(far + offset, resolution + 1) for offset in (0 * u, u, u + v, v)]
        one, two = (len(corners) + number(cell, resolution) for cell in (near, far))
        around += [torch.stack([one, two, ring[i], ring[(i + 1) % 4]], dim=-1) for i in range(4)]
    tets = torch.cat(around)
    vertices = torch.cat([corners.float(), centres + 0.5]) * (2 / resolution) - 1
    pairs = tets[:, TET_EDGES].sort(-1).values
    edges, tet_edges = distinct_pairs(pairs, len(vertices))
    outside = torch.cat(
        [((corners == 0) | (corners == resolution)).any(-1), ((centres == 0) | (centres == resolution - 1)).any(-1)]
    )
    return TetGrid(vertices, tets.int(), edges.int(), tet_edges.int(), outside)


def sizes_of_body_centred_grid(resolution: int) -> tuple[int, int, int]:
    """Counts the vertices, tetrahedra and edges of `body_centred_grid`, which is not built."""
    n = resolution
    along_cells = 3 * n * ((n + 1) ** 2 - 4)  # but those on the cube's own edges
    between_centres, to_corners = 3 * n**2 * (n - 1), 8 * n**3 - 8
    return (n + 1) ** 3 + n**3, 12 * n**2 * (n - 1), along_cells + between_centres + to_corners


def marching_tetrahedra(
    vertices: Float[Tensor, "V 3"], sdf: Float[Tensor, "V"], grid: TetGrid
) -> tuple[Float[Tensor, "S 3"], Int[Tensor, "F 3"]]:
    """Extracts the zero level of a signed distance (negative inside): vertices and outward, counter-clockwise faces.

    `vertices` are the grid's, perhaps moved. Closed and oriented if the boundary's values are positive; no vertices and
    no faces where nothing changes sign. Differentiable in `vertices` and `sdf`; the faces are integers.
    """
    if (kernels := backend.adapter(__name__, vertices, sdf)) is not None:
        return kernels.marching_tetrahedra(vertices, sdf, grid)
    inside = sdf < 0
    crossed = inside[grid.edges[:, 0]] != inside[grid.edges[:, 1]]
    a, b = grid.edges[crossed].unbind(-1)
    sdf_a, sdf_b, vertices_a = rows(sdf, a), rows(sdf, b), rows(vertices, a)
    share = (sdf_a / (sdf_a - sdf_b)).clamp(CLOSEST, 1 - CLOSEST)[:, None]
    surface = vertices_a + share * (rows(vertices, b) - vertices_a)

    corner = inside[grid.tets]
    mixed = corner.any(-1) & ~corner.all(-1)
    case = (corner[mixed].long() * torch.tensor([1, 2, 4, 8], device=sdf.device)).sum(-1)
    number = crossed.cumsum(0) - 1
    at_edge = number[grid.tet_edges[mixed]]
    table = triangles().to(sdf.device)[case]  # [M, 2, 3]
    valid = table[..., 0] >= 0
    faces = at_edge.gather(1, table.clamp(min=0).flatten(1)).view(-1, 2, 3)[valid]
    return surface, faces


@functools.cache
def triangles() -> Int[Tensor, "16 2 3"]:
    """Tabulates, for each set of corners inside (as bits), up to two outward faces between the tetrahedron's edges;
    else -1."""
    table = torch.full((16, 2, 3), -1)
    for case in range(1, 15):
        within = [i for i in range(4) if case >> i & 1]
        without = [i for i in range(4) if not case >> i & 1]

        def edge(i, j):
            return TET_EDGES.index((min(i, j), max(i, j)))

        if len(within) == 2:
            (a, b), (c, d) = within, without
            loop = [edge(a, c), edge(a, d), edge(b, d), edge(b, c)]
        else:
            loop = [edge(i, j) for i in within for j in without]
        corner = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])  # positively oriented
        middle = torch.stack([corner[list(TET_EDGES[e])].mean(0) for e in loop])
        normal = torch.linalg.cross(middle[1] - middle[0], middle[2] - middle[0])
        if normal @ (corner[without].mean(0) - corner[within].mean(0)) < 0:
            loop = loop[::-1]
        table[case, 0] = torch.tensor(loop[:3])
        if len(loop) == 4:
            table[case, 1] = torch.tensor([loop[0], loop[2], loop[3]])
    return table
