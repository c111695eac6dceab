"""Tells whether two recipes train the same: what a run was begun with, and what it is taken up with.

A Config names those of its keys that do not change what is trained as `untrained`; all others must be the same.
"""

import dataclasses
from typing import Any

from threestudio_like.config.recipe import Recipe, parse_recipe, read_stored
from threestudio_like.config.registry import Component
from threestudio_like.config.renamed import translated


def stored_recipe(path: Any, name: str) -> Recipe:
    """Reads the recipe in a run's `config.yaml`, of an earlier version too. Raises UserError."""
    return parse_recipe(translated(read_stored(path)), name)


def retrained_key(before: Recipe, now: Recipe, steps: bool = True) -> str | None:
    """Finds the first key that changes what is trained and differs; None where there is none.

    `steps` False lets the stages' steps differ.
    """
    own = {"steps"} if not steps else set()
    key = difference(before.run, now.run, "", {"stages"})
    if key is not None:
        return key
    if list(before.stages) != list(now.stages):
        return "stages"
    for stage, system in now.stages.items():
        where = f"stages.{stage}" if now.run.stages else ""
        if system.type != before.stages[stage].type:
            return f"{where}.system".lstrip(".")
        key = difference(before.stages[stage].config, system.config, where, own)
        if key is not None:
            return key
    return None


def difference(before: Any, now: Any, where: str, free: set[str] | frozenset[str] = frozenset()) -> str | None:
    """Finds the path of the first field at which two parsed values differ, but for those that are `free`."""
    if type(before) is not type(now):
        return where
    if isinstance(now, Component):
        if before.type != now.type:
            return f"{where}.type"
        return difference(before.config, now.config, where)
    if isinstance(now, dict) and isinstance(before, dict):
        keys = list({**before, **now})
        own = (difference(before.get(key), now.get(key), f"{where}.{key}".lstrip(".")) for key in keys)
    elif dataclasses.is_dataclass(now) and not hasattr(type(now), "from_config"):
        free = {*free, *getattr(type(now), "untrained", ())}
        names = [field.name for field in dataclasses.fields(now) if field.name not in free]
        own = (difference(getattr(before, name), getattr(now, name), f"{where}.{name}".lstrip(".")) for name in names)
    elif isinstance(now, list | tuple) and len(before) == len(now):
        own = (difference(old, new, where) for old, new in zip(before, now, strict=True))
    else:
        return None if before == now else where
    return next((key for key in own if key is not None), None)
