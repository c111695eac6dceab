"""Visibility by nvdiffrast's CUDA rasteriser (Laine et al. 2020), where installed: `renderer.rasterizer: nvdiffrast`.

It rounds vertices to a sixteenth of a pixel, so that pixels on edges may differ from the other implementations'.
"""

import functools

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threestudio_like.errors import UserError


def nearest_face(
    vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], height: int, width: int, near: float
) -> Int[Tensor, "B H W"]:
    """Finds the nearest face at each pixel's centre, or -1; a vertex is its pixel x, y and inverse depth (0: not
    drawn).

    Raises UserError where nvdiffrast is not installed or the tensors are not on CUDA.
    """
    valid = vertices[..., 2] > 0
    if valid.all():
        return draw(clip_space(vertices, height, width, near), faces, height, width)
    # A face that lacks a vertex is left out, but a call draws the same faces in all views: so a call a view.
    views = []
    for corners, visible in zip(vertices, valid, strict=True):
        visible_faces = visible[faces].all(-1).nonzero()[:, 0]
        nearest = draw(
            clip_space(corners.masked_fill(~visible[:, None], 1.0), height, width, near)[None],
            faces[visible_faces],
            height,
            width,
        )[0]
        views.append(torch.where(nearest < 0, -1, visible_faces[nearest.clamp(min=0)] if len(visible_faces) else -1))
    return torch.stack(views)


def clip_space(vertices: Float[Tensor, "... V 3"], height: int, width: int, near: float) -> Float[Tensor, "... V 4"]:
    """Computes clip coordinates whose image has its first row on top; depths from `near` to infinity are -w to w."""
    x, y, inverse = vertices.unbind(-1)
    ndc = torch.stack([2 * x / width - 1, 2 * y / height - 1, 1 - 2 * near * inverse, torch.ones_like(x)], dim=-1)
    return (ndc / inverse[..., None]).contiguous()


def draw(clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"], height: int, width: int) -> Int[Tensor, "B H W"]:
    """Rasterises triangles in clip space to the number of the nearest face, -1 where there is none."""
    if len(faces) == 0:
        return torch.full((len(clip), height, width), -1, device=clip.device)
    library, context = opened(clip.device)
    image, _ = library.rasterize(context, clip, faces.int().contiguous(), (height, width), grad_db=False)
    return image[..., 3].long() - 1


@functools.cache
def opened(device: torch.device):
    """Opens nvdiffrast and its context on a device. Raises UserError where it is missing or the device is not CUDA."""
    try:
        import nvdiffrast.torch as library
    except ImportError:
        raise UserError("renderer.rasterizer: nvdiffrast is not installed; 'kernels' needs nothing") from None
    if device.type != "cuda":
        raise UserError(f"renderer.rasterizer: nvdiffrast draws on CUDA, not on {device}; use 'kernels'")
    return library, library.RasterizeCudaContext(device=device)
