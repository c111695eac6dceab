"""GECO as its user meets it: one image becomes a mesh in one pass (arXiv 2405.20327).

image, noise -> generator -> six views -> reconstructor -> triplane -> mesh -> GLB
"""

import contextlib
import copy
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from priors.backbones.multiview import MultiviewBackbone
from priors.generator import OneStepConfig, OneStepGenerator
from priors.reconstructor import Reconstructor
from priors.toybox.views import tile, untile
from priors.view_encoder import rig_poses
from systems.geco.refine import refined
from threestudio_like.cameras import Cameras, zero123plus_rig
from threestudio_like.config.ranges import Color, Count, NonNegative, Part, Whole
from threestudio_like.config.registry import Component
from threestudio_like.data.image_files import read
from threestudio_like.data.images import ImageLoading
from threestudio_like.data.toybox.multiview import MultiviewSet
from threestudio_like.engine.monitor import write_png
from threestudio_like.engine.timing import Clock
from threestudio_like.errors import NoSurfaceError, UserError
from threestudio_like.export.origin import Origin
from threestudio_like.export.presentation import Presentation, Views, write_object, write_turntable
from threestudio_like.pretrained import find_whole
from threestudio_like.renderers.painted import PaintedRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.background import Solid
from threestudio_like.scenes.convert import remove_small_components
from threestudio_like.scenes.fitted import FittedTriplane
from threestudio_like.scenes.mesh import Mesh
from threestudio_like.scenes.painted import PaintedScene
from threestudio_like.scenes.triplane import Triplane
from threestudio_like.utils.paths import expanded

log = logging.getLogger(__name__)
PARTS = ("image", "views", "reconstruction", "refinement", "mesh", "export")
FRAMES = 10  # of the turntable, drawn at once


@dataclass(frozen=True)
class TextToImage:
    """Configures the prior that makes an image of a text."""

    backbone: Annotated[Component, "backbone"]
    """The prior."""
    view: str = ""
    """Words that are added to the prompt."""
    scale: NonNegative = 3.0
    """Strength of classifier-free guidance."""
    steps: Count = 30
    """Steps of deterministic DDIM."""
    denoising_end: Part = 1.0
    """The share of the timesteps above which all steps lie."""
    draws: Whole = 0
    """Fresh noises that the image is the mean of at last, against grain (`priors.sampling.ddim`)."""


@dataclass
class Generation:
    """Configures generation in one pass, and how its results are shown."""

    weights: str | None = None
    """A folder with `generator/` and `reconstructor/`, as a run leaves; the recipe's own weights where null, and the
    recipe's own reconstructor where the folder has none."""
    text: TextToImage | None = None
    """The prior that draws prompts; without it only images can be given."""
    loading: ImageLoading = field(default_factory=ImageLoading)
    """How objects are cut out of their images."""
    example: str | None = None
    """The image from which a finished run makes its mesh; a held-out toy's where null."""
    backdrop: Color = (0.85, 0.85, 0.85)
    """The turntable's background, the same as behind per-scene methods' objects, because a scorer sees it."""
    refine: Whole = 0
    """Steps by which each object is fitted to its six views after the pass; 40 take 3 s on a core. For views that are
    true: what the generator's views get wrong is then in the object too."""
    views: str | None = None
    """A picture of six views of one's own, tiled as `views.png` is, in place of the generator's."""
    scorer: str | None = None
    """A scorer's folder; what is made of a prompt is scored."""
    show: Presentation = field(default_factory=Presentation)
    """How the objects are shown and exported."""


@dataclass(frozen=True)
class Reconstruction3D:
    """Holds an image's six views in 0..1, the object, its mesh, and the seconds that each part took."""

    views: Float[Tensor, "6 3 S S"]
    scene: Triplane | FittedTriplane
    mesh: Mesh
    seconds: dict[str, float]


