"""Rasterises a scene's surface: exact visibility, smooth silhouettes, gradients to vertices and colours."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.cameras import Cameras
from threestudio_like.config import register
from threestudio_like.kernels.rasterize import Rasterizer, antialias, rasterize
from threestudio_like.renderers.base import Render, Renderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.mesh import Surface


@register("renderer", "mesh")
class MeshRenderer(Renderer):
    """Draws `scene.surface()`, coloured by `scene.material(points)`. Built as `cls(config)`."""

    @dataclass
    class Config:
        """Images are drawn `supersample` times larger a side and averaged. `rasterizer`: who finds the visible faces."""

        supersample: int = 2
        rasterizer: Rasterizer = "kernels"

        def __post_init__(self):
            if self.supersample < 1:
                raise ValueError(f"supersample must be at least 1, got {self.supersample}")

    def __init__(self, config: Config):
        super().__init__()
        self.supersample, self.rasterizer = config.supersample, config.rasterizer

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
        rgb, opacity, distance, xyz, normal = parts.split((3, 1, 1, 3, 3), dim=-1)
        rays = cameras.resized(height, width).rays()
        behind = scene.background(rays.directions.view(count, height * width, 3), generator).reshape(rgb.shape)
        return Render(rgb=rgb + (1 - opacity) * behind, opacity=opacity, depth=distance, normal=normal, xyz=xyz,
                      surface=surface)

    def small(self, image: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w C"]:
        """The means of blocks of pixels."""
        return F.avg_pool2d(image.permute(0, 3, 1, 2), self.supersample).permute(0, 2, 3, 1)
