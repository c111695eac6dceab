"""Reads a comparison: methods x prompts x seeds, and what is measured and claimed of them, from one YAML file."""

import itertools
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from threestudio_like.config.loading import CONFIGS, find_recipe, load, to_the_letter
from threestudio_like.config.plugins import plug_in
from threestudio_like.config.recipe import digest, read_blocks, read_run, unique_slug
from threestudio_like.config.registry import parse
from threestudio_like.config.renamed import RENAMED, look_up
from threestudio_like.config.run_config import TEXT_KEYS
from threestudio_like.errors import UserError, nearest
from threestudio_like.evaluate.metrics import find_metric
from threestudio_like.experiments import mesh_files
from threestudio_like.experiments.config import ComparisonConfig, Method
from threestudio_like.experiments.jobs import Job, name_of


@dataclass(frozen=True)
class Cell:
    """One run of a comparison."""

    method: str
    prompt: str
    seed: int
    job: Job


@dataclass(frozen=True)
class Comparison:
    """A parsed comparison: its report's folder, its methods and its runs in order."""

    name: str
    config: ComparisonConfig
    methods: dict[str, Method]
    folder: Path
    cells: tuple[Cell, ...]

    @property
    def in_turn(self) -> list[Cell]:
        """The runs seed by seed and prompt by prompt, so that a comparison that is half done is fair."""
        seeds, prompts = self.config.seeds, self.config.prompts
        return sorted(self.cells, key=lambda cell: (seeds.index(cell.seed), prompts.index(cell.prompt)))


def parse_comparison(plain: dict, name: str, beside: Path | None = None) -> Comparison:
    """Reads plain data; recipes may lie `beside` the comparison's file.

    Raises UserError: empty or doubled lists, unknown metrics, methods without a recipe.
    """
    known = [one.name for one in fields(ComparisonConfig)]
    for key in plain:
        if (new := look_up(RENAMED, (key,))) in known:
            raise UserError(f"{name}: unknown key '{key}'; it is '{new}' now")
        if key not in known:
            raise UserError(f"{name}: unknown key '{key}'{nearest(key, known)}; a key of its recipes is `keys.{key}`")
    config = parse(ComparisonConfig, plain, "")
    methods = config.methods or expand(config, name)
    check_lists(config, name)
    check_claims(config, methods, name)
    plug_in(config.imports)
    methods = resolve(config, methods, name, beside)
    folder = Path(config.out or f"outputs/comparisons/{name}")
    runs = Path(config.runs) if config.runs else folder.parent / "runs"
    cells = build_cells(config, methods, runs, name)
    check_keys(cells)
    check_metrics(config, name)
    return Comparison(name, config, methods, folder, cells)


def check_keys(cells: tuple[Cell, ...]) -> None:
    """Raises UserError for a mistaken key of a method, before anything heavy is imported for it."""
    for method, one in {cell.method: cell for cell in reversed(cells)}.items():
        plain = load(one.job.config, one.job.keys)
        read_blocks(plain, method, read_run(plain), [])


def check_lists(config: ComparisonConfig, name: str) -> None:
    """Raises UserError for an entry that is there twice."""
    for key, values in (("prompts", config.prompts), ("seeds", config.seeds), ("metrics", config.metrics)):
        if len(set(values)) < len(values):
            raise UserError(f"{name}: '{key}' has the same entry twice")


def check_metrics(config: ComparisonConfig, name: str) -> None:
    """Raises UserError for an unknown metric."""
    for metric in (*config.metrics, *(claim.metric for claim in config.claims)):
        try:
            find_metric(metric)
        except UserError as error:
            raise UserError(f"{name}: {error}") from None


def check_claims(config: ComparisonConfig, methods: dict[str, Method], name: str) -> None:
    """Raises UserError for a claim about a method that there is not."""
    for claim in config.claims:
        for method in (claim.method, claim.other):
            if method is not None and method not in methods:
                raise UserError(f"{name}: a claim is about '{method}', which is not a method{nearest(method, methods)}")


