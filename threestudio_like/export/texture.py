"""Textures for meshes: an atlas by xatlas, filled with the scene's material at each texel's point."""

from collections.abc import Callable

import numpy as np
import torch
import xatlas
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from threestudio_like.kernels.rasterize import rasterize
from threestudio_like.scenes.mesh import Mesh, Texture

CHUNK = 1 << 18


@torch.no_grad()
def bake(
    mesh: Mesh, material: Callable[[Float[Tensor, "N 3"]], Float[Tensor, "N C"]], size: int, device: torch.device
) -> Mesh:
    """Unwraps the mesh and bakes textures of `size` texels along each axis.

    `material` gives a base colour (C = 3, sRGB), or base colour, roughness and metallic (C = 5), in 0..1. Texels
    between the charts take the nearest chart's value, so that no seam shows.
    """
    return baked(mesh, mesh.vertices, size, device, lambda x: torch.cat([material(part) for part in x.split(CHUNK)]))


def bake_colors(mesh: Mesh, size: int) -> Mesh:
    """Unwraps the mesh and bakes the colours at its vertices, as they are between them."""
    return baked(mesh, mesh.colors, size, torch.device("cpu"), lambda colors: colors)


def baked(
    mesh: Mesh,
    attribute: Float[np.ndarray, "V K"],
    size: int,
    device: torch.device,
    values: Callable[[Float[Tensor, "N K"]], Float[Tensor, "N C"]],
) -> Mesh:
    """Unwraps the mesh and fills its textures with the values of what its vertices have, at each texel."""
    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    atlas.generate(pack_options=packing(size))
    source, faces, uv = atlas[0]
    corners = faces.astype(np.int64)
    screen = torch.from_numpy(uv * size).float()[None].to(device)
    fragments = rasterize(screen, torch.ones_like(screen[..., 0]), torch.from_numpy(corners).to(device), size, size)
    at_texels = fragments.interpolate(torch.from_numpy(attribute[source]).float().to(device))
    image = fragments.image(values(at_texels))[0].cpu().numpy()
    nearest = distance_transform_edt(~fragments.covered[0].cpu().numpy(), return_distances=False, return_indices=True)
    image = image[tuple(nearest)]
    rough_metal = image[..., 3:5] if image.shape[-1] == 5 else None
    upwards = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=-1).astype(np.float32)  # counted from the bottom
    texture = Texture(upwards, corners, image[..., :3], rough_metal)
    return Mesh(mesh.vertices, source.astype(np.int64)[corners], mesh.colors, texture, mesh.normals)


def packing(size: int) -> xatlas.PackOptions:
    """Returns xatlas' options for an atlas of `size` texels along each axis."""
    options = xatlas.PackOptions()
    options.resolution, options.padding, options.bilinear, options.create_image = size, 2, True, False
    return options
