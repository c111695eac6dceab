"""DreamFusion (Poole et al. 2022, arXiv 2209.14988): score distillation sampling on a NeRF, lit at random.

The scene is an Instant-NGP field in place of the paper's mip-NeRF 360. The light makes the geometry answer for the
image: a flat picture painted on a wall looks wrong as soon as it is lit (section 3.2).
"""

from dataclasses import dataclass, field

import torch

from systems.per_scene import PerScene, PerSceneConfig
from threestudio_like.cameras import Cameras
from threestudio_like.renderers.shading import Shading, sample_light


@dataclass
class ShadingConfig:
    """When the scene is lit, and how (DreamFusion, appendix A.2).

    Albedo only for the first `albedo_steps`; then lit with probability `lambertian_prob`, and of those textureless with
    probability `textureless_prob`. The light's direction is N(camera position, direction_std^2 I), its distance U(*distance).
    """

    albedo_steps: int = 1000
    lambertian_prob: float = 0.75
    textureless_prob: float = 0.5
    ambient: float = 0.1
    diffuse: float = 0.9
    direction_std: float = 1.0
    distance: tuple[float, float] = (0.8, 1.5)


@dataclass
class DreamFusionConfig(PerSceneConfig):
    shading: ShadingConfig = field(default_factory=ShadingConfig)


class DreamFusion(PerScene):
    """Per-scene distillation under random light."""

    Config = DreamFusionConfig

    def shading(self, step: int, cameras: Cameras, generator: torch.Generator) -> Shading:
        return random_shading(self.config.shading, step, cameras, generator)


def random_shading(config: ShadingConfig, step: int, cameras: Cameras, generator: torch.Generator) -> Shading:
    """The light of one step, for all its cameras (appendix A.2)."""
    lit, textureless = torch.rand(2, generator=generator, device=generator.device).tolist()
    if step < config.albedo_steps or lit >= config.lambertian_prob:
        return Shading("albedo")
    light = sample_light(cameras, config.distance, config.direction_std, generator)
    kind = "textureless" if textureless < config.textureless_prob else "lambertian"
    return Shading(kind, light, config.ambient, config.diffuse)
