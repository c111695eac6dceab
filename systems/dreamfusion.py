"""DreamFusion (Poole et al. 2022, arXiv 2209.14988): score distillation sampling on a NeRF, lit at random.

The scene is an Instant-NGP field in place of the paper's mip-NeRF 360. The light makes the geometry answer for the
image: a flat picture painted on a wall looks wrong as soon as it is lit (section 3.2).
"""

from dataclasses import dataclass, field
from typing import Literal

import torch

from systems.per_scene import PerScene, PerSceneConfig
from threestudio_like.cameras import Cameras
from threestudio_like.config.ranges import DistanceRange, NonNegative, Share, Whole
from threestudio_like.renderers.shading import Shading, sample_light


@dataclass
class ShadingConfig:
    """Configures the random light (DreamFusion, appendix A.2).

    The light's direction is N(camera position, direction_std^2 I), its distance U(*distance).
    """

    albedo_steps: Whole = 1000
    """Only albedo for so many steps."""
    lambertian_prob: Share = 0.75
    """How often the scene is lit after that."""
    textureless_prob: Share = 0.5
    """How often a lit scene is shown without its colours."""
    ambient: NonNegative = 0.1
    """Brightness where no light falls."""
    diffuse: NonNegative = 0.9
    """Brightness that the light adds where it falls straight."""
    direction_std: NonNegative = 1.0
    """Spread of the light's direction around the camera's."""
    distance: DistanceRange = (0.8, 1.5)
    """Range of the light's distance."""


@dataclass
class DreamFusionConfig(PerSceneConfig):
    """Configures DreamFusion."""

    shading: ShadingConfig = field(default_factory=ShadingConfig)
    """The light of the training views."""

    @property
    def may_need_normals(self) -> bool:
        lit = self.shading.lambertian_prob > 0 and self.shading.albedo_steps < self.steps
        return lit or super().may_need_normals


class DreamFusion(PerScene):
    """Per-scene distillation under random light."""

    Config = DreamFusionConfig

    def shading(self, step: int, cameras: Cameras, generator: torch.Generator) -> Shading:
        """Draws the light of one step, for all its cameras (appendix A.2)."""
        config = self.config.shading
        lit, textureless = torch.rand(2, generator=generator, device=generator.device).tolist()
        if step < config.albedo_steps or lit >= config.lambertian_prob:
            return Shading("albedo")
        light = sample_light(cameras, config.distance, config.direction_std, generator)
        kind: Literal["textureless", "lambertian"] = (
            "textureless" if textureless < config.textureless_prob else "lambertian"
        )
        return Shading(kind, light, config.ambient, config.diffuse)
