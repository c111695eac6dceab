"""The covered pixels of a rasterisation and their positions on their faces."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from threestudio_like.utils.rows import rows

NEAR = 1e-3
"""Faces with a vertex nearer than this are not drawn."""


@dataclass(frozen=True)
class Fragments:
    """N covered pixels of B images; `face` is -1 where a pixel is empty.

    `pixel` numbers the covered ones in `face.flatten()`, `corners` are their faces' vertices, and `barycentric` the
    perspective-correct coordinates of the pixel's centre on the face, which carry the gradients.
    """

    face: Int[Tensor, "B H W"]
    pixel: Int[Tensor, "N"]
    corners: Int[Tensor, "N 3"]
    barycentric: Float[Tensor, "N 3"]
    depth: Float[Tensor, "N"]

    @staticmethod
    def of(
        face: Int[Tensor, "B H W"],
        screen: Float[Tensor, "B V 2"],
        depth: Float[Tensor, "B V"],
        faces: Int[Tensor, "F 3"],
    ) -> "Fragments":
        """Builds the fragments from the visible faces and the projected vertices."""
        height, width = face.shape[1:]
        pixel = (face.flatten() >= 0).nonzero()[:, 0]
        corners = faces[face.flatten()[pixel]]
        view = pixel // (height * width)
        centre = torch.stack([pixel % width, pixel // width % height], dim=-1) + 0.5
        corner = view[:, None] * screen.shape[1] + corners
        at = rows(screen.flatten(0, 1), corner) - centre[:, None]  # [N, 3, 2]
        inverse = 1 / rows(depth.flatten(), corner)
        opposite = torch.stack([cross(at[:, j], at[:, k]) for j, k in ((1, 2), (2, 0), (0, 1))], dim=-1)
        weighted = opposite * inverse
        total = weighted.sum(-1, keepdim=True)
        # opposite / area sums to 1 on the screen, and 1 / depth is affine there
        return Fragments(face, pixel, corners, weighted / total, opposite.sum(-1) / total[:, 0])

    @property
    def covered(self) -> Bool[Tensor, "B H W"]:
        """Pixels that see a face."""
        return self.face >= 0

    def interpolate(self, values: Float[Tensor, "V C"]) -> Float[Tensor, "N C"]:
        """Interpolates values given at the vertices at the covered pixels."""
        return (self.barycentric[..., None] * rows(values, self.corners)).sum(1)

    def image(self, values: Float[Tensor, "N C"]) -> Float[Tensor, "B H W C"]:
        """Puts the covered pixels' values into images, zero elsewhere."""
        empty = values.new_zeros(self.face.numel(), values.shape[-1])
        return empty.index_copy(0, self.pixel, values).view(*self.face.shape, -1)


def cross(a: Float[Tensor, "... 2"], b: Float[Tensor, "... 2"]) -> Float[Tensor, "..."]:
    """Computes the z component of the cross product of plane vectors."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
