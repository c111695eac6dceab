"""Times GECO from an image to a GLB, part by part in one warm process: `python benchmarks/geco.py [--paper] [--images
N]`.

The shipped Toybox models on held-out toys; with `--paper` Zero123++ and a reconstructor of InstantMesh's size, both at
their published sizes with random weights (4 GB in half precision are written, and kept where `--folder` names a place).
`--tiny` is the same with models of a few kilobytes.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.full_models import shape_as_a_ball
from priors.backbones.zero123plus import Zero123Plus
from priors.generator import OneStepConfig, OneStepGenerator
from priors.reconstructor import Reconstructor
from systems.geco.pipeline import PARTS, ImageTo3D, load_pipeline, warm_up
from systems.memory.published import INSTANTMESH_LARGE, VIT_B16
from tests.priors import model_folders
from tests.tiny import RECONSTRUCTOR_SIZE
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.data.images import ImageLoading, load_image
from threestudio_like.data.toybox.multiview import MultiviewSet
from threestudio_like.engine.monitor import peak_memory_mib, write_png
from threestudio_like.export.mesh_io import write_mesh

TINY = replace(RECONSTRUCTOR_SIZE, image=32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--images", type=int, default=20)
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as temporary:
        paper = given.paper or given.tiny
        pipeline = published(given.folder or Path(temporary) / "model", given.tiny, device) if paper else toybox(device)
        measure(pipeline, given.images, Path(temporary))


def toybox(device: torch.device) -> ImageTo3D:
    """Loads the shipped pipeline."""
    recipe = parse_recipe(load("geco.yaml", []), "geco")
    return load_pipeline(list(recipe.stages.values())[-1].config, device)


def published(folder: Path, tiny: bool, device: torch.device) -> ImageTo3D:
    """Builds the pipeline at the paper's sizes with random weights, or all of it tiny."""
    if not (folder / "model_index.json").exists():
        model_folders.zero123plus(folder, None if tiny else model_folders.ZERO123PLUS)
    size = TINY.image if tiny else VIT_B16["image_size"]
    prior = Zero123Plus(device, Zero123Plus.Config(str(folder), precision="fp16", attention="clean", view_size=size))
    generator = OneStepGenerator(prior, OneStepConfig(scale=4.0)).ready(prior.dtype)
    torch.manual_seed(0)
    reconstructor = Reconstructor.of(TINY) if tiny else Reconstructor(**INSTANTMESH_LARGE)
    if not tiny:
        shape_as_a_ball(reconstructor)
    reconstructor = reconstructor.to(device).eval().requires_grad_(False)
    return ImageTo3D(prior, generator, reconstructor, MultiviewSet(size=size, distance=4.0, fov_deg=30.0))


def measure(pipeline: ImageTo3D, count: int, folder: Path) -> None:
    """Prints the median seconds of every part and of the whole, their spread, and the memory."""
    toys = MultiviewSet()
    images = toys.images("held_out").images(np.arange(count) % toys.held_out_count)
    warm_up(pipeline)
    rows = []
    for i, image in enumerate(images):
        file = folder / f"{i}.png"
        write_png(file, image.permute(1, 2, 0))
        begin = time.perf_counter()
        loaded = load_image(file, pipeline.prior.view_size, ImageLoading())
        seconds = {"image": time.perf_counter() - begin}
        result = pipeline(loaded, i)
        begin = time.perf_counter()
        write_mesh(result.mesh, folder / "mesh.glb")
        seconds |= result.seconds | {"export": time.perf_counter() - begin}
        parts = [part for part in PARTS if part in seconds]
        rows.append([seconds[part] for part in parts])
    rows = np.array(rows)
    print(
        f"{pipeline.prior.device}, {count} images, views of {pipeline.prior.view_size}, "
        f"{torch.get_num_threads()} threads"
    )
    for name, values in [*zip(parts, rows.T, strict=True), ("all", rows.sum(1))]:
        low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
        print(f"  {name:16s} {middle:7.3f} s  (5 to 95 %: {low:.3f} to {high:.3f})")
    print(f"  peak memory {peak_memory_mib(pipeline.prior.device):.0f} MiB")


if __name__ == "__main__":
    main()
