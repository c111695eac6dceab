"""Compares reconstructions of held-out toys with the truth: images, shapes, seconds; draws pictures, writes a GLB.

A way of reconstructing is a function from an object's number to its `Triplane`, in the frame of its condition image;
what it takes is timed. So a reconstructor on true views, on generated ones, or on one image are measured alike.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from threestudio_like.cameras import Cameras, zero123plus_rig
from threestudio_like.config.ranges import Count, Pixels
from threestudio_like.data.toybox.multiview import AMBIENT
from threestudio_like.data.toybox.reconstruction import Objects, ReconstructionSet
from threestudio_like.engine.monitor import write_png
from threestudio_like.engine.timing import wait_for
from threestudio_like.errors import NoSurfaceError
from threestudio_like.evaluate.features import frechet_distance
from threestudio_like.evaluate.images import psnr, ssim
from threestudio_like.evaluate.parts import Parts, compare_parts
from threestudio_like.evaluate.perceptual import Perceptual
from threestudio_like.evaluate.scorer import Scorer
from threestudio_like.evaluate.shapes import compare
from threestudio_like.export.mesh_io import write_mesh
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.convert import remove_small_components
from threestudio_like.scenes.mesh import Mesh
from threestudio_like.scenes.triplane import Triplane
from threestudio_like.utils.files import write_text
from threestudio_like.utils.progress import progress

log = logging.getLogger(__name__)
Reconstruct = Callable[[int], Triplane]
SMALLEST_PART = 0.02
"""Parts of a mesh with a smaller share of its faces are dropped."""
FAR = 1e4
"""The height of a light whose rays are parallel, in scene units."""
UNSEEN = slice(2, 4)
"""Of the six views, those 150 and 210 degrees from the condition image."""


@dataclass
class ReconstructionEvaluation:
    """The objects and views that reconstructions are measured on."""

    objects: Count = 64
    """Objects of each split."""
    size: Pixels = 64
    """Side length in pixels of the views."""
    shown: Count = 6
    """Objects that the pictures show."""
    scorer: str = "priors/weights/scorer"
    """The scorer whose features are those of the Frechet distance between rendered and true views."""

    def of(self, data: ReconstructionSet) -> ReconstructionSet:
        """Makes the set that is measured on: the training's, its random views larger."""
        return replace(data, target_size=self.size)


def write_reconstruction(scene: Triplane, path: Path) -> dict[str, float]:
    """Writes the mesh by the path's suffix; returns how large it is and how long that took.

    Without a surface nothing is written, and the log says so.
    """
    begin = time.perf_counter()
    try:
        mesh = remove_small_components(scene.mesh(), SMALLEST_PART)
    except NoSurfaceError as error:
        log.warning("%s was not written: %s", path.name, error)
        return {"mesh_vertices": 0, "mesh_faces": 0}
    middle = time.perf_counter()
    write_mesh(mesh, path)
    return {
        "mesh_vertices": len(mesh.vertices),
        "mesh_faces": len(mesh.faces),
        "mesh_watertight": float(mesh.to_trimesh().is_watertight),
        "mesh_seconds": middle - begin,
        "write_seconds": time.perf_counter() - middle,
    }


