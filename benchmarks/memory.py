"""Counts the GPU memory of published models on fake tensors: `python -m benchmarks.memory`.

Nothing is downloaded and nothing computed: models are built of their configs, their tensors have shapes and no
numbers. Counted are the bytes of all storages that are alive at once, those kept for the backward pass among them;
attention counts as the fused kernels do it, which keep no matrix of weights. What cannot be counted so, because shapes
depend on data, is counted on real tensors at small sizes: renderings, whose bytes are in proportion to samples and
pixels. It is written to `systems/memory/counted.json`, from which `--check` reckons; with `--table` the estimates of
all recipes and presets are printed.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.memory_of_models import (
    GECO,
    SEEN,
    TILED,
    count_network,
    count_perceptual,
    count_reconstructor,
    count_training,
    count_vae,
)
from benchmarks.memory_of_renderings import count_planes, count_rendering
from priors.reconstructor import Design
from systems.memory.counted import COUNTED
from systems.memory.published import MODELS
from threestudio_like.config.loading import CONFIGS, load
from threestudio_like.config.presets import gigabytes
from threestudio_like.config.recipe import Recipe, parse_recipe
from threestudio_like.engine.memory import Memory
from threestudio_like.engine.system import Context
from threestudio_like.utils.card import GB

TRAININGS = {
    "agp": lambda: count_training("agp", [(64, 64)], (8, 16), parts=2),
    "agp_checkpointed": lambda: count_training("agp", [(64, 64)], (8, 16), checkpointing=True, parts=2),
    "geco": lambda: count_training(GECO, [SEEN, TILED], (1, 2)),
}


def count_model(name: str) -> dict:
    """Counts the network of a published model, and its VAE where it has one."""
    print(f"counting {name}", file=sys.stderr, flush=True)
    return {"network": count_network(name)} | ({"vae": count_vae(name)} if "vae" in MODELS[name] else {})


COUNTS: dict[str, Callable[[], dict]] = {
    "models": lambda: {name: count_model(name) for name in MODELS},
    "training": lambda: {name: count() for name, count in TRAININGS.items()},
    "reconstructors": lambda: {one: count_reconstructor(one) | count_planes(one) for one in get_args(Design)},
    "perceptual": count_perceptual,
    "rendering": count_rendering,
}
"""All that `systems/memory` reckons with."""


def estimates(recipe: Recipe) -> dict[str, Memory]:
    """Estimates what the stages of a recipe take."""
    context = Context(torch.device("cpu"), 0, "", mixed=recipe.run.precision == "bf16-mixed")
    found = {stage: one.cls.memory(one.config, context) for stage, one in recipe.stages.items()}
    return {stage: memory for stage, memory in found.items() if memory is not None}


def with_presets() -> list[str]:
    """Lists the recipes that have memory presets."""
    names = sorted(path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.yaml"))
    return [name for name in names if not name.startswith(("comparisons", "backbones")) and load(name).sizes]


def by_preset() -> dict[str, dict[str, dict[str, Memory]]]:
    """Estimates what the stages of every recipe take, by recipe and preset."""
    return {
        name: {size: estimates(parse_recipe(plain, name)) for size, plain in load(name).presets()}
        for name in with_presets()
    }


def table(found: dict[str, dict[str, dict[str, Memory]]]) -> str:
    """Lists the estimates of every recipe's stages under each preset, in GB."""
    sizes = sorted({size for presets in found.values() for size in presets}, key=gigabytes)
    lines = [f"| recipe, stage | {' | '.join(sizes)} |", f"|---|{'---:|' * len(sizes)}"]
    for name, presets in found.items():
        for stage in next(iter(presets.values())):
            named = f"`{name}.yaml`" + (f", `{stage}`" if stage != "main" else "")
            row = [f"{presets[size][stage].total / GB:.1f}" if size in presets else "" for size in sizes]
            lines.append(f"| {named} | {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> None:
    """Counts and writes, or prints the estimates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the estimates, from what was counted before")
    parser.add_argument("--only", choices=COUNTS, nargs="+", default=list(COUNTS), help="count these parts anew")
    given = parser.parse_args()
    if given.table:
        print(table(by_preset()))
        return
    found = json.loads(COUNTED.read_text()) if COUNTED.exists() else {}
    found |= {name: COUNTS[name]() for name in given.only}
    COUNTED.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
