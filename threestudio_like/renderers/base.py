"""What every renderer returns."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class RaySamples:
    """The M samples along the rays of a volume rendering, for penalties. `normal` is None where none was asked for."""

    weights: Float[Tensor, "M"]
    directions: Float[Tensor, "M 3"]
    normal: Float[Tensor, "M 3"] | None
    rays: int


@dataclass(frozen=True)
class Render:
    """Images of B cameras. Values off the object are the background's (rgb) or zero (the rest).

    `depth` is the distance from the camera along the unit ray; `normal` a unit vector in world space; `xyz` the surface
    point in the scene cube mapped to [0, 1]^3 (the canonical coordinate map of SweetDreamer before its tight-box scaling).
    Volume renderings weight all of them by opacity.
    """

    rgb: Float[Tensor, "B H W 3"]
    opacity: Float[Tensor, "B H W 1"]
    depth: Float[Tensor, "B H W 1"]
    normal: Float[Tensor, "B H W 3"] | None
    xyz: Float[Tensor, "B H W 3"]
    samples: RaySamples | None = None
