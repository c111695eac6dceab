"""Tells which published model a config names, where it is one whose sizes are in `published.py`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from systems.memory.published import INSTANTMESH_LARGE, MODELS, VIT_B16
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


def large_design(config: Any) -> str | None:
    """Returns the design of a reconstructor that has InstantMesh-large's sizes, of its training's config; else None.

    A model to go on from says its sizes itself, as soon as it is there.
    """
    folder = pretrained.local(pretrained.ModelConfig(config.model)) if config.model else None
    if folder is None:
        size = config.size
        own, encoder_known = asdict(size), size.dino == "facebook/dino-vitb16" and size.image == VIT_B16["image_size"]
    else:
        try:
            own = pretrained.read_json(folder / "config.json")
        except UserError:
            return None
        encoder = {key: value for key, value in VIT_B16.items() if key != "image_size"}  # DINO's own in what we trained
        encoder_known = (own.get("vit") or {}).items() >= encoder.items()
    sizes = {key: value for key, value in INSTANTMESH_LARGE.items() if key not in ("design", "vit")}
    extras = any(own.get(key) for key in ("epipolar", "pixel_aligned", "back_projection"))
    return own.get("design") if encoder_known and not extras and own.items() >= sizes.items() else None