def resolve(config: ComparisonConfig, methods: dict[str, Method], name: str, beside: Path | None) -> dict[str, Method]:
    """Finds the recipe of each method, one outside `configs/` named by its path, or its meshes. Raises UserError."""
    resolved = dict(methods)
    for method, chosen in methods.items():
        try:
            if chosen.meshes:
                pattern = mesh_files.find(chosen.meshes, config.prompts, config.seeds, beside)
                resolved[method] = replace(chosen, meshes=pattern)
                continue
            path = find_recipe(chosen.config, beside)
        except UserError as error:
            raise UserError(f"{name}: methods.{method}: {error}") from None
        if not path.resolve().is_relative_to(CONFIGS):
            resolved[method] = replace(chosen, config=str(path))
    return resolved


def build_cells(config: ComparisonConfig, methods: dict[str, Method], runs: Path, name: str) -> tuple[Cell, ...]:
    """Builds the runs of all methods, prompts and seeds. Raises UserError for two methods that are the same."""
    cells = tuple(
        cell(method, methods[method], config.keys, prompt, seed, runs)
        for method, prompt, seed in itertools.product(methods, config.prompts, config.seeds)
    )
    owner: dict[Path, str] = {}
    for one in cells:
        if owner.setdefault(one.job.folder, one.method) != one.method:
            raise UserError(f"{name}: '{one.method}' and '{owner[one.job.folder]}' are the same method")
    return cells


def expand(config: ComparisonConfig, name: str) -> dict[str, Method]:
    """Makes a method of every combination of the grid, named by its values."""
    if config.config is None or not config.grid:
        raise UserError(f"{name}: give `methods:`, or a recipe `config:` and a `grid:` of its keys")
    for key, values in config.grid.items():
        if not values:
            raise UserError(f"{name}: grid.{key} is empty; give it at least one value")
    made = {}
    for values in itertools.product(*config.grid.values()):
        keys = dict(zip(config.grid, values, strict=True))
        words = (f"{key.rsplit('.', 1)[-1]} {text_of(key, value)}" for key, value in keys.items())
        made[", ".join(words)] = Method(config.config, keys)
    if len(made) < math.prod(map(len, config.grid.values())):
        raise UserError(f"{name}: grid: a key has the same value twice")
    return made


def cell(method: str, chosen: Method, shared: dict[str, Any], prompt: str, seed: int, runs: Path) -> Cell:
    """Builds the run of a method on a prompt. Its folder depends on what is run only, so that comparisons share it."""
    keys = overrides(shared | chosen.keys)
    path = find_recipe(chosen.config)
    recipe = path.stem if path.resolve().is_relative_to(CONFIGS) else f"{path.stem}-{digest(str(path.resolve()))}"
    place = f"{recipe}_{name_of(keys)[:80]}_{digest(str(keys))}" if keys else recipe
    labels = {"method": method, "prompt": prompt, "seed": str(seed)}
    own, end = f"{unique_slug(prompt)}-{seed}", "_generated" if chosen.generate else ""
    if chosen.meshes:
        file = mesh_files.file_of(chosen.meshes, prompt, seed)
        keys += overrides({"file": to_the_letter(str(file))})
        own, end = f"{own}{mesh_files.stamp(file)}", f"_{digest(chosen.meshes)}"
    folder = runs / f"{place}{end}" / own
    job = Job(chosen.config, (*keys, f"prompt={prompt}", f"seed={seed}"), folder, labels, chosen.generate)
    return Cell(method, prompt, seed, job)


def overrides(keys: dict[str, Any]) -> tuple[str, ...]:
    """Writes `{key: value}` as `key=value` texts for the launcher."""
    return tuple(f"{key}={text_of(key, value)}" for key, value in keys.items())


def text_of(key: str, value: Any) -> str:
    """Writes a value as the launcher reads it: YAML in one line; to the letter where the key holds text."""
    if key in TEXT_KEYS:
        return value
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=math.inf)
    return text.removesuffix("...\n").strip()
