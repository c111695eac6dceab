"""Stands in for kaolin 0.18's `kaolin.ops.conversions`, as documented in its docstrings.

https://github.com/NVIDIAGameWorks/kaolin/blob/d52da9f86d460e8abcd99037e21ff0bec57997ed/kaolin/ops/conversions/tetmesh.py
and flexicubes/flexicubes.py. FlexiCubes is this project's reference behind their conventions.
"""

import itertools

import torch

from threestudio_like.kernels import backend
from threestudio_like.kernels.cubes import FlexibleWeights, cube_grid, flexible_cubes
from threestudio_like.kernels.cubes.patches import CORNERS, EDGES

CUBE_EDGES = (0, 1, 1, 5, 4, 5, 0, 4, 2, 3, 3, 7, 6, 7, 2, 6, 2, 0, 3, 1, 7, 5, 6, 4)
"""Ends of the edges 0 to 11 as corners, of which number k is at (k & 1, k >> 1 & 1, k >> 2)."""


def marching_tetrahedra(vertices, tets, sdf, return_tet_idx=False):
    """Lists of vertices and of faces by batch; a vertex is occupied where its distance is positive, and faces look to
    there. Zero is not occupied."""
    assert vertices.ndim == 3 and vertices.shape[2] == 3 and sdf.shape == vertices.shape[:2]
    assert tets.ndim == 2 and tets.shape[1] == 4 and tets.dtype == torch.int64 and not return_tet_idx
    return list(zip(*(one_surface(*pair, tets) for pair in zip(vertices, sdf, strict=True)), strict=True))


def one_surface(vertices, sdf, tets):
    occupied = (sdf > 0).tolist()
    number: dict[tuple[int, int], int] = {}
    faces = []
    for tet in tets.tolist():
        outer, inner = ([v for v in tet if occupied[v] is side] for side in (True, False))
        if not outer or not inner:
            continue
        if len(outer) == 2:  # around the four crossed edges
            pairs = [(outer[0], inner[0]), (outer[0], inner[1]), (outer[1], inner[1]), (outer[1], inner[0])]
        else:
            pairs = list(itertools.product(outer, inner))
        ring = [number.setdefault((min(pair), max(pair)), len(number)) for pair in pairs]
        middle = torch.stack([vertices[list(pair)].mean(0) for pair in pairs]).detach()
        outwards = (vertices[outer].mean(0) - vertices[inner].mean(0)).detach()
        if torch.linalg.cross(middle[1] - middle[0], middle[2] - middle[0]) @ outwards < 0:
            ring = ring[::-1]
        faces += [[ring[0], ring[i], ring[i + 1]] for i in range(1, len(ring) - 1)]
    ends = torch.tensor(list(number), dtype=torch.int64).view(-1, 2)
    (one, two), (a, b) = vertices[ends].unbind(1), sdf[ends][..., None].unbind(1)
    return (one * -b + two * a) / (a - b), torch.tensor(faces, dtype=torch.int64).view(-1, 3)


class FlexiCubes:
    def __init__(self, device="cuda"):
        self.device = device

    def __call__(
        self,
        voxelgrid_vertices,
        scalar_field,
        cube_idx,
        resolution,
        qef_reg_scale=1e-3,
        weight_scale=0.99,
        beta=None,
        alpha=None,
        gamma_f=None,
        training=False,
        output_tetmesh=False,
        grad_func=None,
        voxelgrid_features=None,
    ):
        """Vertices, faces, and the deviations of L_dev."""
        count = len(cube_idx)
        assert voxelgrid_vertices.shape[1:] == (3,) and scalar_field.shape == voxelgrid_vertices.shape[:1]
        assert cube_idx.shape == (resolution**3, 8) and cube_idx.dtype == torch.int64 and 0 <= weight_scale <= 1
        assert beta.shape == (count, 12) and alpha.shape == (count, 8) and gamma_f.shape == (count,)
        if output_tetmesh or grad_func is not None or voxelgrid_features is not None:
            raise NotImplementedError
        corners = voxelgrid_vertices.detach()[cube_idx]
        for corner, axis in ((1, 0), (2, 1), (4, 2)):  # x fastest
            assert ((corners[:, corner] - corners[:, 0]).argmax(-1) == axis).all()
        order = [x + 2 * y + 4 * z for x, y, z in CORNERS]  # of theirs, for each of ours
        theirs = [{CUBE_EDGES[2 * i], CUBE_EDGES[2 * i + 1]} for i in range(12)]
        edges = [theirs.index({order[a], order[b]}) for a, b in EDGES]
        alpha, beta = (torch.tanh(weights) * weight_scale + 1 for weights in (alpha, beta))
        gamma_f = torch.sigmoid(gamma_f) * weight_scale + (1 - weight_scale) / 2
        grid = cube_grid(resolution)
        assert torch.equal(grid.cubes, cube_idx[:, order])
        weights = FlexibleWeights(alpha[:, order], beta[:, edges], gamma_f)
        with backend.forced("reference"):
            vertices, faces, deviation = flexible_cubes(voxelgrid_vertices, scalar_field, weights, grid, training)
        return vertices, faces, deviation[None] if len(faces) > 0 else deviation.new_zeros(0)
