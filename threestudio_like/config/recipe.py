"""A recipe as typed configs: the run's own keys, and its stages in order; and which run on disk it is."""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from threestudio_like.config.fields import config_fields
from threestudio_like.config.loading import TypeChange, overlay, read_yaml
from threestudio_like.config.plugins import plug_in
from threestudio_like.config.registry import Component, parse, parse_component, place_of, registered
from threestudio_like.config.renamed import hint, translated
from threestudio_like.errors import MissingKeyError, UserError, brief, nearest

SAME_RUN = ("out", "vars")
"""Keys that may differ between a run and its resumption; of `vars` counts what was made of them."""


@dataclass(frozen=True)
class ExpectedSeconds:
    """Tells what a recipe takes on one core of the machine where it was measured."""

    start: float = 0.0
    """Seconds until the first step."""
    steps: dict[str, float] = field(default_factory=dict)
    """Seconds of a step of each stage, by the stage's name; `main` where there is one."""
    end: float = 0.0
    """Seconds of all that is done once beside the steps, evaluation and export among it."""
    first: float = 0.0
    """Seconds more of a machine's first run, in which kernels are compiled and data is made."""


@dataclass
class RunConfig:
    """The keys of a recipe that belong to the run; all others belong to its stages."""

    prompt: str = ""
    negative_prompt: str = ""
    seed: int = 0
    out: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    kernels: Literal["auto", "reference", "cpu", "cuda"] | None = None
    """Forces one side of all kernels; by default TSL_KERNELS, or the device, chooses."""
    checkpoint_every: int = 250
    checkpoint_seconds: float = 60.0
    preview_every: int = 100
    expected_seconds: ExpectedSeconds | None = None
    """What the run takes, as far as it was measured; this machine's speed is reckoned in."""
    stages: dict[str, Any] | None = None
    vars: dict[str, Any] | None = None
    """Values for use elsewhere in the recipe as `${vars.name}`."""
    imports: list[str] = field(default_factory=list)
    """Modules that register classes of one's own, imported before the recipe's components are read."""


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe: the run's keys, its stages in order, and the plain data they came from."""

    name: str
    run: RunConfig
    stages: dict[str, Component]
    plain: dict


def parse_recipe(plain: dict, name: str) -> Recipe:
    """Reads plain data. Keys that are not the run's are shared by all stages; without `stages:` there is one, `main`."""
    own = {of_run.name for of_run in fields(RunConfig)}
    run = parse(RunConfig, {key: value for key, value in plain.items() if key in own}, "")
    plug_in(run.imports)
    shared = {key: value for key, value in plain.items() if key not in own}
    if "system" not in shared:
        raise UserError(f"{name}: the key 'system' is missing{nearest('system', shared) if shared else ''}")
    stages, changes = {}, list(getattr(plain, "changes", ()))
    for stage, keys in (run.stages or {"main": {}}).items():
        if not isinstance(keys, dict | None):
            raise UserError(f"stages.{stage}: expected a block, got {keys!r}")
        where = f"stages.{stage}" if run.stages else ""
        block = overlay(shared, keys or {}, changes, where)
        refuse_unknown(block, where, own)
        block["type"] = block.pop("system")
        try:
            stages[stage] = parse_component("system", block, where)
        except MissingKeyError as error:
            raise UserError(f"{error}{dropped_by(changes, error)}") from None
    check_order(stages)
    return Recipe(name, run, stages, plain)


def refuse_unknown(block: dict, where: str, own: set[str]) -> None:
    """Raises UserError for a key that neither the stage's system nor the run has, before the system is imported."""
    system = block["system"]
    fields = config_fields(place_of("system", system)) if system in registered("system") else None
    for key in block:
        if fields is not None and key not in fields and key != "system":
            raise UserError(f"{where or 'recipe'}: unknown key '{key}'{hint(f'{where}.{key}', {*fields, *own})}")


def dropped_by(changes: list[TypeChange], error: MissingKeyError) -> str:
    """The end of a message on a missing key: the change of type that dropped it, if one did."""
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
    """A file name for any prompt of any length."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-") or "run"


def run_folder(recipe: Recipe) -> Path:
    """`out`, or `outputs/<config>/<prompt-slug>-<seed>`."""
    if recipe.run.out:
        return Path(recipe.run.out)
    return Path("outputs") / recipe.name / f"{slug(recipe.run.prompt)}-{recipe.run.seed}"


def read_stored(path: Path) -> dict:
    """The plain data of the recipe that a run's `config.yaml` holds. Raises UserError."""
    try:
        plain = OmegaConf.to_container(OmegaConf.create(read_yaml(path)), resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: cannot be read ({brief(error)}); move the run's folder away") from None
    plain.pop("git_revision", None)
    return plain


def changed_key(stored: Path, plain: dict, free: tuple[str, ...] = ()) -> str | None:
    """The first key, but for those that are `free`, at which a recipe differs from the one that a run's `config.yaml` holds.
    Raises UserError."""
    before = translated(read_stored(stored))
    changed = (
        key for key in {**before, **plain} if key not in (*SAME_RUN, *free) and before.get(key) != plain.get(key)
    )
    return next(changed, None)
