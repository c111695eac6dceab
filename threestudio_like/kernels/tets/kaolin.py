"""Marching tetrahedra by kaolin, where installed: `packages: [kaolin]`.

Vertices may lie at the very ends of their edges, where this project keeps them a thousandth off, so that faces may have
no area.
"""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threestudio_like.kernels import packages

if TYPE_CHECKING:
    from threestudio_like.kernels.tets import TetGrid

OUTSIDE = 1e-12
"""What stands for a distance of zero, which counts as outside here and as inside there."""


def marching_tetrahedra(
    vertices: Float[Tensor, "V 3"], sdf: Float[Tensor, "V"], grid: "TetGrid"
) -> tuple[Float[Tensor, "S 3"], Int[Tensor, "F 3"]]:
    """Extracts the zero level of a signed distance, negative inside: vertices and outward faces."""
    sdf = torch.where(sdf == 0, OUTSIDE, sdf)
    # faces look to where the distance is positive, in tetrahedra that are positively oriented
    points, faces = packages.load("kaolin").marching_tetrahedra(vertices[None], grid.tets.long(), sdf[None])
    return points[0], faces[0]
