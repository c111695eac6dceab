"""Rasterises a scene's surface: exact visibility, smooth silhouettes, gradients to vertices and colours."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from threestudio_like.cameras import Cameras, Rays
from threestudio_like.config.ranges import NonNegative, Samples
from threestudio_like.config.registry import configure
from threestudio_like.errors import UserError
from threestudio_like.kernels.rasterize import Fragments, antialias, rasterize
from threestudio_like.renderers.base import ALBEDO, Render, Renderer, single_precision
from threestudio_like.renderers.shading import Shading
from threestudio_like.renderers.silhouette import soft_silhouette
from threestudio_like.scenes.base import SurfaceScene
from threestudio_like.scenes.mesh import Surface

FLAT = 1e-3
"""Opacities that differ by less from 0 or 1 lie on no edge."""


class MeshRenderer(Renderer[SurfaceScene]):
    """Draws `scene.surface()`, coloured by `scene.material(points)`. Built as `cls(config)`."""

    scene_type, draws = SurfaceScene, "mesh"

    @dataclass
    class Config:
        """Configures the rasterisation."""

        supersample: Samples = 2
        """Images are drawn so many times larger along each axis, and averaged."""
        silhouette: NonNegative = 0.0
        """Softness of the signed distance's silhouettes, in scene units; 0 for silhouettes of edges alone.

        They give gradients to the opacity where no edge passes (`renderers/silhouette.py`).
        """

    def __init__(self, config: Config | None = None, **fields):
        super().__init__()
        config = configure(self, config, fields)
        self.supersample, self.silhouette = config.supersample, config.silhouette

    @single_precision
    def forward(
        self,
        scene: SurfaceScene,
        cameras: Cameras,
        shading: Shading = ALBEDO,
        generator: torch.Generator | None = None,
        normals: bool = False,
    ) -> Render:
        """Draws the surface; with a generator (training) the background may be random."""
        return self.draw(scene, scene.surface(), cameras, shading, generator)

    @torch.no_grad()
    def images(self, scene, cameras, shading, normals=False, at_once=1):
        surface = scene.surface()
        for start in range(0, len(cameras), at_once):
            part = slice(start, start + at_once)
            yield self.draw(scene, surface, cameras[part], shading[part])

    def draw(
        self,
        scene: SurfaceScene,
        surface: Surface,
        cameras: Cameras,
        shading: Shading,
        generator: torch.Generator | None = None,
    ) -> Render:
        """Rasterises a surface of the scene."""
        count, height, width = len(cameras), cameras.height, cameras.width
        cameras = cameras.resized(height * self.supersample, width * self.supersample)
        screen, depth = cameras.project(surface.vertices.expand(count, -1, -1))
        fragments = rasterize(screen, depth, surface.faces, cameras.height, cameras.width)
        position = fragments.interpolate(surface.vertices)
        normal = F.normalize(fragments.interpolate(surface.vertex_normals()), dim=-1)
        view = fragments.pixel // (cameras.height * cameras.width)
        material = position if shading.kind == "none" else self.material(scene, fragments, position)  # which takes time
        color = shading(material, normal, position, view)
        distance = (position - cameras.position[view]).norm(dim=-1, keepdim=True)
        parts = torch.cat([color, torch.ones_like(distance), distance, 0.5 * position + 0.5, normal], dim=-1)
        parts = self.small(antialias(fragments.image(parts), fragments, screen, depth, surface.edges))
        rays = cameras.resized(height, width).rays()
        behind = scene.background(rays.directions.view(count, height * width, 3), generator).view(
            count, height, width, 3
        )
        if self.silhouette > 0 and parts.requires_grad:
            parts = parts + self.soft_gradients(parts.detach(), behind.detach(), surface, rays)
        rgb, opacity, distance, xyz, normal = parts.split((3, 1, 1, 3, 3), dim=-1)
        return Render(
            rgb=rgb + (1 - opacity) * behind, opacity=opacity, depth=distance, normal=normal, xyz=xyz, surface=surface
        )

    def material(
        self, scene: SurfaceScene, fragments: Fragments, position: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "N C"]:
        """Looks up the material of what the pixels see."""
        return scene.material(position)

    def soft_gradients(
        self, parts: Float[Tensor, "B H W 11"], behind: Float[Tensor, "B H W 3"], surface: Surface, rays: Rays
    ) -> Float[Tensor, "B H W 11"]:
        """Returns zeros that carry the soft silhouette's gradient (straight-through).

        Where the silhouette is solid, what is drawn may fade; where it is empty, what passes nearest to the ray may
        appear, in the background's colour and without a normal, as neither is known. Edges have gradients of their own.
        """
        if surface.distance is None:
            raise UserError("renderer: `silhouette` needs a scene that tells its signed distance (tetmesh, flexicubes)")
        soft, nearest = soft_silhouette(surface.distance, rays, self.silhouette)

        def image(values):
            return values.view(*behind.shape[:3], -1)

        away = (nearest - rays.origins).norm(dim=-1)
        appearing = torch.cat(
            [
                behind,
                torch.ones_like(behind[..., :1]),
                image(away),
                image(0.5 * nearest + 0.5),
                torch.zeros_like(behind),
            ],
            dim=-1,
        )
        opacity = parts[..., 3:4]
        drawn = torch.where(opacity > 1 - FLAT, parts, torch.where(opacity < FLAT, appearing, 0.0))
        return image(soft - soft.detach()) * drawn

    def small(self, image: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w C"]:
        """Averages blocks of pixels."""
        return F.avg_pool2d(image.permute(0, 3, 1, 2), self.supersample).permute(0, 2, 3, 1)
