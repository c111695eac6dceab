"""Runs `--generate`: meshes of images, of folders of them, or of a text by way of an image, by a loaded GECO."""

import contextlib
import copy
import hashlib
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from priors.backbones.base import Backbone
from priors.backbones.latent import VAEBackbone
from priors.endings import Ended
from priors.familiarity import unfamiliar
from priors.generator import OneStepConfig, OneStepGenerator
from priors.reconstructor import Reconstructor
from priors.sampling import ddim
from systems.geco.pipeline import PARTS, Generation, ImageTo3D, Reconstruction3D, TextToImage, save
from threestudio_like.config.recipe import Recipe, changed_key, slug, unique_slug
from threestudio_like.data.image_files import image_files
from threestudio_like.data.images import load_image
from threestudio_like.engine import parts
from threestudio_like.engine.monitor import write_png
from threestudio_like.engine.record import Record, git_revision, write_recipe
from threestudio_like.engine.run import Run
from threestudio_like.engine.run_folder import check_place, is_run, lock, move_aside, names_in, read_map, written
from threestudio_like.engine.timing import Clock
from threestudio_like.errors import NoSurfaceError, UserError
from threestudio_like.export.origin import Origin
from threestudio_like.pretrained import find_whole
from threestudio_like.utils.files import remove_unfinished, write_json
from threestudio_like.utils.paths import expanded
from threestudio_like.utils.seeding import generator as make_generator
from threestudio_like.utils.threads import threads

log = logging.getLogger(__name__)
Evaluate = Callable[[Reconstruction3D, Generation, str], dict[str, float]]
"""Measures an object that was made of a prompt (empty where it was made of an image)."""
METHOD = "GECO"
DRAWINGS = 5
"""Of a text, at most, until the object of one can be cut out."""


def generate(recipe: Recipe, images: tuple[str, ...], n: int, evaluate: Evaluate) -> tuple[Path, int]:
    """Makes `n` objects of each image, or image of a folder; without images, of the recipe's prompt.

    Returns the folder and the exit code: 1 where some images failed. Raises UserError where no object can be made.
    """
    config, prompt = list(recipe.stages.values())[-1].config, recipe.run.prompt.strip()
    check_request(recipe, config, images, n, prompt)
    files = list(dict.fromkeys(file for image in images for file in image_files(Path(image))))
    run = Run(recipe)
    device, seed = run.fabric.device, recipe.run.seed
    named = name_for(" ".join(Path(image).stem for image in images) or prompt)
    folder = expanded(recipe.run.out or Path("outputs") / recipe.name / "generated" / named)
    clock, made, failed = Clock(device), {}, {}
    asked = {"image": " ".join(images) or None, "prompt": prompt, "n": n}
    check_place(folder)
    with lock(folder), threads(recipe.run.threads):
        pipeline = load_pipeline(config, device)
        text = config.generation.text.backbone.build(device) if prompt else None
        warm_up(pipeline)
        clock.stop("loading")
        record = make_ready(folder, recipe, asked)
        with record.status(device, True):
            try:
                if prompt:
                    files = [folder / f"{slug(prompt)}.png"]
                    draw_object(text, config.generation, prompt, seed, files[0], pipeline.prior.condition_size)
                    clock.stop("drawing")
                origin = Origin(prompt, prompt, recipe.name, METHOD, revision=git_revision())
                for name, file in unique_names(files).items():
                    made |= generate_one(
                        pipeline, file, name, range(seed, seed + n), config.generation, folder, failed, evaluate, origin
                    )
            finally:
                record.metrics |= {f"{part}_seconds": s for part, s in clock.seconds.items()} | means(made)
                record.metrics |= {"made": made, "failed": failed}
            if not made:
                raise UserError(
                    next(iter(failed.values()))
                    if len(failed) == 1
                    else f"no mesh was made of {len(files)} images; {folder / 'metrics.json'} says why"
                )
            record.metrics["status"] = "some failed" if failed else "done"
            log.info(
                "done: %d of %d objects; open %s",
                len(made),
                len(files) * n,
                folder / next(iter(made)) / "turntable.png",
            )
    for reason in failed.values():
        log.warning("failed: %s", reason)
    return folder, 1 if failed else 0


