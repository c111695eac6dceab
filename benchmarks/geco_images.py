"""Judges what GECO makes of true images: `python -m benchmarks.geco_images [--count 64] [--as-taken] [key=value ...]`.

Individuals that no model was shown, of all categories in held-out colours, each made from one true image that is framed
as a user's (`--as-taken`: as it was photographed) and judged by the scorer: whether it finds the caption among all
colour x category pairs and the bare shape among all categories, on four views, and one object on 24; then by volume
IoU. Means with 95 % intervals, and which captions were not found. Keys replace those of `geco.yaml`.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see launch.py

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from systems.geco.evaluation import evaluate_reconstruction
from systems.geco.pipeline import load_pipeline
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.data.framing import reframe
from threestudio_like.data.images import ImageLoading
from threestudio_like.data.toybox.catalogue import CATEGORIES, caption
from threestudio_like.data.toybox.multiview import MultiviewSet
from threestudio_like.data.toybox.reconstruction import ReconstructionSet
from threestudio_like.errors import NoSurfaceError
from threestudio_like.evaluate.shapes import compare
from threestudio_like.experiments.statistics import interval

FIGURES = ("color_correct", "geometry_correct", "consistent", "volume_iou")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("keys", nargs="*")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--as-taken", action="store_true", help="leaves the images as they were photographed")
    given = parser.parse_args()
    torch.set_num_threads(1)
    recipe = parse_recipe(load("geco.yaml", given.keys), "geco")
    pipeline = load_pipeline(list(recipe.stages.values())[-1].config, torch.device("cpu"))
    toys = MultiviewSet(left_out=(), held_out_count=given.count)
    objects = ReconstructionSet(views=toys).objects("held_out")
    found: dict[str, dict[tuple[str, int], float]] = {name: {} for name in FIGURES}
    for i in range(given.count):
        toy, image = toys.toy("held_out", i), objects.views.images(np.array([i]))
        if not given.as_taken:
            image = reframe(image, torch.full((1,), ImageLoading().fill))
        prompt = caption(toy.category, toy.color)
        try:
            made = pipeline(image[0], "held out", i)
            seen = evaluate_reconstruction(made, pipeline.config, prompt)
            seen["volume_iou"] = compare(made.mesh.to_trimesh(), objects.mesh(i).to_trimesh()).volume_iou
        except NoSurfaceError:
            seen = dict.fromkeys(FIGURES, 0.0)
            if not CATEGORIES[toy.category].has_front:
                del seen["consistent"]
        if not seen["color_correct"]:
            print(f"not seen as {prompt} ({i})", flush=True)
        for name in FIGURES:
            if name in seen:
                found[name][str(i), 0] = seen[name]
    for name, values in found.items():
        mean = interval(values)
        print(f"{name}: {mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}], n = {len(values)}")


if __name__ == "__main__":
    main()
