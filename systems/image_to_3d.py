"""GECO as its user meets it: one image becomes a mesh in one pass (arXiv 2405.20327).

    image, noise -> generator -> six views -> reconstructor -> triplane -> mesh -> GLB
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from priors.generator import OneStepGenerator
from priors.multiview import MultiviewBackbone
from priors.reconstructor import Reconstructor
from priors.views import tile, untile
from systems.geco_data import noise
from systems.geco_results import rig_poses
from systems.reconstruction_results import body, mesh_of, scene_of, wait_for
from systems.results import Evaluation, evaluate_scene
from threestudio_like.config import Component
from threestudio_like.data.images import ImageLoading
from threestudio_like.data.toybox.multiview import MultiviewSet
from threestudio_like.evaluate.shapes import health
from threestudio_like.export import write_mesh
from threestudio_like.monitor import write_png
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.background import Solid
from threestudio_like.scenes.mesh import Mesh
from threestudio_like.scenes.triplane import Triplane

PARTS = ("image", "views", "reconstruction", "mesh", "export")
FRAMES = 10  # of the turntable, drawn at once


@dataclass(frozen=True)
class TextToImage:
    """The prior that makes an image of a text, and how it is asked; `view` is said after the prompt; `stop` as in
    `priors.sampling.ddim`."""

    backbone: Annotated[Component, "backbone"]
    view: str = ""
    scale: float = 3.0
    steps: int = 30
    stop: float = 0.0


@dataclass
class Generation:
    """`weights`: a folder with `generator/` and `reconstructor/`, such as a run leaves; null, what is in the recipe's
    `generator.weights` and `reconstructor.weights`. `example`: the image from which a finished run makes its mesh, a
    held-out toy's where null. `backdrop`: the turntable's, the same as behind per-scene methods' objects, because a judge sees
    it too. `threads`: of the CPU, at most; null, all. Small models are faster on one: several wait for each other."""

    weights: str | None = None
    text: TextToImage | None = None
    loading: ImageLoading = field(default_factory=ImageLoading)
    example: str | None = None
    backdrop: tuple[float, float, float] = (0.85, 0.85, 0.85)
    threads: int | None = None
    show: Evaluation = field(default_factory=Evaluation)

    def __post_init__(self):
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, got {self.threads}")


@dataclass(frozen=True)
class Made:
    """What became of an image: six views in 0..1, the object, its mesh; the seconds that each part took."""

    views: Float[Tensor, "6 3 S S"]
    scene: Triplane
    mesh: Mesh
    seconds: dict[str, float]


class ImageTo3D:
    """Loaded once, then called an image at a time."""

    def __init__(self, prior: MultiviewBackbone, generator: OneStepGenerator, reconstructor: Reconstructor,
                 toys: MultiviewSet, smallest_part: float = 0.02):
        """`toys` say how far away the six views' cameras are, and their field of view."""
        self.prior, self.generator, self.reconstructor = prior, generator, reconstructor
        self.poses = rig_poses(toys)[None].to(prior.device)
        self.smallest_part = smallest_part

    @torch.no_grad()
    def __call__(self, image: Float[Tensor, "3 h w"], *keys: object) -> Made:
        """The object of an image in 0..1 on white; its unseen sides depend on the keys. Raises NoSurface."""
        clock = Clock(self.prior.device)
        z = noise(self.prior, *keys)
        condition = self.prior.condition(image[None].to(self.prior.device))
        views = untile(self.prior.decode(self.generator(z, condition)))
        clock.stop("views")
        scene = scene_of(self.reconstructor, self.reconstructor(views, self.poses)[0])
        clock.stop("reconstruction")
        mesh = mesh_of(scene, self.smallest_part)
        clock.stop("mesh")
        return Made(views[0], scene, mesh, clock.seconds)


class Clock:
    """The seconds of one part after another, the device's work included."""

    def __init__(self, device: torch.device):
        self.device, self.seconds = device, {}
        self.begin = time.perf_counter()

    def stop(self, part: str) -> None:
        wait_for(self.device)
        self.seconds[part] = time.perf_counter() - self.begin
        self.begin = time.perf_counter()


def write_made(made: Made, image: Float[Tensor, "3 h w"], config: Generation, folder: Path,
               prompt: str = "") -> dict[str, float]:
    """Writes the mesh, the turntable, the condition image and the six views; the seconds of each part, and their sum
    without the turntable's, which is only to look at; how sound the mesh is, and what a scorer says of the prompt."""
    device = made.views.device
    clock = Clock(device)
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in config.show.formats:
        write_mesh(made.mesh, folder / f"mesh.{suffix}")
    clock.stop("export")
    seconds = made.seconds | clock.seconds
    write_png(folder / "image.png", image.permute(1, 2, 0))
    write_png(folder / "views.png", tile(made.views[None])[0].permute(1, 2, 0))
    renderer, shown = MeshRenderer(MeshRenderer.Config()), replace(made.scene, background=Solid(Solid.Config(config.backdrop)))
    views = lambda cameras, shading: [
        each for many in renderer.images(shown, cameras, shading, at_once=FRAMES) for each in one_by_one(many)]
    judged = evaluate_scene(views, lambda cameras: Shading(), prompt, config.show, folder, device)
    clock.stop("turntable")
    sound = {f"mesh_{name}": value for name, value in health(body(made.mesh)).items()}
    total = sum(seconds[part] for part in PARTS if part in seconds)
    seconds |= {"turntable": clock.seconds["turntable"], "total": total}
    return {f"{part}_seconds": value for part, value in seconds.items()} | {
        "mesh_vertices": len(made.mesh.vertices), **sound, **judged}


def one_by_one(view):
    """The renders of several cameras, each alone."""
    images = ("rgb", "opacity", "depth", "normal", "xyz")
    return [replace(view, **{name: getattr(view, name)[i:i + 1] for name in images}) for i in range(len(view.rgb))]
