"""Visibility in plain PyTorch: every pixel is compared with every face."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

AT_ONCE = 1 << 24  # pixels times faces


def nearest_face(
    vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], height: int, width: int
) -> Int[Tensor, "B H W"]:
    """Finds the nearest face at each pixel's centre, or -1; a vertex is its pixel x, y and inverse depth (0: not
    drawn)."""
    axes = [torch.arange(n, device=faces.device) + 0.5 for n in (height, width)]
    y, x = (grid.reshape(-1, 1) for grid in torch.meshgrid(*axes, indexing="ij"))
    nearest = []
    for view in vertices:
        best = torch.zeros(height * width, device=faces.device)
        face = torch.full((height * width,), -1, device=faces.device)
        for start in range(0, len(faces), step := max(1, AT_ONCE // len(best))):
            nearness = inverse_depth(view[faces[start : start + step]], x, y)
            value, index = nearness.max(dim=1)  # the first of equal ones
            closer = value > best
            best, face = torch.where(closer, value, best), torch.where(closer, index + start, face)
        nearest.append(face.view(height, width))
    return torch.stack(nearest)


def inverse_depth(
    corners: Float[Tensor, "F 3 3"], x: Float[Tensor, "P 1"], y: Float[Tensor, "P 1"]
) -> Float[Tensor, "P F"]:
    """Computes 1 / depth of each face at each point, 0 where the point is outside it: affine on the screen."""
    dx, dy = corners[:, :, 0] - x[..., None], corners[:, :, 1] - y[..., None]  # [P, F, 3]
    edge = [dx[..., j] * dy[..., k] - dx[..., k] * dy[..., j] for j, k in ((1, 2), (2, 0), (0, 1))]
    area = edge[0] + edge[1] + edge[2]
    inside = (area != 0) & (corners[:, :, 2] > 0).all(-1)
    for e in edge:
        inside = inside & (e * area >= 0)
    summed = edge[0] * corners[:, 0, 2] + edge[1] * corners[:, 1, 2] + edge[2] * corners[:, 2, 2]
    return torch.where(inside, summed / area, 0.0)
