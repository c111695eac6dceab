"""Stands in for nvdiffrast 0.4's `nvdiffrast.torch`, as documented at https://nvlabs.github.io/nvdiffrast/#rasterization
and in https://github.com/NVlabs/nvdiffrast/blob/253ac4fcea7de5f396371124af597e6cc957bfae/nvdiffrast/torch/ops.py."""

import torch

from threestudio_like.kernels import backend
from threestudio_like.kernels.rasterize import visible_faces


class RasterizeCudaContext:
    def __init__(self, device=None):
        self.device = device


def rasterize(glctx, pos, tri, resolution, ranges=None, grad_db=True):
    """Clip coordinates `[B, V, 4]` to (u, v, z/w, face + 1), 0 where nothing is, and derivatives of u and v. The first
    row is at y = -1, the larger z/w is the farther, and what is nearer than -w or farther than w is cut off."""
    assert isinstance(glctx, RasterizeCudaContext) and grad_db in (True, False) and ranges is None
    assert pos.dtype == torch.float32 and pos.ndim == 3 and pos.shape[2] == 4 and pos.is_contiguous()
    assert tri.dtype == torch.int32 and tri.shape[1:] == (3,) and tri.is_contiguous() and len(tri) > 0
    height, width = resolution
    assert (pos[..., 2].abs() <= pos[..., 3]).all(), "cut faces are not drawn here"
    screen = 0.5 * (pos[..., :2] / pos[..., 3:] + 1) * torch.tensor([width, height])
    with backend.forced("reference"):
        seen = visible_faces(screen, pos[..., 3], tri, height, width)
    image = torch.zeros(*seen.shape, 4)
    image[..., 3] = seen + 1
    return image, torch.zeros_like(image)