def check_request(recipe: Recipe, config, images: tuple[str, ...], n: int, prompt: str) -> None:
    """Raises UserError where the recipe generates nothing, or not of what is given."""
    if not isinstance(getattr(config, "generation", None), Generation):
        raise UserError(f"--generate: '{recipe.name}' makes nothing in one pass; use --config geco.yaml")
    if bool(images) == bool(prompt):
        raise UserError("--generate: say image=PATH (an image or a folder), or prompt='a red duck'; one of them")
    if config.generation.views is not None and (n > 1 or len(images) != 1):
        raise UserError("generation.views: they are of one object; give the one image that names it, and n=1")
    if prompt and config.generation.text is None:
        raise UserError("--generate: the recipe has no `generation.text`, which would make an image of a prompt")


def make_ready(folder: Path, recipe: Recipe, asked: dict[str, Any]) -> Record:
    """Makes the folder with the recipe in it. Raises UserError where a training run is there.

    What was generated there before is kept aside, unless the same was asked for and is not done: then it goes on.
    """
    if (folder / "checkpoints").exists():
        raise UserError(f"{folder}: a training run is there; give another out=")
    stored, before = folder / "config.yaml", read_map(folder / "metrics.json")
    same = is_run(folder) and changed_key(stored, recipe.plain) is None and before.get("asked", asked) == asked
    if is_run(folder) and (not same or before.get("status") == "done"):
        log.info("what was generated here before is kept as %s", move_aside(folder))
    record = Record(folder)
    record.others = names_in(folder) - (written(folder) if is_run(folder) else {"sweep.json"})
    folder.resolve().mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    write_recipe(recipe, stored)
    record.metrics |= {"recipe": recipe.name, "asked": asked}
    return record


def means(made: dict[str, dict[str, float]]) -> dict[str, float]:
    """Averages every figure over the objects that have it."""
    of: dict[str, list[float]] = {}
    for figures in made.values():
        for name, value in figures.items():
            if isinstance(value, int | float):
                of.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in of.items()}


