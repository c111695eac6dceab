"""Lays a recipe's memory preset over it: keys with which it fits a GPU of a size.

A preset is a block of the recipe's `presets`, plain keys by the name of a size (`24gb`). The key `memory` chooses one;
`auto` takes the largest for which the GPU that is there has the room, and none on a CPU.
"""

import re
from typing import Any

from threestudio_like.errors import UserError, nearest
from threestudio_like.utils import card

AUTO = "auto"
SIZE = re.compile(r"\d+gb")
NEARLY = 0.9
"""A card of so much of a size counts as one: those called 24 GB have 22.1 to 24."""


def with_preset(recipe: dict, name: str) -> tuple[dict, str | None]:
    """Takes `presets` out of a recipe's plain data, and lays the chosen one over it; `name` is the recipe's.

    Returns it with `memory`, the name of the preset or null, and what is to be said of the choice. Raises UserError for
    a preset that is not there.
    """
    presets, chosen = without_nulls(recipe.get("presets") or {}), recipe.get("memory", AUTO)
    recipe = {key: value for key, value in recipe.items() if key != "presets"}
    if not isinstance(presets, dict) or len(ordered(presets)) < len(presets):
        raise UserError(f"{name}: presets: expected blocks of keys by sizes such as 24gb, got {presets!r:.60}")
    if not presets:
        return recipe, None
    said = None
    if chosen == AUTO:
        chosen, said = by_card(ordered(presets), recipe)
    if chosen is not None and chosen not in presets:
        raise UserError(f"memory: {name} has no preset '{chosen}'{nearest(str(chosen), [AUTO, *presets])}")
    return (recipe if chosen is None else laid_over(recipe, presets[chosen])) | {"memory": chosen}, said


def by_card(sizes: tuple[str, ...], recipe: dict) -> tuple[str | None, str | None]:
    """Chooses the largest size that the GPU has, or else the smallest, and says so; none where nothing is on a GPU."""
    there = None if recipe.get("device") == "cpu" else card.memory()
    if there is None:
        return None, None
    chosen = next((size for size in sizes if there >= NEARLY * gigabytes(size) * card.GB), sizes[-1])
    return chosen, f"memory: {chosen}, as the GPU has {there / card.GB:.1f} GB"


def without_nulls(presets: Any) -> Any:
    """Leaves out of a recipe's presets those that it takes out by `null`."""
    return {size: keys for size, keys in presets.items() if keys is not None} if isinstance(presets, dict) else presets


def ordered(presets: Any) -> tuple[str, ...]:
    """Lists a recipe's presets, the largest first; none of what is no map of them."""
    sizes = [str(size) for size in without_nulls(presets)] if isinstance(presets, dict) else []
    return tuple(sorted(filter(SIZE.fullmatch, sizes), key=gigabytes, reverse=True))


def gigabytes(size: str) -> int:
    """Reads a preset's name."""
    return int(size.removesuffix("gb"))


def laid_over(recipe: dict, preset: dict) -> dict:
    """Lays a preset's keys over the recipe's; a block of another `type:` than the recipe's is passed over."""
    merged: dict[str, Any] = dict(recipe)
    for key, value in preset.items():
        below = merged.get(key)
        if not isinstance(value, dict) or not isinstance(below, dict):
            merged[key] = value
        elif not {"type"} <= value.keys() & below.keys() or value["type"] == below["type"]:
            merged[key] = laid_over(below, value)
    return merged
