"""Feed-forward generation: an image, or a text by way of one, becomes a mesh in one pass (GECO, arXiv 2405.20327).

    image, noise -> generator -> six views -> reconstructor -> triplane -> mesh -> GLB
"""

import json
import logging
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from priors.backbone import Backbone, read_scheduler
from priors.generator import OneStepConfig, OneStepGenerator
from priors.latent import LatentBackbone
from priors.multiview import MultiviewBackbone
from priors.reconstructor import Reconstructor
from priors.sampling import ddim
from priors.views import tile, untile
from systems.geco_data import noise
from systems.geco_results import rig_poses
from systems.reconstruction_results import body, mesh_of, scene_of, wait_for
from systems.results import Evaluation, evaluate_scene
from threestudio_like.checkpoint import write_text
from threestudio_like.config import Component
from threestudio_like.data.images import ImageLoading, image_files, load_image
from threestudio_like.data.toybox.multiview import MultiviewSet
from threestudio_like.errors import NoSurface, UserError
from threestudio_like.evaluate.shapes import health
from threestudio_like.export import write_mesh
from threestudio_like.monitor import peak_memory_mib, write_png
from threestudio_like.randomness import generator as make_generator
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.recipe import Recipe, slug
from threestudio_like.run import Run, write_recipe
from threestudio_like.scenes.mesh import Mesh
from threestudio_like.scenes.triplane import Triplane

log = logging.getLogger(__name__)
PARTS = ("image", "views", "reconstruction", "mesh", "export")
FRAMES = 10  # of the turntable, drawn at once


@dataclass(frozen=True)
class TextToImage:
    """The prior that makes an image of a text, and how it is asked; `view` is said after the prompt."""

    backbone: Annotated[Component, "backbone"]
    view: str = ""
    scale: float = 3.0
    steps: int = 30


@dataclass
class Generation:
    """`weights`: a folder with `generator/` and `reconstructor/`, such as a run leaves; null, what is in the recipe's
    `generator.weights` and `reconstructor.weights`. `example`: the image from which a finished run makes its mesh, a
    held-out toy's where null."""

    weights: str | None = None
    text: TextToImage | None = None
    loading: ImageLoading = field(default_factory=ImageLoading)
    example: str | None = None
    show: Evaluation = field(default_factory=Evaluation)


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


def write_made(made: Made, image: Float[Tensor, "3 h w"], show: Evaluation, folder: Path,
               prompt: str = "") -> dict[str, float]:
    """Writes the mesh, the turntable, the condition image and the six views; the seconds of each part, and their sum
    without the turntable's, which is only to look at; how sound the mesh is, and what a scorer says of the prompt."""
    device = made.views.device
    clock = Clock(device)
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in show.formats:
        write_mesh(made.mesh, folder / f"mesh.{suffix}")
    clock.stop("export")
    seconds = made.seconds | clock.seconds
    write_png(folder / "image.png", image.permute(1, 2, 0))
    write_png(folder / "views.png", tile(made.views[None])[0].permute(1, 2, 0))
    renderer = MeshRenderer(MeshRenderer.Config())
    views = lambda cameras, shading: [
        each for many in renderer.images(made.scene, cameras, shading, at_once=FRAMES) for each in one_by_one(many)]
    judged = evaluate_scene(views, lambda cameras: Shading(), prompt, show, folder, device)
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


@dataclass(frozen=True)
class Request:
    """What `--generate` was asked for: `n` objects of an image, or of each image of a folder; else of the prompt."""

    image: str | None = None
    n: int = 1


def take_request(overrides: list[str]) -> tuple[Request, list[str]]:
    """The request among the launcher's `key=value`, and the others. Raises UserError."""
    own = dict(text.split("=", 1) for text in overrides if text.startswith(("image=", "n=")))
    rest = [text for text in overrides if text.partition("=")[0] not in own]
    try:
        n = int(own.get("n", 1))
    except ValueError:
        n = 0
    if n < 1:
        raise UserError(f"n: how many objects to make of each image, at least 1; got '{own['n']}'")
    return Request(own.get("image") or None, n), rest


