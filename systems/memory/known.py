"""Tells which published model a config names, where it is one whose sizes are in `published.py`."""

import json
from pathlib import Path

from systems.memory.published import MODELS
from threestudio_like import pretrained
from threestudio_like.errors import UserError

CONDITIONED_BY = ("class_embed_type", "addition_embed_type")
"""Entries of a network's config, null by default, that say what it sees beside image, time and text."""


def model_of(config: pretrained.ModelConfig) -> str | None:
    """Returns the published model that a config names, by its id or by the sizes in its folder; None for another."""
    for name, sizes in MODELS.items():
        if config.model in sizes["hub"]:
            return name
    folder = pretrained.local(config)
    return next((name for name in MODELS if folder is not None and has_sizes_of(folder, name)), None)


def has_sizes_of(folder: Path, name: str) -> bool:
    """Tells whether a model's folder has a published network's sizes, and sees what that network sees."""
    part = "transformer" if "transformer" in MODELS[name] else "unet"
    try:
        stored = pretrained.read_json(folder / part / "config.json")
    except UserError:
        return False
    ours = dict.fromkeys(CONDITIONED_BY) | json.loads(json.dumps(MODELS[name][part]))
    if any(stored.get(key) != value for key, value in ours.items()):
        return False
    return sees_images(folder) == (name == "zero123plus")


def sees_images(folder: Path) -> bool:
    """Tells whether a model's folder lists a vision encoder: Zero123++'s U-Net is Stable Diffusion 2.1's for 768
    pixels."""
    try:
        return "vision_encoder" in pretrained.read_json(folder / "model_index.json")
    except UserError:
        return False
