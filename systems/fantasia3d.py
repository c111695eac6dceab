"""Fantasia3D (Chen et al. 2023, arXiv 2303.13873): the shape first, by its looks as a shape; then a material on it.

Geometry stages optimise a DMTet seen by guidance under random light or as a map of normals; the appearance stage keeps
the shape and optimises base colour, roughness and metallic under an environment light that turns around the object, so
that what belongs to the light does not end up in the material (section 3.3). SweetDreamer adds one guidance term.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from systems.dreamfusion import DreamFusion, DreamFusionConfig
from threestudio_like.cameras import Cameras
from threestudio_like.errors import UserError
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.environment import EnvironmentLight
from threestudio_like.renderers.shading import Shading


@dataclass
class Fantasia3DConfig(DreamFusionConfig):
    """Configures a stage of Fantasia3D; `shading` is how the geometry stages light the shape."""

    environment: EnvironmentLight | None = None
    """The appearance stage's light; null in the geometry stages."""
    turned_normals: bool = False
    """Whether guidance sees each view's normals turned at random, as in the coarse stage of the authors' code: so no
    side of the shape has a colour of its own there."""

    def __post_init__(self):
        super().__post_init__()
        if self.renderer.cls.draws != "mesh":
            raise UserError(f"renderer: this system needs one that draws a mesh, and '{self.renderer.type}' does not")
        if self.environment is not None and self.scene.config.material != "pbr":
            raise UserError("scene.material: an environment light needs 'pbr'")


class Fantasia3D(DreamFusion):
    """Per-scene distillation on a mesh: its geometry stages without, its appearance stage with an environment."""

    Config = Fantasia3DConfig

    def shading(self, step: int, cameras: Cameras, generator: torch.Generator) -> Shading:
        if self.config.environment is None:
            return super().shading(step, cameras, generator)
        turn = 2 * math.pi * torch.rand(1, generator=generator, device=generator.device)
        return self.lit(cameras, turn.expand(len(cameras)))

    def guided_view(self, view: Render, generator: torch.Generator) -> Render:
        if not self.config.turned_normals or view.normal is None:
            return view
        turns = random_turns(len(view.normal), generator)
        return replace(view, normal=torch.einsum("bij,bhwj->bhwi", turns, view.normal))

    def display_shading(self, cameras: Cameras) -> Shading:
        if self.config.environment is None:
            return super().display_shading(cameras)
        return self.lit(cameras, torch.zeros(len(cameras), device=cameras.c2w.device))

    def lit(self, cameras: Cameras, turn: torch.Tensor) -> Shading:
        """Lights the cameras' views by the environment, turned by these angles in radians."""
        return Shading("environment", self.config.environment.light(turn), eye=cameras.position)


def random_turns(count: int, generator: torch.Generator) -> Float[Tensor, "B 3 3"]:
    """Draws rotations: by any angle around the vertical axis, and then by any around a horizontal one."""
    angles = 2 * math.pi * torch.rand(2, count, generator=generator, device=generator.device)
    (cos, tilt_cos), (sin, tilt_sin) = angles.cos(), angles.sin()
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    around = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=-1).view(-1, 3, 3)
    tilt = torch.stack([one, zero, zero, zero, tilt_cos, -tilt_sin, zero, tilt_sin, tilt_cos], dim=-1).view(-1, 3, 3)
    return tilt @ around
