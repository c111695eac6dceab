"""Runs `--generate`: meshes of images, of folders of them, or of a text by way of an image, by a loaded GECO."""

import hashlib
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from priors.familiarity import unfamiliar
from systems.geco.drawing import draw_object
from systems.geco.pipeline import PARTS, Generation, ImageTo3D, Reconstruction3D, load_pipeline, save, warm_up
from threestudio_like.config.recipe import Recipe, changed_key, slug, unique_slug
from threestudio_like.data.image_files import image_files
from threestudio_like.data.images import load_image
from threestudio_like.engine import parts
from threestudio_like.engine.record import Record, git_revision, write_recipe
from threestudio_like.engine.run import Run
from threestudio_like.engine.run_folder import check_place, is_run, lock, move_aside, names_in, read_map, written
from threestudio_like.engine.system import Generated
from threestudio_like.engine.timing import Clock
from threestudio_like.errors import NoSurfaceError, UserError
from threestudio_like.export.origin import Origin
from threestudio_like.utils.files import remove_unfinished, write_json
from threestudio_like.utils.paths import expanded
from threestudio_like.utils.threads import threads

log = logging.getLogger(__name__)
Evaluate = Callable[[Reconstruction3D, Generation, str], dict[str, float]]
"""Measures an object that was made of a prompt (empty where it was made of an image)."""
METHOD = "GECO"


def generate(recipe: Recipe, images: tuple[str, ...], n: int, evaluate: Evaluate) -> Generated:
    """Makes `n` objects of each image, or image of a folder; without images, of the recipe's prompt.

    Raises UserError where no object can be made.
    """
    config, prompt = list(recipe.stages.values())[-1].config, recipe.run.prompt.strip()
    check_request(recipe, config, images, n, prompt)
    files = list(dict.fromkeys(file for image in images for file in image_files(Path(image))))
    run = Run(recipe)
    device, seed = run.fabric.device, recipe.run.seed
    named = name_for(" ".join(Path(image).stem for image in images) or prompt)
    folder = expanded(recipe.run.out or Path("outputs") / recipe.name / "generated" / named)
    clock, asked = Clock(device), {"image": " ".join(images) or None, "prompt": prompt, "n": n}
    check_place(folder)
    with lock(folder), threads(recipe.run.threads):
        pipeline = load_pipeline(config, device)
        text = config.generation.text.backbone.build(device) if prompt else None
        warm_up(pipeline)
        clock.stop("loading")
        record = make_ready(folder, recipe, asked)
        origin = Origin(prompt, prompt, recipe.name, METHOD, revision=git_revision())
        work = Work(pipeline, config.generation, folder, evaluate, origin)
        with record.status(device, True):
            try:
                if prompt:
                    files = [folder / f"{slug(prompt)}.png"]
                    draw_object(text, config.generation, prompt, seed, files[0], pipeline.prior.condition_size)
                    clock.stop("drawing")
                for name, file in unique_names(files).items():
                    work.objects(file, name, range(seed, seed + n))
            finally:
                record.metrics |= {f"{part}_seconds": s for part, s in clock.seconds.items()} | means(work.made)
                record.metrics |= {"made": work.made, "failed": work.failed}
            if not work.made:
                raise UserError(nothing_made(work.failed, len(files), folder))
            record.metrics["status"] = "some failed" if work.failed else "done"
            first = folder / next(iter(work.made)) / "turntable.png"
            log.info("done: %d of %d objects; open %s", len(work.made), len(files) * n, first)
    for reason in work.failed.values():
        log.warning("failed: %s", reason)
    return Generated(folder, work.failed)


def nothing_made(failed: dict[str, str], count: int, folder: Path) -> str:
    """Says why no object was made of `count` images."""
    if len(failed) == 1:
        return next(iter(failed.values()))
    return f"no mesh was made of {count} images; {folder / 'metrics.json'} says why"


def check_request(recipe: Recipe, config, images: tuple[str, ...], n: int, prompt: str) -> None:
    """Raises UserError if the recipe cannot generate, or not from these inputs."""
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


@dataclass(frozen=True)
class Work:
    """Holds what all objects of a command share, and what became of them."""

    pipeline: ImageTo3D
    config: Generation
    folder: Path
    evaluate: Evaluate
    origin: Origin
    made: dict[str, dict[str, float]] = field(default_factory=dict)
    """The figures of the objects that were made, by their folders' names."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why there is none, by the names of images and objects."""

    def objects(self, file: Path, name: str, seeds: range) -> None:
        """Makes an object of an image for each seed; one that was made before this command was stopped is kept."""
        began = time.perf_counter()
        try:
            image = load_image(file, self.pipeline.prior.condition_size, self.config.loading)
        except UserError as error:
            self.failed[name] = str(error)
            return
        strange = unfamiliar(self.pipeline.prior, image)
        if strange is not None:
            log.warning("%s: %s", file, strange)
        loading = {"image": time.perf_counter() - began}
        source = {"image": str(file), "image_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for seed in seeds:
            own = f"{name}-{seed}"
            before = read_map(self.folder / own / "metrics.json")
            if source.items() <= before.items():
                self.made[own] = {key: value for key, value in before.items() if key not in source}
                continue
            try:
                made = self.pipeline(image, seed)
            except NoSurfaceError as error:
                self.failed[own] = f"{file}, seed {seed}: {error}"
                continue
            self.made[own] = self.leave(replace(made, seconds=loading | made.seconds), image, own, seed)
            write_json(self.folder / own / "metrics.json", self.made[own] | source)

    def leave(self, made: Reconstruction3D, image: Float[Tensor, "3 h w"], own: str, seed: int) -> dict[str, float]:
        """Writes an object into its folder and measures it. One without a prompt is called by its folder."""
        origin = replace(self.origin, name=self.origin.name or own, seed=seed)
        with parts.collected() as left_out:
            figures = save(made, image, self.config, self.folder / own, origin)
            with parts.part("evaluation"):
                figures |= self.evaluate(made, self.config, origin.prompt)
        seconds = [f"{part} {figures[key]:.2f}" for part in PARTS if (key := f"{part}_seconds") in figures]
        log.info("%s: %.2f s (%s)", self.folder / own, figures["total_seconds"], ", ".join(seconds))
        return figures | ({"left_out": left_out} if left_out else {})


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
