"""Fits an object's surface and colours to its six views, after the reconstructor's pass.

    light  <- argmin_l || albedo (1 + H(n) l) - views ||          of the object as it is, robustly
    object <- argmin_{d, c} || lit render(distance + d, colour + c) - views ||^2 + smoothness of the surface

H are the spherical harmonics of the normals n, d a shift of each grid vertex' signed distance, c one of the colour in
each cell of a grid. The light is the views', so that colours stay albedo. Done in steps and not in seconds, so that one
seed gives one result.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from threestudio_like.cameras import Cameras
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.environment import harmonics
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.fitted import FittedTriplane
from threestudio_like.scenes.triplane import Triplane

CELLS = 48
"""Cells along each side of the colour grid."""
RATES = {"distance": 0.01, "color": 0.02}
"""Adam's learning rates, of distances in scene units and of colours in 0..1."""
SMOOTH = 0.8
"""Weight of the squared Laplacian in scene units."""
SOLID = 0.999
"""Least opacity of the pixels from which the light is estimated."""
ROBUST, ROUNDS = 0.05, 4
"""The colour error at which a pixel counts half, and how often the pixels are weighed again."""


@torch.enable_grad()
def refined(scene: Triplane, views: Float[Tensor, "6 3 S S"], cameras: Cameras, steps: int) -> FittedTriplane:
    """Fits an object to views in 0..1 on white, as `cameras` saw them. Raises NoSurfaceError where it has none."""
    fitted, target = FittedTriplane.of(scene, CELLS), views.permute(0, 2, 3, 1)
    renderer = MeshRenderer(MeshRenderer.Config(supersample=1))
    with torch.no_grad():
        light = estimate_light(renderer(fitted, cameras, Shading()), target)
    trained = {"distance": fitted.distance.requires_grad_(), "color": fitted.color.requires_grad_()}
    optimizer = torch.optim.Adam([dict(params=[trained[name]], lr=rate) for name, rate in RATES.items()])
    for _ in range(steps):
        view = renderer(fitted, cameras, Shading())
        assert view.surface is not None, "a mesh renderer tells it"
        smoothness = view.surface.laplacian().square().sum(-1).mean()
        loss = F.mse_loss(lit(view, light), target) + SMOOTH * smoothness
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for tensor in trained.values():
        tensor.requires_grad_(False)
    return fitted


def lit(view: Render, light: Float[Tensor, "9"]) -> Float[Tensor, "B H W 3"]:
    """Computes the image of an albedo before white under a light; the light gives the normals no gradient."""
    assert view.normal is not None, "a mesh renderer draws it"
    brightness = 1 + harmonics(F.normalize(view.normal.detach(), dim=-1).flatten(0, 2)) @ light
    before_white = 1 - view.opacity
    return before_white + (view.rgb - before_white) * brightness.view_as(view.opacity)


def estimate_light(view: Render, target: Float[Tensor, "B H W 3"]) -> Float[Tensor, "9"]:
    """Finds the light under which an albedo looks most like the target, by least squares of little-weighted outliers.

    It is one light for all views, without colour; 1 + H(n) l is the brightness of a surface with the normal n.
    """
    assert view.normal is not None, "a mesh renderer draws it"
    solid = view.opacity[..., 0] > SOLID
    albedo, seen = view.rgb[solid], target[solid]
    basis = harmonics(F.normalize(view.normal[solid], dim=-1))
    change = (albedo[:, :, None] * basis[:, None]).flatten(0, 1)  # [3 P, 9], by the light's coefficients
    weight, light = torch.ones_like(albedo[:, 0]), basis.new_zeros(9)
    for _ in range(ROUNDS):
        weighted = change * weight.repeat_interleave(3)[:, None]
        little = torch.eye(9, device=basis.device)  # where hardly anything is seen, the light is even
        light = torch.linalg.solve(weighted.T @ change + little, weighted.T @ (seen - albedo).flatten())
        error = (albedo * (1 + basis @ light)[:, None] - seen).norm(dim=-1)
        weight = 1 / (error + ROBUST)
        weight = weight / weight.mean()
    return light
