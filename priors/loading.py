"""Loads a diffusion prior by name alone: what its folder holds says which backbone it is."""

from pathlib import Path

from priors.backbones.base import Backbone
from threestudio_like.config.registry import find
from threestudio_like.errors import UserError, nearest
from threestudio_like.pretrained import ModelConfig, is_hub_id, read_json
from threestudio_like.pretrained import find as find_model
from threestudio_like.utils.paths import WEIGHTS, find_folder

INDEX = "model_index.json"


def load(model: str, device: str = "cpu", **fields) -> Backbone:
    """Loads a shipped prior (`toybox`), a folder in diffusers' layout, or a hub id; `fields` are its Config's.

    Raises UserError where there is none, or it is not whole.
    """
    shipped = sorted(folder.parent.name for folder in WEIGHTS.glob(f"*/{INDEX}"))
    model = str(WEIGHTS / model) if model in shipped else str(model)
    if find_folder(model) is None and not is_hub_id(ModelConfig(model)):
        raise UserError(f"no prior '{model}'{nearest(model, shipped)}; a folder or a hub id, owner/name, is one too")
    located = {name: fields[name] for name in ("variant", "revision") if name in fields}
    config = ModelConfig(model, **located)
    folder = find_model(config, ())
    kind = kind_of(folder if "transformer" in parts_in(folder) else find_model(config, ("unet", "scheduler")))
    return find("backbone", kind)(device, model=model, **fields)


def kind_of(folder: Path) -> str:
    """Returns the name, in the slot `backbone`, of the kind of prior that a folder holds."""
    parts = parts_in(folder)
    if "transformer" in parts:
        return "flow"
    if "vision_encoder" in parts:
        return "zero123plus"
    if "image_encoder" in parts and "mean_predictor" in parts:
        return "multiview"
    if "vae" in parts:
        return "latent"
    camera = read_json(folder / "unet" / "config.json").get("class_embed_type") == "projection"
    return "geometric" if camera else "pixel"


def parts_in(folder: Path) -> set[str]:
    """Returns the names of a model folder's parts, those of its index too."""
    parts = {path.name for path in folder.iterdir() if path.is_dir()}
    return parts | read_json(folder / INDEX).keys() if (folder / INDEX).is_file() else parts
