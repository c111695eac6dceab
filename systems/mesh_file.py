"""A mesh that was made elsewhere: nothing is trained; it is shown and measured as the results of all methods are."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval

from threestudio_like.cameras import Cameras
from threestudio_like.config.ranges import Color
from threestudio_like.config.registry import configure
from threestudio_like.engine.record import git_revision
from threestudio_like.engine.system import Context, System, SystemConfig
from threestudio_like.errors import UserError
from threestudio_like.evaluate.scene import Evaluation, evaluate_scene
from threestudio_like.evaluate.scorer import Scorer
from threestudio_like.evaluate.shapes import health
from threestudio_like.export.mesh_io import write_meshes
from threestudio_like.export.origin import Origin
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.painted import PaintedRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.background import Solid
from threestudio_like.scenes.painted import read_painted
from threestudio_like.utils.paths import expanded


@dataclass
class MeshFileConfig(SystemConfig):
    """Configures how a mesh file is read and measured."""

    untrained = (*SystemConfig.untrained, "evaluation")

    file: str = field(kw_only=True)
    """The mesh: GLB, OBJ (with its textures) or PLY, or another format that trimesh reads. Its box is centred, and
    scaled to a diagonal of 1.9 scene units, as the Toybox's toys are."""
    steps: Annotated[int, Interval(ge=0, le=0)] = 0
    """None, as nothing is trained."""
    up: Literal["y", "z"] = "y"
    """The file's upward axis: y, with the front at +z, as in glTF, or z, with the front at -y, as in Blender."""
    background: Color = (0.85, 0.85, 0.85)
    """The colour behind it, the same as behind the results of the Toybox's recipes, because a scorer sees it."""
    evaluation: Evaluation = field(default_factory=Evaluation)
    """How it is shown, exported and measured. No part of it is dropped, however small."""


class MeshFile(System):
    """Shows, exports and measures a mesh file."""

    Config = MeshFileConfig

    def __init__(self, context: Context, config: MeshFileConfig | None = None, **fields):
        super().__init__()
        self.config = config = configure(self, config, fields)
        self.context, background = context, Solid(color=config.background)
        self.scene = read_painted(expanded(config.file), config.up, background, context.device)
        self.renderer = PaintedRenderer()
        if config.evaluation.scorer is not None:
            Scorer.load(config.evaluation.scorer)  # a missing one is reported before the work

    def parameter_groups(self):
        return ()

    def validate(self, previous: SystemConfig | None) -> None:
        super().validate(previous)
        for key in ("mesh_resolution", "mesh_threshold", "smallest_part", "texture_size"):
            if getattr(self.config.evaluation, key) != getattr(Evaluation, key):
                raise UserError(f"evaluation.{key}: a mesh file is exported as it is; take the key away")

    def views(self, cameras: Cameras, shading: Shading) -> list[Render]:
        """Renders the mesh, one camera after the other."""
        return list(self.renderer.images(self.scene, cameras, shading))

    def evaluate(self, folder: Path) -> dict[str, float]:
        """Writes the turntable; returns the `saturation` and the scores."""
        show = self.config.evaluation
        return evaluate_scene(self.views, display_shading, self.context.prompt, show, folder, self.context.device)

    def export(self, folder: Path) -> dict[str, float]:
        """Writes the mesh as it is measured; returns its figures, with vertices at one place counted as one."""
        mesh, show = self.scene.mesh(), self.config.evaluation
        prompt, made_by = self.context.prompt, (self.context.recipe, "mesh file", self.context.seed, git_revision())
        write_meshes(mesh, folder, show.formats, Origin(prompt, prompt, *made_by), show.size_mm)
        figures = {f"mesh_{name}": value for name, value in health(mesh.to_trimesh()).items()}
        return {"mesh_vertices": len(mesh.vertices), **figures}


def display_shading(cameras: Cameras) -> Shading:
    """Chooses the light in which it is shown and scored: none, as the colours are."""
    return Shading()