class ImageTo3D:
    """Loaded once, then called an image at a time."""

    def __init__(
        self,
        prior: MultiviewBackbone,
        generator: OneStepGenerator,
        reconstructor: Reconstructor,
        toys: MultiviewSet,
        config: Generation | None = None,
    ):
        """`toys` say how far away the six views' cameras are, and their field of view.

        Raises UserError where `config.views` is no picture of six views.
        """
        self.prior, self.generator, self.reconstructor = prior, generator, reconstructor
        self.config = config or Generation()
        rig = toys.distance, toys.fov_deg, toys.size
        self.poses = rig_poses(*rig)[None].to(prior.device)
        self.cameras = zero123plus_rig(torch.zeros(1, device=prior.device), *rig)
        self.own = None if self.config.views is None else load_views(Path(self.config.views), toys.size)

    @torch.no_grad()
    def __call__(self, image: Float[Tensor, "3 h w"], *keys: object) -> Reconstruction3D:
        """The object of an image in 0..1 on white; its unseen sides depend on the keys. Raises NoSurfaceError."""
        clock = Clock(self.prior.device)
        views = self.views(image, *keys)
        clock.stop("views")
        reconstructed = self.reconstructor.scene(self.reconstructor(views, self.poses))
        clock.stop("reconstruction")
        scene: Triplane | FittedTriplane = reconstructed
        if self.config.refine > 0:
            scene = refined(reconstructed, views[0], self.cameras, self.config.refine)
            clock.stop("refinement")
        mesh = remove_small_components(scene.mesh(), self.config.show.smallest_part)
        clock.stop("mesh")
        return Reconstruction3D(views[0], scene, mesh, clock.seconds)

    def views(self, image: Float[Tensor, "3 h w"], *keys: object) -> Float[Tensor, "1 6 3 S S"]:
        """Returns the six views that were given, or those that the generator makes of an image."""
        if self.own is not None:
            return self.own[None].to(self.prior.device)
        condition = self.prior.condition(image[None].to(self.prior.device))
        return untile(self.prior.decode(self.generator(self.prior.noise_for(*keys), condition)))


def load_pipeline(config, device: torch.device) -> ImageTo3D:
    """Loads the folders that a GECO recipe names. Raises UserError where one is missing or does not fit."""
    prior = config.backbone.build(device)
    weights = config.generation.weights
    if weights is not None:
        weights = find_whole(weights) or weights  # a folder, or a name on the hub

    if weights is None and config.generator.weights is None:
        log.warning(
            "neither generation.weights nor generator.weights names a generator: this is the teacher's one step"
        )
    place = config.generator.weights if weights is None else f"{weights}/generator"
    generator = OneStepGenerator(prior, OneStepConfig(config.generator.scale, None, place)).ready(prior.dtype)
    folder = config.reconstructor.weights or config.reconstructor.pretrained
    if weights is not None and Path(weights, "reconstructor").exists():
        folder = f"{weights}/reconstructor"
    elif weights is not None:
        log.info("%s has no reconstructor; the recipe's is taken: %s", weights, folder)
    reconstructor = Reconstructor.load(folder).to(device).eval().requires_grad_(False)
    return ImageTo3D(prior, generator, reconstructor, config.data.views, config.generation)


def warm_up(pipeline: ImageTo3D) -> None:
    """Compiles and allocates what the first object would wait for."""
    size, pipeline = pipeline.prior.condition_size, copy.copy(pipeline)
    pipeline.config = replace(pipeline.config, refine=min(pipeline.config.refine, 1))
    with contextlib.suppress(NoSurfaceError):
        pipeline(torch.full((3, size, size), 0.5), 0)


def load_views(path: Path, size: int) -> Float[Tensor, "6 3 {size} {size}"]:
    """Reads a picture of six views, three rows of two, on white. Raises UserError where it is none."""
    picture = read(expanded(path))
    if abs(2 * picture.height - 3 * picture.width) > 2:  # a large one was made smaller, to whole pixels
        raise UserError(
            f"generation.views: {path} is {picture.width} x {picture.height} pixels; six views are three rows of two "
            "squares"
        )
    on_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    small = on_white.resize((2 * size, 3 * size), Image.Resampling.BICUBIC)
    return untile(torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 255)[0]


def save(
    made: Reconstruction3D, image: Float[Tensor, "3 h w"], config: Generation, folder: Path, origin: Origin
) -> dict[str, float]:
    """Writes the mesh, the condition image, the six views and the turntable; returns the seconds of each part, and
    their sum without the turntable's, which is only to look at. A texture is part of the export.
    """
    device = made.views.device
    clock = Clock(device)
    mesh = write_object(made.mesh, made.scene, config.show, folder, origin, device)
    clock.stop("export")
    seconds = made.seconds | clock.seconds
    write_png(folder / "image.png", image.permute(1, 2, 0))
    write_png(folder / "views.png", tile(made.views[None])[0].permute(1, 2, 0))
    write_turntable(views_of(mesh, config, device), unlit, config.show, folder, device)
    clock.stop("turntable")
    total = sum(seconds[part] for part in PARTS if part in seconds)
    seconds |= {"turntable": clock.seconds["turntable"], "total": total}
    return {f"{part}_seconds": value for part, value in seconds.items()} | {"mesh_vertices": len(made.mesh.vertices)}


def views_of(mesh: Mesh, config: Generation, device: torch.device) -> Views:
    """Returns what draws a mesh, as its files hold it, before its backdrop."""
    renderer, scene = PaintedRenderer(), PaintedScene.of(mesh, Solid(Solid.Config(config.backdrop)), device)
    return lambda cameras, shading: [
        one for many in renderer.images(scene, cameras, shading, at_once=FRAMES) for one in many.unbind()
    ]


def unlit(cameras: Cameras) -> Shading:
    """Shows an object in its own colours."""
    return Shading()
