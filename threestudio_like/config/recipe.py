"""A recipe as typed configs: the run's own keys, its stages in order, and the run's folder."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from threestudio_like.config.loading import TypeChange, overlay
from threestudio_like.config.misspelt import refuse_misspelt
from threestudio_like.config.plugins import plug_in
from threestudio_like.config.reading import read_yaml
from threestudio_like.config.registry import Component, parse, parse_component
from threestudio_like.config.renamed import translated
from threestudio_like.config.run_config import RunConfig
from threestudio_like.errors import MissingKeyError, UserError, brief, nearest
from threestudio_like.utils.paths import expanded


def no_presets() -> Iterator[tuple[str, dict]]:
    """Yields nothing, for a recipe without presets."""
    return iter(())


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe: the run's keys, its stages in order, and the plain data they came from."""

    name: str
    run: RunConfig
    stages: dict[str, Component]
    plain: dict
    presets: Callable[[], Iterator[tuple[str, dict]]] = no_presets
    """Yields the plain data of the same recipe under each of its memory presets, the largest first."""


def parse_recipe(plain: dict, name: str) -> Recipe:
    """Reads plain data.

    Keys that are not the run's are shared by all stages; without `stages:` there is one, `main`. A stage that is null
    is left out.
    """
    run, stages, changes = read_run(plain), {}, list(getattr(plain, "changes", ()))
    for stage, block in read_blocks(plain, name, run, changes).items():
        try:
            stages[stage] = parse_component("system", block, where(run, stage))
        except MissingKeyError as error:
            raise UserError(f"{error}{dropped_by(changes, error)}") from None
    check_order(stages)
    return Recipe(name, run, stages, plain, getattr(plain, "presets", no_presets))


def read_run(plain: dict) -> RunConfig:
    """Reads the keys of the run, and imports the modules that they name. Raises UserError."""
    own = run_keys()
    run = parse(RunConfig, {key: value for key, value in plain.items() if key in own}, "")
    plug_in(run.imports)
    return run


def run_keys() -> set[str]:
    """Lists the keys that belong to the run."""
    return {of_run.name for of_run in fields(RunConfig)}


def read_blocks(plain: dict, name: str, run: RunConfig, changes: list[TypeChange]) -> dict[str, dict]:
    """Lays each stage's keys over those that all share; none is unknown. Adds to `changes`. Raises UserError."""
    own, blocks = run_keys(), {}
    shared = {key: value for key, value in plain.items() if key not in own}
    if "system" not in shared:
        raise UserError(f"{name}: the key 'system' is missing{nearest('system', shared) if shared else ''}")
    stages = {stage: keys for stage, keys in (run.stages or {"main": {}}).items() if keys is not None}
    if not stages:
        raise UserError("stages: each of them is null, which takes it out; leave one")
    for stage, keys in stages.items():
        check_name(stage, "stages")
        if not isinstance(keys, dict):
            raise UserError(f"stages.{stage}: expected a block, got {keys!r}")
        block = overlay(shared, keys, changes, where(run, stage))
        blocks[stage] = {"type": block.pop("system"), **block}
        refuse_misspelt("system", blocks[stage], where(run, stage), own)
    return blocks


def where(run: RunConfig, stage: str) -> str:
    """Returns the path of a stage's keys in the recipe; empty where it is the only one."""
    return f"stages.{stage}" if run.stages else ""


def dropped_by(changes: list[TypeChange], error: MissingKeyError) -> str:
    """Returns the end of a message on a missing key: the change of type that dropped it, if one did."""
    for change in changes:
        if error.key in change.dropped and f".{error.where}".endswith(f".{change.path}"):
            return f"; {change}"
    return ""


def check_order(stages: dict[str, Component]) -> None:
    """Raises UserError where a stage starts from one that is not before it."""
    names = list(stages)
    for i, (stage, component) in enumerate(stages.items()):
        init = getattr(component.config, "init", None)
        if init is None or init.stage in names[:i]:
            continue
        where = f"stages.{stage}.init.stage" if len(names) > 1 else "init.stage"
        if init.stage in names:
            later = "itself" if init.stage == stage else f"'{init.stage}', which comes later"
            raise UserError(f"{where}: the stage starts from {later}; stages run in the order {', '.join(names)}")
        hint = nearest(init.stage, names[:i]) if i else "; no stage is before this one"
        raise UserError(f"{where}: no stage '{init.stage}'{hint}")


def slug(text: str) -> str:
    """Makes a file name of any prompt of any length."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-") or "run"


def unique_slug(text: str) -> str:
    """Makes a file name of any text, another for every text: where the slug leaves something out, a hash says it."""
    short = slug(re.sub(r"(?<=\d)\.(?=\d)", "p", text))
    whole = "-" not in text and short in (text.replace(" ", "-"), text.replace(".", "p"))
    return short if whole else f"{short}-{digest(text)}"


def digest(text: str) -> str:
    """Computes six letters that differ where the text does."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=3).hexdigest()


def check_name(name: object, where: str) -> None:
    """Raises UserError for a name of the recipe's own that could not be a file's, on any system."""
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+ -]{0,99}", name):
        raise UserError(
            f"{where}: '{name}' cannot be a name; take letters, digits, '_', '-' and '.', as it becomes a file's"
        )


def run_folder(recipe: Recipe) -> Path:
    """Returns a run's folder: `out`, or `outputs/<config>/<prompt-slug>-<seed>`."""
    if recipe.run.out:
        return expanded(recipe.run.out)
    named = unique_slug(recipe.run.prompt) if recipe.run.prompt else "run"
    return Path("outputs") / recipe.name / f"{named}-{recipe.run.seed}"


def read_stored(path: Path) -> dict:
    """Reads the plain data of the recipe in a run's `config.yaml`. Raises UserError."""
    try:
        plain: Any = OmegaConf.to_container(OmegaConf.create(read_yaml(path)), resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: cannot be read ({brief(error)}); move the run's folder away") from None
    plain.pop("git_revision", None)
    return plain


def changed_key(stored: Path, plain: dict) -> str | None:
    """Finds the first key, but for `out` and `vars`, at which a recipe differs from a run's `config.yaml`.

    Raises UserError.
    """
    before = translated(read_stored(stored))
    changed = (key for key in {**before, **plain} if key not in ("out", "vars") and before.get(key) != plain.get(key))
    return next(changed, None)
