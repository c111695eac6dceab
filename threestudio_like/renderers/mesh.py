"""Rasterises a scene's surface: exact visibility, smooth silhouettes, gradients to vertices and colours."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.cameras import Cameras, Rays
from threestudio_like.config import register
from threestudio_like.errors import UserError
from threestudio_like.kernels.rasterize import Rasterizer, antialias, rasterize
from threestudio_like.renderers.base import Render, Renderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.renderers.silhouette import soft_silhouette
from threestudio_like.scenes.mesh import Surface
from threestudio_like.schedule import Schedule

FLAT = 1e-3
"""Opacities that differ by less from 0 or 1 lie on no edge."""


@register("renderer", "mesh")
class MeshRenderer(Renderer):
    """Draws `scene.surface()`, coloured by `scene.material(points)`. Built as `cls(config)`."""

    @dataclass
    class Config:
        """Images are drawn `supersample` times larger a side and averaged. `rasterizer`: who finds the visible faces.

        `silhouette`: softness, in units of the scene, of the signed distance's silhouettes, whose gradients opacity has where
        no edge passes (see `renderers/silhouette.py`); 0 for those of edges alone. Best from when there is a shape to mend: a
        prior that sees none yet wants all of it less opaque.
        """

        supersample: int = 2
        silhouette: Schedule = Schedule.constant(0.0)
        rasterizer: Rasterizer = "kernels"

        def __post_init__(self):
            if self.supersample < 1:
                raise ValueError(f"supersample must be at least 1, got {self.supersample}")
            if min(self.silhouette.values) < 0:
                raise ValueError("silhouette must not be negative")

    def __init__(self, config: Config):
        super().__init__()
        self.supersample, self.rasterizer = config.supersample, config.rasterizer
        self.schedule, self.silhouette = config.silhouette, config.silhouette(0)

    def refresh(self, scene, step, generator):
        self.silhouette = self.schedule(step)

    def render(self, scene, cameras, shading, generator, normals):
        return self.draw(scene, scene.surface(), cameras, shading, generator)

    @torch.no_grad()
    def images(self, scene, cameras, shading, normals=False, at_once=1):
        surface = scene.surface()
        for start in range(0, len(cameras), at_once):
            part = slice(start, start + at_once)
            yield self.draw(scene, surface, cameras[part], shading[part])

    def draw(self, scene: nn.Module, surface: Surface, cameras: Cameras, shading: Shading,
             generator: torch.Generator | None = None) -> Render:
        """What the cameras see of the scene's surface."""
        count, height, width = len(cameras), cameras.height, cameras.width
        cameras = cameras.resized(height * self.supersample, width * self.supersample)
        screen, depth = cameras.project(surface.vertices.expand(count, -1, -1))
        fragments = rasterize(screen, depth, surface.faces, cameras.height, cameras.width, self.rasterizer)
        position = fragments.interpolate(surface.vertices)
        normal = F.normalize(fragments.interpolate(surface.vertex_normals()), dim=-1)
        view = fragments.pixel // (cameras.height * cameras.width)
        color = shading(scene.material(position), normal, position, view)
        distance = (position - cameras.position[view]).norm(dim=-1, keepdim=True)
        parts = torch.cat([color, torch.ones_like(distance), distance, 0.5 * position + 0.5, normal], dim=-1)
        parts = self.small(antialias(fragments.image(parts), fragments, screen, depth, surface.edges))
        rays = cameras.resized(height, width).rays()
        growth = 0.0
        if self.silhouette > 0 and parts.requires_grad:
            fading, growth = self.soft_gradients(parts[..., 3:4], surface, rays)
            parts = parts * (1 + fading)
        rgb, opacity, distance, xyz, normal = parts.split((3, 1, 1, 3, 3), dim=-1)
        behind = scene.background(rays.directions.view(count, height * width, 3), generator).reshape(rgb.shape)
        return Render(rgb=rgb + (1 - opacity) * behind, opacity=opacity + growth, depth=distance, normal=normal, xyz=xyz,
                      surface=surface)

    def soft_gradients(self, opacity: Float[Tensor, "B H W 1"], surface: Surface,
                       rays: Rays) -> tuple[Float[Tensor, "B H W 1"], Float[Tensor, "B H W 1"]]:
        """Zeros that have the soft silhouette's gradients: inside, where all that is drawn may fade; outside, where opacity
        may grow (in what colour is not known). Edges have their own."""
        if surface.distance is None:
            raise UserError("renderer: `silhouette` needs a scene that tells its signed distance (tetmesh, flexicubes)")
        soft = soft_silhouette(surface.distance, rays, self.silhouette).view(opacity.shape)
        change = soft - soft.detach()
        return change * (opacity > 1 - FLAT), change * (opacity < FLAT)

    def small(self, image: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w C"]:
        """The means of blocks of pixels."""
        return F.avg_pool2d(image.permute(0, 3, 1, 2), self.supersample).permute(0, 2, 3, 1)
