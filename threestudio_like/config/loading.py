"""Loads recipes as plain data: YAML with `extends`, overridden from the command line, interpolated."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from threestudio_like.config.presets import ordered, with_preset, without_nulls
from threestudio_like.config.reading import read_value, read_yaml
from threestudio_like.config.renamed import translated_path, why_removed
from threestudio_like.config.run_config import TEXT_KEYS
from threestudio_like.config.schedule import is_step
from threestudio_like.errors import UserError, brief, nearest
from threestudio_like.utils.paths import CONFIGS

CHOICE = "memory="


@dataclass(frozen=True)
class TypeChange:
    """A block whose `type:` was changed, by which its other keys were dropped."""

    path: str
    before: str
    after: str
    dropped: tuple[str, ...]
    by_override: bool = False

    def __str__(self) -> str:
        return (
            f"{self.path}.type changed from {self.before} to {self.after}: "
            f"its other keys were dropped: {', '.join(self.dropped)}"
        )


class Loaded(dict):
    """A recipe's plain data, and the changes of type by which it came about."""

    changes: tuple[TypeChange, ...] = ()
    said: str | None = None
    """Which memory preset was chosen, and why, where nobody named one."""
    sizes: tuple[str, ...] = ()
    """The recipe's memory presets, the largest first."""
    under: Callable[[str], "Loaded"]
    """Loads the same recipe under another of them."""

    def presets(self) -> Iterator[tuple[str, "Loaded"]]:
        """Yields the same recipe under each of its memory presets, the largest first."""
        return ((size, self.under(size)) for size in self.sizes)

    def notes(self) -> list[str]:
        """Says which preset was chosen, and what overrides dropped by changing a type, and did not give again."""
        changes = [change for change in self.changes if change.by_override]
        lost = [(change, set(change.dropped) - set(self.at(change.path))) for change in changes]
        told = [str(replace(change, dropped=tuple(sorted(keys)))) for change, keys in lost if keys]
        return list(dict.fromkeys([*filter(None, [self.said]), *told]))

    def at(self, path: str) -> dict:
        """Returns the block at a path; empty where there is none."""
        node: Any = self
        for key in path.split("."):
            node = node.get(key) if isinstance(node, dict) else None
        return node if isinstance(node, dict) else {}


def overlay(base: dict, top: dict, changes: list[TypeChange] | None = None, path: str = "") -> dict:
    """Lays `top` over `base`, key by key; a block whose `type:` changes, and a schedule, replace what is below them.

    Adds the changes of type below `path` to `changes`.
    """
    merged = dict(base)
    for key, value in top.items():
        below, here = merged.get(key), f"{path}.{key}".lstrip(".")
        if not isinstance(below, dict) or not isinstance(value, dict) or is_schedule(value):
            merged[key] = value
        elif value.get("type", below.get("type")) == below.get("type"):
            merged[key] = overlay(below, value, changes, here)
        else:
            merged[key] = value
            if "type" in below and changes is not None:
                dropped = tuple(str(name) for name in below if name not in value)
                changes.append(TypeChange(here, below["type"], value["type"], dropped))
    return merged


def is_schedule(node: dict) -> bool:
    """Tells whether a map is one value that changes with the step (`schedule.Schedule`), whose knots belong
    together."""
    return list(node) == ["ramp"] or (bool(node) and all(map(is_step, node)))


def find_recipe(name: str, beside: Path | None = None) -> Path:
    """Finds the file of a recipe: a path, or a bare name (with or without .yaml) in `configs/`. Raises UserError."""
    if not Path(name).name or "\0" in name:
        raise UserError(f"no recipe '{name}'; name one of configs/, or a file")
    places = [Path(name)] + ([beside / name] if beside else []) + [CONFIGS / name]
    for place in places:
        for path in (place, place.with_name(place.name + ".yaml")):
            if path.is_file():
                return path
    known = [str(p.relative_to(CONFIGS).with_suffix("")) for p in CONFIGS.rglob("*.yaml")]
    raise UserError(f"no recipe '{name}'{nearest(str(name).removesuffix('.yaml'), known)}")