def generate_one(
    pipeline: ImageTo3D,
    file: Path,
    name: str,
    seeds: range,
    config: Generation,
    folder: Path,
    failed: dict[str, str],
    evaluate: Evaluate,
    origin: Origin,
) -> dict[str, dict[str, float]]:
    """Makes one image's objects, in folders by name and seed; those without a prompt are called by their folder.

    What failed is added to `failed`, in a sentence.
    """
    begin, made = time.perf_counter(), {}
    try:
        image = load_image(file, pipeline.prior.condition_size, config.loading)
    except UserError as error:
        failed[name] = str(error)
        return made
    strange = unfamiliar(pipeline.prior, image)
    if strange is not None:
        log.warning("%s: %s", file, strange)
    seconds = {"image": time.perf_counter() - begin}
    source = {"image": str(file), "image_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    for seed in seeds:
        own = f"{name}-{seed}"
        before = read_map(folder / own / "metrics.json")
        if source.items() <= before.items():  # made before this command was stopped
            made[own] = {key: value for key, value in before.items() if key not in source}
            continue
        try:
            one = pipeline(image, seed)
        except NoSurfaceError as error:
            failed[own] = f"{file}, seed {seed}: {error}"
            continue
        one = replace(one, seconds=seconds | one.seconds)
        with parts.collected() as left_out:
            made[own] = save(one, image, config, folder / own, replace(origin, name=origin.name or own, seed=seed))
            with parts.part("evaluation"):
                made[own] |= evaluate(one, config, origin.prompt)
        made[own] |= {"left_out": left_out} if left_out else {}
        write_json(folder / own / "metrics.json", made[own] | source)
        log.info(
            "%s: %.2f s (%s)",
            folder / own,
            made[own]["total_seconds"],
            ", ".join(f"{part} {made[own][key]:.2f}" for part in PARTS if (key := f"{part}_seconds") in made[own]),
        )
    return made


def unique_names(files: list[Path]) -> dict[str, Path]:
    """Names a folder for each file, by its stem; by all of its name where two would be one."""
    names: dict[str, Path] = {}
    for file in files:
        short, whole = name_for(file.stem), slug(file.name)
        choices = itertools.chain((short, whole), (f"{whole}-{i}" for i in itertools.count(2)))
        names[next(name for name in choices if name not in names)] = file
    return names


def name_for(text: str) -> str:
    """Names a folder for a text: by its words, with a hash where they do not say all of it."""
    words = slug(text)
    return words if words == text.replace(" ", "-") else unique_slug(text)


def load_pipeline(config, device: torch.device) -> ImageTo3D:
    """Loads the folders that a GECO recipe names. Raises UserError where one is missing or does not fit."""
    prior = config.backbone.build(device)
    weights = config.generation.weights
    if weights is not None:
        weights = find_whole(weights) or weights  # a folder, or a name on the hub

    def at(part, otherwise):
        return otherwise if weights is None else f"{weights}/{part}"

    if weights is None and config.generator.weights is None:
        log.warning(
            "neither generation.weights nor generator.weights names a generator: this is the teacher's one step"
        )
    of = OneStepConfig(config.generator.scale, None, at("generator", config.generator.weights))
    generator = OneStepGenerator(prior, of).ready(prior.dtype)
    folder = at("reconstructor", config.reconstructor.weights or config.reconstructor.pretrained)
    reconstructor = Reconstructor.load(folder).to(device).eval().requires_grad_(False)
    return ImageTo3D(prior, generator, reconstructor, config.data.views, config.generation)


def warm_up(pipeline: ImageTo3D) -> None:
    """Compiles and allocates what the first object would wait for."""
    size, pipeline = pipeline.prior.condition_size, copy.copy(pipeline)
    pipeline.config = replace(pipeline.config, refine=min(pipeline.config.refine, 1))
    with contextlib.suppress(NoSurfaceError):
        pipeline(torch.full((3, size, size), 0.5), 0)


def draw_object(backbone: Backbone, config: Generation, prompt: str, seed: int, file: Path, size: int) -> None:
    """Draws an image of the prompt into the file; anew where its object cannot be told from the background."""
    for attempt in range(DRAWINGS):
        write_png(file, draw(backbone, config.text, [prompt], seed, attempt)[0].permute(1, 2, 0))
        try:
            load_image(file, size, config.loading)
            return
        except UserError as error:
            log.info("drawing %d of at most %d: %s", attempt + 1, DRAWINGS, error)


@torch.no_grad()
def draw(backbone: Backbone, config: TextToImage, prompts: list[str], *keys: object) -> Float[Tensor, "N 3 H W"]:
    """Draws an image of each prompt, in 0..1; others for other keys."""
    device = backbone.device
    ending = config.view and f", {config.view}"
    *texts, uncond = backbone.embed([*(Ended(prompt, ending) for prompt in prompts), ""])
    size = backbone.image_size
    shape = backbone.encode(torch.zeros(1, 3, size, size, device=device)).shape[1:]

    def predict(x_t, t, texts):
        return backbone.output(x_t.to(backbone.dtype), t, texts.to(backbone.dtype), None)[:, : shape[0]].float()

    clip = None if isinstance(backbone, VAEBackbone) else lambda x: backbone.encode(backbone.decode(x))
    x = ddim(
        predict,
        backbone.scheduler,
        torch.stack(texts),
        uncond.expand(len(texts), -1, -1),
        shape,
        scale=config.scale,
        steps=config.steps,
        generator=make_generator(device, "image of a text", *keys),
        clip=clip,
        denoising_end=config.denoising_end,
        draws=config.draws,
    )
    return backbone.decode(x)
