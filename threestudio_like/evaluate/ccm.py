"""Compares coordinate maps with the true ones: what they show, and where they were seen from."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

SEEN = 0.5


def view_direction(maps: Float[Tensor, "B 4 H W"]) -> Float[Tensor, "B 3"]:
    """Finds the unit direction from the object towards the camera, in the map's own coordinates.

    `(u, v) = A xyz + b` is fitted over the pixels of opacity above a half, u to the right and v up: an affine camera.
    Its rows are the camera's axes, and their product points backward. In coordinates that were scaled along each axis
    the result is the direction divided by the box's sides. Not finite where fewer than four pixels are seen.
    """
    height, width = maps.shape[-2:]
    right = (torch.arange(width) + 0.5).expand(height, width)
    up = -(torch.arange(height) + 0.5)[:, None].expand(height, width)
    found = []
    for image in maps.double().cpu():
        seen = image[3] > SEEN
        xyz = (image[:3, seen] / image[3, seen]).T
        pixels = torch.stack([right[seen], up[seen]], dim=-1).double()
        if len(xyz) < 4:
            found.append(torch.full((3,), math.nan, dtype=torch.float64))
            continue
        centred = xyz - xyz.mean(0)
        # a trace of ridge keeps a flat view's fit finite
        normal = centred.T @ centred + 1e-6 * len(xyz) * torch.eye(3, dtype=torch.float64)
        axes = torch.linalg.solve(normal, centred.T @ (pixels - pixels.mean(0)))
        found.append(torch.linalg.cross(axes[:, 0], axes[:, 1]))
    return torch.nn.functional.normalize(torch.stack(found), dim=-1).float()


def compare(maps: Float[Tensor, "B 4 H W"], true: Float[Tensor, "B 4 H W"]) -> dict[str, float]:
    """Compares B maps with the true ones from the same cameras; returns means.

    `azimuth_error_deg` is the median of the angle, in 0..180, between their horizontal view directions; `azimuth_right`
    the share of at most 45 degrees; `left_right` the share on the right side, of those seen more from a side than from
    the front or back. `coordinate_error` is the mean distance of the coordinates where both show the object, in
    0..sqrt(3); `silhouette_iou` the overlap, in 0..1. Maps that show nothing count as wrong.
    """
    one, two = view_direction(maps), view_direction(true)
    turn = torch.atan2(one[:, 1], one[:, 0]) - torch.atan2(two[:, 1], two[:, 0])
    error = torch.rad2deg((turn + math.pi) % (2 * math.pi) - math.pi).abs().nan_to_num(180.0)
    sideways = two[:, 1].abs() > two[:, 0].abs()
    a, b = (images[:, 3:] > SEEN for images in (maps, true))
    both = (a & b).squeeze(1)
    distance = (maps[:, :3] / maps[:, 3:].clamp(min=SEEN) - true[:, :3] / true[:, 3:].clamp(min=SEEN)).norm(dim=1)
    overlap = (a & b).flatten(1).sum(1) / (a | b).flatten(1).sum(1).clamp(min=1)
    return {
        "azimuth_error_deg": error.median().item(),
        "azimuth_right": (error <= 45).float().mean().item(),
        "left_right": (one[:, 1] * two[:, 1] > 0)[sideways].float().mean().item(),
        "coordinate_error": distance[both].mean().item(),
        "silhouette_iou": overlap.mean().item(),
    }
