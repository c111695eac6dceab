"""Visibility by nvdiffrast's CUDA rasteriser (Laine et al. 2020), where installed: `packages: [nvdiffrast]`.

It rounds vertices to a sixteenth of a pixel, so that pixels on edges may differ from the other implementations'.
"""

import functools

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threestudio_like.kernels import packages
from threestudio_like.kernels.rasterize.fragments import NEAR


def nearest_face(
    vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], height: int, width: int
) -> Int[Tensor, "B H W"]:
    """Finds the nearest face at each pixel's centre, or -1; a vertex is its pixel x, y and inverse depth (0: not
    drawn)."""
    valid = vertices[..., 2] > 0
    if valid.all():
        return draw(clip_space(vertices, height, width), faces, height, width)
    # A face that lacks a vertex is left out, but a call draws the same faces in all views: so a call a view.
    views = []
    for corners, visible in zip(vertices, valid, strict=True):
        visible_faces = visible[faces].all(-1).nonzero()[:, 0]
        nearest = draw(
            clip_space(corners.masked_fill(~visible[:, None], 1.0), height, width)[None],
            faces[visible_faces],
            height,
            width,
        )[0]
        views.append(torch.where(nearest < 0, -1, visible_faces[nearest.clamp(min=0)] if len(visible_faces) else -1))
    return torch.stack(views)


def clip_space(vertices: Float[Tensor, "... V 3"], height: int, width: int) -> Float[Tensor, "... V 4"]:
    """Computes clip coordinates whose image has its first row on top; depths from NEAR to infinity are -w to w."""
    x, y, inverse = vertices.unbind(-1)
    ndc = torch.stack([2 * x / width - 1, 2 * y / height - 1, 1 - 2 * NEAR * inverse, torch.ones_like(x)], dim=-1)
    return (ndc / inverse[..., None]).contiguous()


def draw(clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"], height: int, width: int) -> Int[Tensor, "B H W"]:
    """Rasterises triangles in clip space to the number of the nearest face, -1 where there is none."""
    if len(faces) == 0:
        return torch.full((len(clip), height, width), -1, device=clip.device)
    image, _ = packages.load("nvdiffrast").rasterize(
        context(clip.device), clip, faces.int().contiguous(), (height, width), grad_db=False
    )
    return image[..., 3].long() - 1


@functools.cache
def context(device: torch.device):
    """Makes its context on a device, which holds buffers."""
    return packages.load("nvdiffrast").RasterizeCudaContext(device=device)