@torch.no_grad()
def evaluate_reconstructor(
    reconstruct: Reconstruct,
    objects: Objects,
    show: ReconstructionEvaluation,
    perceptual: Perceptual,
    device: torch.device,
    picture_path: Path,
) -> dict[str, float]:
    """Computes means over the first `show.objects` objects, and a picture of `show.shown`, beside which lie the
    objects' own figures (`.json`).

    `psnr`, `ssim` and `perceptual` of the random views; `frechet` of all of them together, and `frechet_unseen_sides`
    of those that the condition image does not show, in the views' light; `chamfer`, `f_score`, `volume_iou` and those
    of `threestudio_like/evaluate/parts.py` where there is a surface; `surfaces`: how often there is one; the seconds
    of `reconstruct` and of the mesh.
    """
    count = min(show.objects, len(objects))
    scores, random, behind = [], [], []
    pictured: dict[int, Triplane] = {}
    for i in progress(range(count), f"evaluating {picture_path.stem}"):
        begin = time.perf_counter()
        scene = reconstruct(i)
        wait_for(device)
        middle = time.perf_counter()
        if i < show.shown:
            pictured[i] = scene
        mesh = mesh_or_none(scene)
        seconds = {"reconstruction_seconds": middle - begin, "mesh_seconds": time.perf_counter() - middle}
        images, truth = views(scene, objects, i, device)
        of_views: dict[str, Callable[..., Tensor]] = {"psnr": psnr, "ssim": ssim, "perceptual": perceptual}
        scores.append(
            seconds
            | {"surfaces": float(mesh is not None)}
            | {name: measure(images, truth).mean().item() for name, measure in of_views.items()}
        )
        if mesh is not None:
            scores[-1] |= asdict(compare(mesh.to_trimesh(), objects.mesh(i).to_trimesh()))
            scores[-1] |= compare_parts(mesh, Parts(*objects.parts(i))).figures
        random.append((images, truth))
        behind.append(unseen_sides(scene, objects, i, device))
    scorer = Scorer.load(show.scorer, device)
    apart = {
        name: frechet_distance(*(scorer.features(torch.cat(images)) for images in zip(*pairs, strict=True)))
        for name, pairs in (("frechet", random), ("frechet_unseen_sides", behind))
    }
    write_text(picture_path.with_suffix(".json"), json.dumps(scores) + "\n")

    write_png(
        picture_path, picture(lambda i: pictured[i] if i in pictured else reconstruct(i), objects, show.shown, device)
    )
    names = list(dict.fromkeys(name for own in scores for name in own))
    return {name: float(np.mean([own[name] for own in scores if name in own])) for name in names} | apart


def views(scene: Triplane, objects: Objects, index: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Renders an object's random views `[T, 3, H, W]`, of its mesh and true."""
    truth = objects.truth(np.array([index]))
    return drawn(scene, truth.cameras.to(device)), truth.rgb[0].permute(0, 3, 1, 2).to(device)


def unseen_sides(scene: Triplane, objects: Objects, index: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Renders those of an object's six views that show its other side, `[2, 3, H, W]`, of its mesh and true."""
    config = objects.config.views
    rig = zero123plus_rig(torch.zeros(1), config.distance, config.fov_deg, config.size)[UNSEEN]
    truth = objects.views.six_views(np.array([index]))[0, UNSEEN].to(device)
    return drawn(scene, rig.to(device), even_shading(len(rig), device)), truth


def drawn(scene: Triplane, cameras: Cameras, shading: Shading | None = None) -> Float[Tensor, "T 3 H W"]:
    """Renders the mesh, in its own colours where no shading is given; white where there is none."""
    try:
        view = MeshRenderer(MeshRenderer.Config())(scene, cameras, shading or Shading())
    except NoSurfaceError:
        return torch.ones(len(cameras), 3, cameras.height, cameras.width, device=cameras.c2w.device)
    return view.rgb.permute(0, 3, 1, 2)


def even_shading(count: int, device: torch.device) -> Shading:
    """Lights a scene as the six views are lit: from straight above, and from everywhere."""
    above = torch.tensor([0.0, 0.0, FAR]).expand(count, 3).to(device)
    return Shading("lambertian", above, ambient=AMBIENT, diffuse=1 - AMBIENT)


@torch.no_grad()
def picture(reconstruct: Reconstruct, objects: Objects, count: int, device: torch.device) -> Float[Tensor, "H W 3"]:
    """Draws a row an object: its image, its six views, and random views in turn reconstructed and true."""
    rows = []
    for i in range(min(count, len(objects))):
        shown = [*objects.views.images(np.array([i])), *objects.views.six_views(np.array([i]))[0]]
        pairs = torch.stack(views(reconstruct(i), objects, i, device), dim=1).flatten(0, 1).cpu()
        shown += F.interpolate(pairs, shown[0].shape[-2:])
        rows.append(torch.cat(shown, dim=-1))
    return torch.cat(rows, dim=-2).permute(1, 2, 0)


def mesh_or_none(scene: Triplane) -> Mesh | None:
    """Extracts the mesh without its small parts; None where there is no surface."""
    try:
        return remove_small_components(scene.mesh(), SMALLEST_PART)
    except NoSurfaceError:
        return None
