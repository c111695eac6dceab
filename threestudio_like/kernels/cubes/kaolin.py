"""FlexiCubes by kaolin, where installed (0.18 or newer, Apache-2.0): `packages: [kaolin]`.

Vertices and faces come in another order than this project's.
"""

import functools
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threestudio_like.errors import UserError
from threestudio_like.kernels import packages
from threestudio_like.kernels.cubes.patches import CORNERS, EDGES

if TYPE_CHECKING:
    from threestudio_like.kernels.cubes import CubeGrid, FlexibleWeights

THEIR_CORNERS = tuple(CORNERS.index((i & 1, i >> 1 & 1, i >> 2)) for i in range(8))
"""Their corners, which count x fastest, as numbers of CORNERS."""
THEIR_EDGES = tuple(
    EDGES.index(tuple(sorted((THEIR_CORNERS[a], THEIR_CORNERS[b]))))
    for a, b in ((0, 1), (1, 5), (4, 5), (0, 4), (2, 3), (3, 7), (6, 7), (2, 6), (2, 0), (3, 1), (7, 5), (6, 4))
)
"""Their edges, by their corners (`cube_edges` of kaolin's flexicubes.py), as numbers of EDGES."""
SCALE = 1.0
"""Their `weight_scale`."""
SMALLEST = 1e-6


def flexible_cubes(
    vertices: Float[Tensor, "V 3"],
    sdf: Float[Tensor, "V"],
    weights: "FlexibleWeights",
    grid: "CubeGrid",
    training: bool,
) -> tuple[Float[Tensor, "S 3"], Int[Tensor, "F 3"], Float[Tensor, ""]]:
    """Extracts the zero level of a signed distance, negative inside: vertices, outward faces, unevenness."""
    corners, edges = (torch.tensor(order, device=sdf.device) for order in (THEIR_CORNERS, THEIR_EDGES))
    points, faces, deviation = extractor(sdf.device)(
        vertices,
        sdf,
        grid.cubes[:, corners].long(),
        round(len(grid.cubes) ** (1 / 3)),
        weight_scale=SCALE,
        beta=raw(weights.edge[:, edges]),
        alpha=raw(weights.corner[:, corners]),
        gamma_f=torch.logit(0.5 * relative(weights.quad, weights.quad.amax())),
        training=training,
    )
    return points, faces, deviation.mean() if len(deviation) > 0 else sdf.sum() * 0


def raw(weights: Float[Tensor, "C K"]) -> Float[Tensor, "C K"]:
    """Computes what they turn into the weights, as 1 + tanh; of each cube's, only the ratios count."""
    return torch.atanh(relative(weights, weights.amax(-1, keepdim=True)) - 1)


def relative(weights: Tensor, largest: Tensor) -> Tensor:
    """Divides weights by the largest, so that they are 0 to 1."""
    return (weights / largest.detach()).clamp(min=SMALLEST)


@functools.cache
def extractor(device: torch.device):
    """Makes their extractor, which holds tables on a device. Raises UserError for a kaolin that has none."""
    kaolin = packages.load("kaolin")
    if not hasattr(kaolin, "FlexiCubes"):
        raise UserError("packages: this kaolin is older than 0.18, the first with FlexiCubes under its own licence")
    return kaolin.FlexiCubes(device=device)
