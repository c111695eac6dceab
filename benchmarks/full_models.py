"""Writes model folders at published sizes, with random weights, for benchmarks of what nobody here can download.

The networks and VAEs have the sizes of `systems/memory/published.py`. So have the text encoders of Stable Diffusion 2.1
and Zero123++; those of DeepFloyd IF, Stable Diffusion XL and 3, which are gone before the first step, are only as wide.
"""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from priors.reconstructor import Reconstructor
from systems.memory.published import INSTANTMESH_LARGE, MODELS
from tests import tiny
from tests.priors import model_folders

GROUPS = {"norm_num_groups": 32}
ENCODERS = {name: model_folders.ZERO123PLUS[name] for name in ("text_encoder", "vision_encoder")}
WRITERS = {
    "sd21": model_folders.stable_diffusion_21,
    "agp": model_folders.stable_diffusion_agp,
    "zero123plus": model_folders.zero123plus,
    "if": model_folders.deepfloyd,
    "sdxl": model_folders.stable_diffusion_xl,
    "sd35": model_folders.stable_diffusion_3,
}


def parts(name: str) -> dict[str, dict]:
    """Returns the configs of a published model's parts, as `tests/priors/model_folders.py` takes them."""
    networks = {part: MODELS[name][part] for part in ("unet", "transformer", "vae") if part in MODELS[name]}
    return {part: config | (GROUPS if part != "transformer" else {}) for part, config in networks.items()} | ENCODERS


def model(name: str, root: Path, small: bool = False) -> Path:
    """Returns a model's folder below `root`, written unless it is there; `small` writes one of a few kilobytes."""
    folder = root / ("small" if small else "full") / name
    if folder.exists():
        return folder
    unfinished = folder.with_name(f"{name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    WRITERS[name](unfinished, **({} if small else {"parts": parts(name)}))
    shutil.rmtree(folder.with_name(f"base-of-{unfinished.name}"), ignore_errors=True)  # what the geometric prior is of
    return unfinished.rename(folder)


def reconstructor(root: Path, small: bool = False) -> Path:
    """Returns the folder of a reconstructor in InstantMesh's shape below `root`, written unless it is there."""
    folder = root / ("small" if small else "full") / "reconstructor"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name("reconstructor.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    if small:
        tiny.tiny_instantmesh(unfinished)
    else:
        torch.manual_seed(0)
        made = Reconstructor(**INSTANTMESH_LARGE)
        shape_as_a_ball(made)
        made.half().save_pretrained(unfinished)
    return unfinished.rename(folder)


@torch.no_grad()
def shape_as_a_ball(model: Reconstructor) -> None:
    """Lets an untrained reconstructor of `design: instantmesh` make about a ball of radius 0.5 of any views.

    Random distances would cross zero nowhere or in every cube, and an object's surface takes neither time. Layers add
    next to nothing to the tokens, whose first number is 2 - u^2 - v^2 at the place (u, v) of their plane; it becomes
    the planes' first channel, and the distance net takes the sum over the three planes, 6 - 2 r^2, from its value at
    the radius.
    """
    for block in model.blocks:
        for last in (block.cross_attn.out_proj, block.self_attn.out_proj, block.mlp[2]):
            last.weight.mul_(1e-3)
    side = model.config.tokens
    place = (torch.arange(side) + 0.5) * 2 / side - 1
    token = torch.randn(model.queries.shape[1])
    model.queries.copy_((token - token.mean()) / token.std())  # all alike, so that the norm does to all the same
    model.queries[:, 0] = (2 - place[:, None] ** 2 - place**2).flatten().repeat(3)
    model.up.weight[:, 0], model.up.weight[0, 0], model.up.bias[0] = 0.0, 1.0, 0.0
    linear = [layer for layer in model.decoder.distance_net if isinstance(layer, torch.nn.Linear)]
    for layer in linear:
        layer.weight[0], layer.bias[0] = 0.0, 0.0
        layer.weight[0, 0] = 1.0
    linear[0].weight[0, :: model.config.channels] = 1.0
    linear[-1].weight[0, 0], linear[-1].bias[0] = -1.0, 6 - 2 * 0.5**2
