"""Reckons what the recipes for large models cost on 1, 8 and 64 GPUs: `python -m benchmarks.costs`.

The models' floating-point operations are counted at their published sizes (`benchmarks/flops.py`), and summed over each
recipe's steps; hours follow from a GPU's speed and the share of it that is assumed. Coordinate maps are drawn on the
CPU, and timed here. A table of markdown is printed for each. Renderings on the GPU do not count: hash grids wait for
memory, and their share of a step is for `benchmarks/gpu.py` to find.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import trimesh

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.flops import count
from benchmarks.memory_of_models import GECO, TILED
from systems.memory.counted import counted
from systems.memory.known import model_of
from systems.memory.published import MODELS
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.config.registry import Component
from threestudio_like.data.meshes import MeshFolder, render_maps

PER_SCENE = (
    "dreamfusion-sd",
    "dreamfusion-if",
    "dreamfusion-sdxl",
    "dreamfusion-sd3",
    "prolificdreamer-sd",
    "fantasia3d-sd",
    "sweetdreamer-sd",
    "sweetdreamer-nerf-sd",
)
GPUS = (1, 8, 64)
PEAK, USED = 989e12, 0.4
"""Operations a second of an H100 or H200 in half precision without sparsity, as its maker says; the share assumed."""
WITHIN, BETWEEN = 450e9, 50e9
"""Bytes a second that a GPU sends to others of its machine (NVLink of an H100), and of other machines (400 Gbit/s)."""
TOGETHER = 8
"""GPUs of a machine."""
OBJECTS = 270_000
"""Of Objaverse, that SweetDreamer kept."""
CORES = 16
"""Of the CPU, for each GPU."""

Counts = dict[str, dict[str, dict[str, int]]]


def step_flops(stage: Component, step: int, counts: Counts) -> float:
    """Sums what a step of a per-scene stage asks of its priors."""
    config, total = stage.config, 0.0
    views = int(config.cameras.config.views)
    for term in config.guidance.values():
        if term.weight(step) == 0:
            continue
        prior = term.backbone or config.backbone
        model = counts[model_of(prior.config) or ""]
        texts = 4 if term.prompt.views == "perp_neg" else 2
        total += views * texts * model["network"]["predict"]
        if hasattr(prior.config, "vae_slicing"):
            total += views * (model["vae"]["learn"] + (model["vae"]["encode"] if prior.config.vae_slicing else 0))
        if term.method.type == "vsd":
            total += views * (model["network"]["predict"] + model["network"]["adapt"])
    return total


def hours(flops: float) -> float:
    """Returns the hours that one GPU takes."""
    return flops / (PEAK * USED) / 3600


def per_scene(counts: Counts) -> str:
    """Writes the table of the per-scene recipes: every GPU optimises a scene of its own."""
    lines = [
        "| recipe | PFLOP an object | minutes on a GPU | objects an hour on 1 | on 8 | on 64 | "
        f"GPU-years for {OBJECTS:,} |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in PER_SCENE:
        recipe = parse_recipe(load(f"{name}.yaml", ["memory=80gb"]), name)
        flops = sum(
            step_flops(stage, step, counts) for stage in recipe.stages.values() for step in range(stage.config.steps)
        )
        rates = " | ".join(f"{gpus / hours(flops):,.{1 if gpus == 1 else 0}f}" for gpus in GPUS)
        years = hours(flops) * OBJECTS / 24 / 365
        lines.append(f"| `{name}.yaml` | {flops / 1e15:.0f} | {60 * hours(flops):.0f} | {rates} | {years:.1f} |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Work:
    """Says how work is divided: operations of a part, how many parts there are, and how many belong to one step."""

    name: str
    part: float
    parts: int
    batch: int | None = None
    """Parts of a training's step; None where the parts do not wait for each other."""
    exchanged: float = 0.0
    """Bytes of gradients that the GPUs exchange in each step."""

    def on(self, gpus: int) -> str:
        """Says the hours on so many GPUs, and the batch where it has to grow, because none has less than one part.

        Exchanging, a ring's all-reduce, does not overlap with computing here.
        """
        computing = self.part / (PEAK * USED)
        if self.batch is None:
            return f"{self.parts * computing / gpus / 3600:.2g}"
        exchanging = 2 * (gpus - 1) / gpus * self.exchanged / (WITHIN if gpus <= TOGETHER else BETWEEN)
        each = max(self.batch // gpus, 1)
        steps = self.parts / self.batch
        grown = f" (batch {each * gpus})" if each * gpus != self.batch else ""
        return f"{steps * (each * computing + exchanging) / 3600:.2g}{grown}"


def works(counts: Counts) -> list[Work]:
    """Lists the trainings of the recipes for large models, and what is made for all of Objaverse."""
    agp = parse_recipe(load("priors/agp-sd.yaml", ["memory=80gb"]), "agp-sd").stages["main"].config
    geco = parse_recipe(load("geco-zero123plus.yaml", ["memory=80gb"]), "geco").stages
    views, scene = geco["views"].config, geco["scene"].config
    unet, teacher = counts["agp"]["training"], counts["zero123plus"]["training"]
    decoding = counts["zero123plus"]["vae"]["decode"] * TILED[0] * TILED[1] / MODELS[GECO]["unet"]["sample_size"] ** 2
    known = counted()
    numbers = {name: known["models"][name]["network"]["parameters"] for name in ("agp", "zero123plus")}
    rebuilt = counts["reconstructor"]["network"]
    example = unet["train"] + (unet["predict"] if agp.gradient_checkpointing else 0)
    # the generator with and without the image, the teacher likewise, and the fake score, which learns
    distilled = 2 * teacher["train"] + 2 * teacher["predict"] + teacher["predict"] + teacher["train"]
    drawn = 2 * teacher["predict"] + decoding
    targets = 2 * teacher["predict"] * scene.targets.steps + decoding
    name = "`geco-zero123plus.yaml`"
    return [
        Work("`priors/agp-sd.yaml`", example, agp.batch * agp.steps, agp.batch, 4 * numbers["agp"]),
        Work(f"{name}, `views`", distilled, views.batch * views.steps, views.batch, 2 * 4 * numbers["zero123plus"]),
        Work(f"{name}, targets of `scene`", targets, scene.targets.count),
        Work(
            f"{name}, `scene`",
            drawn + rebuilt["train"],
            scene.batch * scene.steps,
            scene.batch,
            4 * known["reconstructors"]["instantmesh"]["parameters"],
        ),
        Work(f"the teacher's views of {OBJECTS:,} images", targets, OBJECTS),
        Work(f"GECO's pass for {OBJECTS:,} images", drawn + rebuilt["predict"], OBJECTS),
    ]


def shared(counts: Counts) -> str:
    """Writes the table of trainings, whose GPUs share each step, and of what is made image by image."""
    lines = ["| | PFLOP | hours on 1 GPU | on 8 | on 64 |", "|---|---:|---:|---:|---:|"]
    for work in works(counts):
        times = " | ".join(work.on(gpus) for gpus in GPUS)
        lines.append(f"| {work.name} | {work.parts * work.part / 1e15:,.0f} | {times} |")
    return "\n".join(lines)


def drawing(faces: int = 50_000) -> str:
    """Times the coordinate maps of a mesh on one core, and says what all objects take."""
    torch.set_num_threads(1)
    sphere = trimesh.creation.icosphere(subdivisions=6)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mesh.glb"
        sphere.simplify_quadric_decimation(face_count=faces).export(file)
        config = MeshFolder.Config(folder=folder)
        render_maps(config, file)  # compiles the kernels
        begin = time.perf_counter()
        render_maps(config, file)
        seconds = time.perf_counter() - begin
    all_hours = seconds * OBJECTS / 3600
    rates = ", ".join(f"{all_hours / gpus / CORES:.2g}" for gpus in GPUS)
    return (
        f"{config.views} maps of {config.size} pixels of a mesh of {faces:,} faces take {seconds:.2f} s of a core, "
        f"reading included: for {OBJECTS:,} objects {all_hours:,.0f} hours, or {rates} with {CORES} cores for each of "
        "1, 8 and 64 GPUs."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", type=Path, help="a JSON file of counts, written where it is not there yet")
    given = parser.parse_args()
    counts = json.loads(given.kept.read_text()) if given.kept and given.kept.exists() else count()
    if given.kept:
        given.kept.write_text(json.dumps(counts, indent=1))
    print(per_scene(counts), shared(counts), drawing(), sep="\n\n")


if __name__ == "__main__":
    main()