def load(name: str, overrides: list[str] | tuple[str, ...] = (), beside: Path | None = None) -> Loaded:
    """Loads a recipe as plain data: the recipes it extends below it, the overrides `key.path=value` on top,
    interpolated.

    An override counts in every stage, also in those that set the key, or the component it is of, themselves.
    """
    in_files: list[TypeChange] = []
    by_overrides: list[TypeChange] = []
    recipe = _with_extends(find_recipe(name, beside), (), in_files)
    sizes = ordered(recipe.get("presets"))
    recipe, said = with_preset(with_choice(recipe, overrides, name), name)
    for override in overrides:
        if override.startswith(CHOICE):
            continue
        keys, path = parse_override(override), override.partition("=")[0].split(".")
        check_override(override, path, recipe, overrides, name)
        stages = recipe.get("stages")
        stages = stages if isinstance(stages, dict) else {}
        recipe = overlay(recipe, keys, by_overrides)
        own = [stage for stage, node in stages.items() if _sets(node, path)]
        recipe = overlay(recipe, {"stages": dict.fromkeys(own, keys)}, by_overrides) if own else recipe
    if not isinstance(recipe.get("vars") or {}, dict):
        raise UserError(f"vars: expected a map of values, got {recipe['vars']!r}")
    try:
        resolved: Any = OmegaConf.to_container(OmegaConf.create(recipe), resolve=True)
        loaded = Loaded(resolved)
    except OmegaConfBaseException as error:
        raise UserError(f"{name}: {brief(error)}") from None
    loaded.pop("git_revision", None)  # of a run's config.yaml
    loaded.changes = (*in_files, *(replace(change, by_override=True) for change in by_overrides))
    loaded.said, loaded.sizes = said, sizes
    loaded.under = lambda size: load(name, [*overrides, f"{CHOICE}{size}"], beside)
    return loaded


def with_choice(recipe: dict, overrides: Iterable[str], name: str) -> dict:
    """Returns the recipe with what overrides say of the preset, and of the device that it is for. Raises UserError."""
    chosen = [override.removeprefix(CHOICE) for override in overrides if override.startswith(CHOICE)]
    if chosen and not without_nulls(recipe.get("presets")) and chosen[-1] != recipe.get("memory"):
        raise UserError(f"memory: {name} has no presets to choose from")
    if any(override.startswith("presets.") for override in overrides):
        raise UserError("presets: give the keys themselves, or a recipe that extends this one")
    device = [override.removeprefix("device=") for override in overrides if override.startswith("device=")]
    return recipe | ({"memory": chosen[-1]} if chosen else {}) | ({"device": device[-1]} if device else {})


def check_override(override: str, path: list[str], recipe: dict, overrides: Iterable[str], name: str) -> None:
    """Raises UserError for an override of a key that has another name or place, or that would change nothing."""
    key, value = ".".join(path), override.partition("=")[2]
    stages, values = (node if isinstance(node := recipe.get(own), dict) else {} for own in ("stages", "vars"))
    if path[0] == "extends":
        raise UserError(
            "extends: it belongs in a recipe's file; write one that extends this one, and give it to --config"
        )
    if reason := why_removed(key):
        raise UserError(f"{key}: there is no such key any more: {reason}")
    today = translated_path(key)
    if today != key and today:
        raise UserError(f"{key}: this key is '{today}' now")
    if is_step(path[-1]):
        whole = f"{'.'.join(path[:-1])}='{{{path[-1]}: {value}}}'"
        raise UserError(f"{key}: a schedule is given with all its knots, such as {whole}")
    if path[0] == "stages" and len(path) > 1 and path[1] not in stages:
        raise UserError(f"stages.{path[1]}: {name} has no such stage{nearest(path[1], stages)}")
    if path[0] == "vars" and len(path) > 1 and path[1] not in values:
        others = f"{recipe}{[other for other in overrides if other != override]}"
        if f"vars.{path[1]}" not in others:
            raise UserError(f"vars.{path[1]}: nothing in {name} uses it{nearest(path[1], values)}")
    if value == "{}" and Loaded(recipe).at(key):
        raise UserError(f"'{override}' changes nothing: a map is laid over the recipe's; give the keys that change")


def _with_extends(path: Path, above: tuple[Path, ...], changes: list[TypeChange]) -> dict:
    if path in above:
        raise UserError(f"{path}: extends itself")
    recipe = read_yaml(path)
    bases = recipe.pop("extends", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UserError(f"{path}: extends: expected a recipe's name, or a list of them, got {bases!r}")
    merged: dict = {}
    for base in bases:
        merged = overlay(merged, _with_extends(find_recipe(base, path.parent), (*above, path), changes), changes)
    return overlay(merged, recipe, changes)


def _sets(node: Any, path: list[str]) -> bool:
    """Whether a stage has a key of its own there, or a component of its own that the key belongs to."""
    for depth, part in enumerate(path):
        if not isinstance(node, dict) or part not in node:
            return isinstance(node, dict) and depth > 0 and "type" in node
        node = node[part]
    return True


def parse_override(text: str) -> dict:
    """Parses `key.path=value` into nested plain data. Raises UserError."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[\w.-]+", key):
        remedy = "" if equals else '; quote values with spaces: prompt="a red chair"'
        raise UserError(f"'{text}' is not an override of the form key.path=value{remedy}")
    node: Any = to_the_letter(value) if key in TEXT_KEYS else read_value(key, value)
    for part in reversed(key.split(".")):
        node = {part: node}
    return node


def to_the_letter(text: str) -> str:
    """Escapes a text so that OmegaConf interpolates nothing: a backslash before `${`, those already there doubled."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def is_comparison(plain: dict) -> bool:
    """Tells a comparison, which has prompts in the plural, from a recipe, which has a system."""
    return "system" not in plain and "prompts" in plain
