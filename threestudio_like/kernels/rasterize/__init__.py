"""Triangle rasterisation in three steps: the face that each pixel sees, values interpolated over it, smooth
silhouettes.

Only the first is compiled, and nvdiffrast can take its place. The other two are plain PyTorch on the covered pixels and
carry the gradients, as in Laine et al. 2020, "Modular Primitives for High-Performance Differentiable Rendering".
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threestudio_like.kernels import backend
from threestudio_like.kernels.rasterize.antialias import Edges, antialias
from threestudio_like.kernels.rasterize.fragments import NEAR, Fragments

__all__ = ["Edges", "Fragments", "antialias", "rasterize", "visible_faces"]


@torch.no_grad()
def visible_faces(
    screen: Float[Tensor, "B V 2"],
    depth: Float[Tensor, "B V"],
    faces: Int[Tensor, "F 3"],
    height: int,
    width: int,
) -> Int[Tensor, "B H W"]:
    """Finds the nearest face at each pixel's centre, -1 where there is none; of equally near ones, the first.

    `screen` and `depth` are what `Cameras.project` returns: pixels (x right, y down, centres at .5) and the distance
    along the optical axis. Both sides of a face are seen; a face with a vertex nearer than 0.001, behind the camera or
    not finite is not drawn. Raises ValueError on shapes that do not fit or a face that names no vertex.
    """
    if screen.ndim != 3 or screen.shape[2:] != (2,) or depth.shape != screen.shape[:2]:
        raise ValueError(f"vertices are [B, V, 2] with depth [B, V], got {list(screen.shape)} and {list(depth.shape)}")
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.is_floating_point():
        raise ValueError(f"faces are [F, 3] integers, got {list(faces.shape)} of {faces.dtype}")
    if faces.device.type == "cpu" and len(faces) and not 0 <= int(faces.min()) <= int(faces.max()) < screen.shape[1]:
        raise ValueError(f"faces name the vertices {int(faces.min())} to {int(faces.max())} of {screen.shape[1]}")
    screen, depth, faces = screen.detach().float(), depth.detach().float(), faces.long().contiguous()
    valid = (depth > NEAR) & screen.isfinite().all(-1) & depth.isfinite()
    inverse = torch.where(valid, 1 / depth, 0.0)
    vertices = torch.cat([torch.where(valid[..., None], screen, 0.0), inverse[..., None]], dim=-1).contiguous()
    kernels = backend.implementation(__name__, vertices, faces)
    if 0 in (len(vertices), len(faces), height, width):
        return torch.full((len(vertices), height, width), -1, device=faces.device)
    return kernels.nearest_face(vertices, faces, height, width)


def rasterize(
    screen: Float[Tensor, "B V 2"],
    depth: Float[Tensor, "B V"],
    faces: Int[Tensor, "F 3"],
    height: int,
    width: int,
) -> Fragments:
    """Finds the visible surface, differentiable in `screen` and `depth` by its barycentric coordinates; see
    `visible_faces`."""
    return Fragments.of(visible_faces(screen, depth, faces, height, width), screen, depth, faces)
