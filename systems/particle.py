"""Holds a scene that is optimised with its renderer and the tight box around it."""

from typing import Any

from torch import nn

from threestudio_like.cameras import Cameras
from threestudio_like.config.registry import Component
from threestudio_like.errors import UserError
from threestudio_like.evaluate.scene import Evaluation
from threestudio_like.renderers.base import Render, check_scene, name_of
from threestudio_like.renderers.ccm import TightBox
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.base import MeshSettings, Scene
from threestudio_like.scenes.trainable import TrainableScene


class Particle(nn.Module):
    """One of the scenes that a per-scene method optimises (n > 1 in ProlificDreamer)."""

    scene: Any
    """A `TrainableScene` that follows the protocol of the renderer."""

    def __init__(self, scene: Component, renderer: Component):
        """Raises UserError where the renderer cannot draw the scene, or the scene cannot be trained."""
        super().__init__()
        self.scene = scene.build()
        self.renderer = renderer.build()
        self.box = TightBox()
        check_scene(self.renderer, self.scene)
        if not isinstance(self.scene, TrainableScene):
            name = name_of("scene", self.scene)
            raise UserError(f"scene: a '{name}' cannot be trained; derive its class from TrainableScene")

    def views(self, cameras: Cameras, shading: Shading, normals: bool = False) -> list[Render]:
        """Renders the scene for looking at, one camera after the other."""
        return list(self.renderer.images(self.scene, cameras, shading, normals))

    def visible(self, evaluation: Evaluation) -> Scene:
        """Returns what of the scene its renderer draws, for export."""
        return self.renderer.visible(self.scene, MeshSettings(evaluation.mesh_resolution, evaluation.mesh_threshold))

    def start_from(self, previous: "Particle") -> None:
        """Takes over another stage's result."""
        self.scene.start_from(previous.renderer.visible(previous.scene))
        self.renderer.start_from(previous.renderer)
