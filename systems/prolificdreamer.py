"""ProlificDreamer (Wang et al. 2023, arXiv 2305.16213): n scenes as particles of one distribution, in three stages.

Stage 1 distils a NeRF by VSD at a rising resolution; stage 2 its geometry, as a DMTet, by SDS on the shape alone; stage
3 the texture of the fixed mesh by VSD (section 4). What the stages differ in is their recipe: scene, guidance, light.
"""

from dataclasses import dataclass, field

from systems.dreamfusion import DreamFusion, DreamFusionConfig, ShadingConfig


@dataclass
class ProlificDreamerConfig(DreamFusionConfig):
    """Configures a stage of ProlificDreamer."""

    shading: ShadingConfig = field(default_factory=lambda: ShadingConfig(lambertian_prob=0.0))
    """The paper's renders are never lit; a geometry stage whose prior knows no normal maps may be."""


class ProlificDreamer(DreamFusion):
    """Per-scene distillation of particles; unlit unless the recipe says otherwise."""

    Config = ProlificDreamerConfig