def generate(recipe: Recipe, request: Request) -> tuple[Path, int]:
    """Does what is asked; the folder, and the exit code: 1 where some images failed. Raises UserError where none can
    be made."""
    config = list(recipe.stages.values())[-1].config
    if not isinstance(getattr(config, "generation", None), Generation):
        raise UserError(f"--generate: '{recipe.name}' makes nothing in one pass; use --config geco.yaml")
    prompt = recipe.run.prompt.strip()
    if (request.image is None) == (not prompt):
        raise UserError("--generate: say image=PATH (an image or a folder), or prompt='a red duck'; one of them")
    if prompt and config.generation.text is None:
        raise UserError("--generate: the recipe has no `generation.text`, which would make an image of a prompt")
    files = image_files(Path(request.image)) if request.image is not None else []
    run = Run(recipe)
    device, seed = run.fabric.device, recipe.run.seed
    named = slug(Path(request.image).stem if request.image is not None else prompt)
    folder = Path(recipe.run.out or Path("outputs") / recipe.name / "generated" / named)
    folder.mkdir(parents=True, exist_ok=True)
    write_recipe(recipe, folder / "config.yaml")
    clock = Clock(device)
    maker = load_maker(config, device)
    text = config.generation.text.backbone.build(device) if prompt else None
    warm_up(maker)
    clock.stop("loading")
    if prompt:
        files = [folder / f"{slug(prompt)}.png"]
        write_png(files[0], draw(text, config.generation.text, prompt, seed))
        clock.stop("drawing")
    made, failed = {}, {}
    for name, file in unique_names(files).items():
        made |= make_of(maker, file, name, range(seed, seed + request.n), config.generation, folder, failed, prompt)
    status = "done" if not failed else "failed" if not made else "some failed"
    summary = {"status": status, "device": str(device), **{f"{part}_seconds": s for part, s in clock.seconds.items()},
               **means(made), "peak_memory_mib": round(peak_memory_mib(device)), "made": made, "failed": failed}
    write_text(folder / "metrics.json", json.dumps(summary, indent=2) + "\n")
    for reason in failed.values():
        log.warning("failed: %s", reason)
    if not made:
        raise UserError(next(iter(failed.values())) if len(failed) == 1 else
                        f"none of the {len(files)} images became a mesh; {folder / 'metrics.json'} says why")
    return folder, 1 if failed else 0


def means(made: dict[str, dict[str, float]]) -> dict[str, float]:
    """Of every figure, over the objects that have it."""
    names = dict.fromkeys(name for figures in made.values() for name in figures)
    of = {name: [figures[name] for figures in made.values() if name in figures] for name in names}
    return {name: sum(values) / len(values) for name, values in of.items()}


def make_of(maker: ImageTo3D, file: Path, name: str, seeds: range, config: Generation, folder: Path,
            failed: dict[str, str], prompt: str = "") -> dict[str, dict[str, float]]:
    """One image's objects, in folders by name and seed; what failed is added to `failed`, in a sentence."""
    begin, made = time.perf_counter(), {}
    try:
        image = load_image(file, maker.prior.view_size, config.loading)
    except UserError as error:
        failed[name] = str(error)
        return made
    seconds = {"image": time.perf_counter() - begin}
    for seed in seeds:
        own = f"{name}-{seed}"
        try:
            one = maker(image, seed)
        except NoSurface as error:
            failed[own] = f"{file}, seed {seed}: {error}"
            continue
        one = replace(one, seconds=seconds | one.seconds)
        made[own] = write_made(one, image, config.show, folder / own, prompt)
        write_text(folder / own / "metrics.json", json.dumps(made[own], indent=2) + "\n")
        log.info("%s: %.2f s (%s)", folder / own, made[own]["total_seconds"],
                 ", ".join(f"{part} {made[own][f'{part}_seconds']:.2f}" for part in PARTS))
    return made


def unique_names(files: list[Path]) -> dict[str, Path]:
    """A folder's name for each file, by its stem; by all of its name where two would be one."""
    names: dict[str, Path] = {}
    for file in files:
        short, whole = slug(file.stem), slug(file.name)
        choices = short, whole, *(f"{whole}-{i}" for i in range(2, 2 + len(files)))
        names[next(name for name in choices if name not in names)] = file
    return names


def load_maker(config, device: torch.device) -> ImageTo3D:
    """From the folders that a GECO recipe names. Raises UserError where one is missing or does not fit."""
    prior = config.backbone.build(device)
    weights = config.generation.weights
    at = lambda part, otherwise: otherwise if weights is None else f"{weights}/{part}"
    of = OneStepConfig(config.generator.scale, None, at("generator", config.generator.weights))
    generator = OneStepGenerator(of, prior).ready(prior.dtype)
    folder = at("reconstructor", config.reconstructor.weights or config.reconstructor.pretrained)
    reconstructor = Reconstructor.load(folder).to(device).eval().requires_grad_(False)
    return ImageTo3D(prior, generator, reconstructor, config.data.views, config.generation.show.smallest_part)


def warm_up(maker: ImageTo3D) -> None:
    """Compiles and allocates what the first object would wait for."""
    size = maker.prior.view_size
    try:
        maker(torch.full((3, size, size), 0.5), 0)
    except NoSurface:
        pass


@torch.no_grad()
def draw(backbone: Backbone, config: TextToImage, prompt: str, seed: int) -> Float[Tensor, "H W 3"]:
    """An image of the prompt, in 0..1."""
    device = backbone.device
    text, null = backbone.embed([f"{prompt}, {config.view}" if config.view else prompt, ""])[:, None]
    size = backbone.image_size
    shape = backbone.encode(torch.zeros(1, 3, size, size, device=device)).shape[1:]
    predict = lambda x_t, t, told: backbone.output_given(x_t.to(backbone.dtype), t, told.to(backbone.dtype), None)[
        :, :shape[0]].float()
    clip = None if isinstance(backbone, LatentBackbone) else lambda x: backbone.encode(backbone.decode(x))
    x = ddim(predict, read_scheduler(backbone.folder), text, null, shape, config.scale, config.steps,
             make_generator(device, "image of a text", seed), clip)
    return backbone.decode(x)[0].permute(1, 2, 0)
