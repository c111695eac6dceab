"""Measures a reconstructor from six true views of held-out toys, beside the visual hull of their masks.

`python -m benchmarks.reconstruction [--model FOLDER] [--objects 64] [--only CATEGORY ...] [--refine STEPS]` prints its
figures with 95 % intervals over objects: images from random sides against the true albedo, the shape, the toy's own
parts; how often its shape beats the hull (of 64^3 voxels, carved by the six true masks); and how often each part of a
category is there, by the parts' numbers in the catalogue. A mug's part 1 is its hollow, a chair's 1 to 4 are its legs.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see launch.py

import numpy as np
import torch
import trimesh
from skimage.measure import marching_cubes

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from priors.projection import project
from priors.reconstructor import Reconstructor
from priors.view_encoder import rig_poses
from systems.geco.refine import refined
from threestudio_like.cameras import zero123plus_rig
from threestudio_like.config.registry import find
from threestudio_like.data.toybox.catalogue import CATEGORIES
from threestudio_like.data.toybox.multiview import MultiviewSet
from threestudio_like.data.toybox.photographs import pack
from threestudio_like.data.toybox.reconstruction import Objects, ReconstructionSet
from threestudio_like.data.toybox.render import Light, render_toys
from threestudio_like.data.toybox.split import check_split
from threestudio_like.evaluate.parts import Parts, parts_there, points_of_parts
from threestudio_like.evaluate.reconstruction import (
    Reconstruct,
    ReconstructionEvaluation,
    evaluate_reconstructor,
    mesh_or_none,
)
from threestudio_like.evaluate.shapes import compare
from threestudio_like.experiments.statistics import interval

VOXELS = 64
FIGURES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "perceptual": "perceptual",
    "chamfer": "Chamfer",
    "volume_iou": "volume IoU",
    "parts_there": "parts there",
    "all_parts_there": "all parts there",
    "details": "details in their colour",
    "albedo_error": "albedo error",
    "reconstruction_seconds": "seconds of the planes",
    "mesh_seconds": "seconds of the mesh",
}


def visual_hull(objects: Objects, index: int) -> trimesh.Trimesh:
    """Carves the scene cube by the six true masks."""
    views = objects.config.views
    rig = zero123plus_rig(torch.zeros(1), views.distance, views.fov_deg, views.size)
    toys = np.repeat(pack([objects.toy(index)]), len(rig), axis=0)
    masks = render_toys(toys, rig, Light.flat(len(rig)), views.samples).opacity[..., 0] > 0.5
    middles = (torch.arange(VOXELS) + 0.5) / VOXELS * 2 - 1
    voxels = torch.stack(torch.meshgrid(middles, middles, middles, indexing="ij"), dim=-1).flatten(0, 2)
    where, _ = project(rig_poses(views.distance, views.fov_deg, views.size), voxels)
    pixel = (where * views.size).long().clamp(0, views.size - 1)
    seen = masks[torch.arange(len(rig))[:, None], pixel[..., 1], pixel[..., 0]].all(0)
    volume = np.pad(seen.view(3 * (VOXELS,)).numpy().astype(np.float32), 1)
    vertices, faces, *_ = marching_cubes(volume, 0.5)
    return trimesh.Trimesh((vertices - 0.5) / VOXELS * 2 - 1, faces[:, ::-1])


def shares_of_parts(reconstruct: Reconstruct, objects: Objects, numbers: list[int]) -> str:
    """Describes how often each part of the objects of one category is there."""
    found = defaultdict(list)
    for i in numbers:
        truth, mesh = Parts(*objects.parts(i)), mesh_or_none(reconstruct(i))
        there = dict.fromkeys(points_of_parts(truth), False) if mesh is None else parts_there(mesh, truth)
        for part, one in there.items():
            found[part].append(one)
    return ", ".join(f"{part}: {100 * np.mean(there):.0f} of {len(there)}" for part, there in sorted(found.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="priors/weights/reconstructor")
    parser.add_argument("--objects", type=int, default=64)
    parser.add_argument("--only", nargs="+", choices=CATEGORIES, default=list(CATEGORIES), help="categories of them")
    parser.add_argument("--refine", type=int, default=0, help="fit each object to its views in so many steps")
    parser.add_argument("--out", type=Path, default=Path("outputs/reconstruction"))
    given = parser.parse_args()
    check_split(given.model)
    given.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cpu")
    show = ReconstructionEvaluation(objects=given.objects)
    views = MultiviewSet(
        left_out=tuple(category for category in CATEGORIES if category not in given.only), held_out_count=given.objects
    )
    objects = show.of(ReconstructionSet(views=views)).objects("held_out")
    model = Reconstructor.load(given.model).eval()
    rig = views.distance, views.fov_deg, views.size
    poses, cameras = rig_poses(*rig)[None], zero123plus_rig(torch.zeros(1), *rig)

    @torch.no_grad()
    def reconstruct(index: int):
        six = objects.views.six_views(np.array([index]))
        scene = model.scene(model(six, poses))
        return refined(scene, six[0], cameras, given.refine) if given.refine else scene

    perceptual = find("perceptual", "scorer")(device)
    evaluate_reconstructor(reconstruct, objects, show, perceptual, device, given.out / "held-out.png")
    scores = json.loads((given.out / "held-out.json").read_text())
    print("| | mean | 95 % interval | n |\n|---|---|---|---|")
    for name, title in FIGURES.items():
        found = {(str(i), 0): one[name] for i, one in enumerate(scores) if name in one}
        if not found:  # toys of one colour have no details
            continue
        mean = interval(found)
        print(f"| {title} | {mean.mean:.4f} | {mean.low:.4f} to {mean.high:.4f} | {len(found)} |")
    hulls = [compare(visual_hull(objects, i), objects.mesh(i).to_trimesh()).volume_iou for i in range(len(scores))]
    better = [one.get("volume_iou", 0.0) > hull for one, hull in zip(scores, hulls, strict=True)]
    print(f"\nvisual hull: volume IoU {np.mean(hulls):.3f}; {100 * np.mean(better):.0f} % are better than theirs")
    print("\n| category | objects | each part there, % |\n|---|---|---|")
    for category in given.only:
        numbers = [i for i in range(len(scores)) if objects.toy(i).category == category]
        if numbers:
            print(f"| {category} | {len(numbers)} | {shares_of_parts(reconstruct, objects, numbers)} |")


if __name__ == "__main__":
    main()
