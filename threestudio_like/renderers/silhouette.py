"""Renders soft silhouettes of a signed distance (IDR, Yariv et al. 2020, eq. 7), so that topology can change.

Gradients at a mesh's edges move its silhouette and cannot tear it: without these, a handle that starts as a lump stays
a lump.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from threestudio_like.cameras import Rays
from threestudio_like.kernels.march import march
from threestudio_like.scenes.signed_distance import sample

REACH = 5.0
"""Distances of so many times the softness count as never seen: there the silhouette is below 0.7 %."""


def soft_silhouette(
    distance: Float[Tensor, "R R R"], rays: Rays, softness: float
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N 3"]]:
    """Computes `sigmoid(-min_t s(x(t)) / softness)` of each ray (Yariv et al. 2020, IDR, equation 7), and the point
    where the minimum is.

    It is 1 deep inside and 0 far off, where the point is the scene's middle. `distance` s is signed, negative inside,
    at the corners of a grid over the scene cube; `softness` in units of the scene. The points have no gradients.
    """
    cells = len(distance) - 1
    nearby = -F.max_pool3d(-distance.detach()[None, None], 2, stride=1)[0, 0] < REACH * softness
    samples = march(rays.origins, rays.directions, nearby, 2 / cells, torch.zeros_like(rays.origins[:, 0]))
    points = samples.position
    with torch.no_grad():
        values = sample(distance, points)
        lowest = values.new_full((len(rays.origins),), torch.inf).scatter_reduce(0, samples.ray, values, "amin")
        deepest = values == lowest[samples.ray]
    ray, points = samples.ray[deepest], points[deepest]
    silhouette = torch.sigmoid(-sample(distance, points) / softness)
    return (
        silhouette.new_zeros(len(rays.origins)).index_put((ray,), silhouette),
        torch.zeros_like(rays.origins).index_put((ray,), points),
    )
