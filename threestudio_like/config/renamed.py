"""Keys of earlier versions and their names of today, for messages on old recipes, and to read old runs.

Paths are relative to a stage; `*` stands for any one key. A key is looked up below parents that have today's names.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from threestudio_like.errors import nearest

RENAMED = {
    "let": "vars",
    "guides": "guidance",
    "guidance.*.guidance": "method",
    "guidance.*.method.student": "fake_score",
    "guidance.student": "fake_score",
    "guidance.*.prompt.words": "view_prompts",
    "penalties": "regularizers",
    "moves_every": "update_every",
    "words": "conditioning",
    "teacher": "targets",
    "lr.shift": "deformation",
    "scene.start": "shape_init",
    "scene.encoding.levels": "n_levels",
    "scene.encoding.features": "n_features_per_level",
    "scene.encoding.log2_entries": "log2_hashmap_size",
    "scene.encoding.base": "base_resolution",
    "scene.encoding.finest": "max_resolution",
    "renderer.step": "render_step_size",
    "cameras.spread": "stratified",
    "shading.lit": "lambertian_prob",
    "shading.textureless": "textureless_prob",
    "shading.spread": "direction_std",
    "size.spread": "beta",
    "size.layout": "mean_predictor",
    "data.photographer": "capture",
    "data.capture.front_spread_deg": "front_std_deg",
    "layout_steps": "mean_steps",
    "layout_batch": "mean_batch",
    "azimuth_spread": "azimuth_std",
    "evaluation.rungs": "baselines",
    "evaluation.judged_size": "scorer_size",
    "judge": "scorer",
}
"""The same value by another name."""
TERMS = {"look": "rgb", "align": "ccm"}
"""Old names of the terms of `guides` in the recipes that came with it."""
CHANGED = {
    "stop": "'denoising_end', which is 1 - stop,",
    "targets.stop": "'denoising_end', which is 1 - stop,",
    "generation.text.stop": "'denoising_end', which is 1 - stop,",
    "generation.show.scorer": "'generation.scorer'",
}
"""Keys that took an old key's place with another meaning, or in another block."""
REMOVED = {
    "init.convert": "the stage's own scene.type says it",
    "renderer.rasterizer": "the run's own `packages` says it, as `packages=[nvdiffrast]`",
    "generation.threads": "the run's own `threads` says it",
    "generation.show.preview_size": "its previews have the views' own size",
    "generation.show.mesh_resolution": "the reconstructor's own grid says it",
    "generation.show.mesh_threshold": "the reconstructor says where the surface is",
    "generation.show.texture_size": "a mesh that is made in one pass has colours at its vertices",
}
"""Keys that had no effect, or that another says, and why none is needed."""

STATE = {
    "guides.look.": "terms.rgb.",
    "guides.align.": "terms.ccm.",
    "guides.": "terms.",
    ".student.": ".fake_score.",
    ".scene.shift": ".scene.deformation",
    ".scene.start": ".scene.shape_init",
}
"""Parts of the names of a checkpoint's tensors."""


@dataclass(frozen=True)
class Hint:
    """The end of a message on an unknown key, and what it tells; the text alone as a string."""

    kind: Literal["renamed", "changed", "removed", "nearest"]
    text: str

    def __str__(self) -> str:
        return self.text


def hint(path: str, known: Iterable[str]) -> Hint:
    """Returns what is known of an unknown key: its name of today, or the nearest of those that are known."""
    keys = split(path)
    if (new := look_up(RENAMED, keys)) is not None:
        return Hint("renamed", f"; it is '{new}' now")
    if (new := look_up(CHANGED, keys)) is not None:
        return Hint("changed", f"; {new} stands for it now")
    if (reason := look_up(REMOVED, keys)) is not None:
        return Hint("removed", f"; there is no such key any more: {reason}")
    return Hint("nearest", nearest(keys[-1], known))


def why_removed(path: str) -> str | None:
    """Returns why there is no such key any more; None where it is not one that was removed."""
    return look_up(REMOVED, split(path))


def translated(node: Any, keys: tuple[str, ...] = ()) -> Any:
    """Renames the keys of plain data to those of today, where only the name differs."""
    if not isinstance(node, dict):
        return node
    made = {}
    for key, value in node.items():
        here = (*keys, str(key))
        if look_up(REMOVED, here) is not None:
            continue
        new = look_up(RENAMED, here) or key
        if new != key and key == "guides" and isinstance(value, dict):
            value = {TERMS.get(term, term): guide for term, guide in value.items()}
        made[new] = translated(value, (*keys, str(new)))
    return made


def translated_path(path: str) -> str:
    """Renames a key's path to that of today."""
    keys = path.split(".")
    node: Any = 0
    for key in reversed(keys):
        node = {key: node}
    node, made = translated(node), []
    while isinstance(node, dict) and node:
        key, node = next(iter(node.items()))
        made.append(key)
    return ".".join(made)


def translated_state(state: dict[str, Any]) -> dict[str, Any]:
    """Renames a checkpoint's tensors to the names of today."""

    def today(name: str) -> str:
        for old, new in STATE.items():
            name = name.replace(old, new)
        return name

    return {today(name): tensor for name, tensor in state.items()}


def look_up(table: dict[str, str], keys: tuple[str, ...]) -> str | None:
    """Returns a table's entry for a path."""
    own = keys[2:] if keys[0] == "stages" else keys
    for pattern, new in table.items():
        parts = pattern.split(".")
        if len(parts) == len(own) and all(part in ("*", key) for part, key in zip(parts, own, strict=True)):
            return new
    return None


def split(path: str) -> tuple[str, ...]:
    """Splits a key's path at its dots."""
    return tuple(path.strip(".").split("."))
