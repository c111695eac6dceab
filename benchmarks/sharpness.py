"""Measures how sharp, smooth and true to their renders a recipe's results are: `python benchmarks/sharpness.py`.

The prompts are the first 20 of `comparisons/consistency.yaml`, those of `claims.yaml` among them. Measured on eight
views around each result: the share of the touched rays (opacity over .05) that are foggy (under .95); the depth in
which a solid ray (over .5) gains its opacity from 5 to 95 %; the mean opacity of the other rays; the angle of normals
to their mean within three pixels, beside that of a true toy; how like the render the exported mesh looks. Then the
scorer's verdicts and the seconds of training. Fog is measured on fields alone. Runs that are there are not run again.
"""

import argparse
import contextlib
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see launch.py

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import launch
from systems.per_scene import Particle, PerScene
from threestudio_like.cameras import Cameras, orbit
from threestudio_like.config.loading import load
from threestudio_like.data.toybox.catalogue import make_toy
from threestudio_like.data.toybox.photographs import pack
from threestudio_like.data.toybox.render import Light, render_toys
from threestudio_like.engine.run import Run
from threestudio_like.errors import UserError
from threestudio_like.evaluate.images import psnr
from threestudio_like.evaluate.toybox import toy_of
from threestudio_like.experiments.statistics import interval
from threestudio_like.kernels.composite import composite
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.base import Scene, VolumeScene
from threestudio_like.scenes.convert import remove_small_components
from threestudio_like.scenes.mesh import Surface
from threestudio_like.utils.seeding import seed_for

NEAR, FAR, SAMPLES = 1.0, 4.4, 300
"""The part of each ray that is looked at, in scene units, and its samples: finer than the renders' own."""
RADIUS = 3
"""Pixels around one whose normals are its neighbours."""
COLUMNS = {
    "foggy": "foggy rays, %",
    "thickness": "thickness",
    "free_space": "free space",
    "roughness": "roughness, deg",
    "true_roughness": "true toy's, deg",
    "mesh_psnr": "mesh to render, dB",
    "color_correct": "caption, %",
    "geometry_correct": "shape, %",
    "consistent": "consistent, %",
    "train_seconds": "training, s",
}
PERCENT = {"foggy", "color_correct", "geometry_correct", "consistent"}


@dataclass(frozen=True)
class MeshScene:
    """A scene's exported mesh, with the scene's colours and background."""

    scene: Scene
    parts: Surface

    @property
    def background(self):
        """The scene's."""
        return self.scene.background

    def material(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Returns the scene's albedo."""
        return self.scene.material(x)[:, :3]

    def surface(self, training: bool = True) -> Surface:
        """Returns the mesh."""
        return self.parts


def weights_along(scene: VolumeScene, cameras: Cameras) -> Float[Tensor, "R K"]:
    """Computes the compositing weights of each ray's samples."""
    rays = cameras.rays()
    step = (FAR - NEAR) / SAMPLES
    t = NEAR + (torch.arange(SAMPLES) + 0.5) * step
    parts = []
    for origin, direction in zip(rays.origins.split(2048), rays.directions.split(2048), strict=True):
        x = origin[:, None] + t[:, None] * direction[:, None]
        inside = (x.abs() <= 1).all(-1)
        density = torch.zeros(inside.shape)
        density[inside] = scene.density(x[inside])
        ends = torch.arange(len(x) + 1) * SAMPLES
        parts.append(composite(density.flatten(), step, ends).view(-1, SAMPLES))
    return torch.cat(parts)


def fog(scene: VolumeScene, cameras: Cameras) -> dict[str, float]:
    """Measures the share of foggy rays, the mean depth of solid ones, and the mean opacity of the others."""
    weights = weights_along(scene, cameras)
    opacity = weights.sum(1)
    share = weights.cumsum(1) / opacity.clamp_min(1e-6)[:, None]
    depth = ((share < 0.95).sum(1) - (share < 0.05).sum(1)) * (FAR - NEAR) / SAMPLES
    touched, solid = opacity > 0.05, opacity > 0.5
    return {
        "foggy": ((touched & (opacity < 0.95)).sum() / touched.sum()).item(),
        "thickness": depth[solid].mean().item(),
        "free_space": opacity[~solid].mean().item(),
    }


def roughness(normal: Float[Tensor, "B H W 3"], opacity: Float[Tensor, "B H W 1"]) -> float:
    """Measures the mean angle in degrees of a normal to the mean of those within RADIUS pixels, off the outline."""
    solid = (opacity > 0.9).float().permute(0, 3, 1, 2)
    unit = F.normalize(normal, dim=-1).permute(0, 3, 1, 2) * solid
    axis = torch.arange(-RADIUS, RADIUS + 1)
    disc = (axis[:, None].square() + axis.square() <= RADIUS**2).float()[None, None]
    mean = F.normalize(F.conv2d(unit, disc.expand(3, 1, -1, -1), padding=RADIUS, groups=3), dim=1)
    off_outline = (F.conv2d(solid, disc, padding=RADIUS) > disc.sum() - 0.5) & (solid > 0)
    angle = torch.rad2deg((unit * mean).sum(1, keepdim=True).clamp(-1, 1).acos())
    return angle[off_outline].mean().item()


def image(views: list[Render]) -> Float[Tensor, "B 3 H W"]:
    """Joins the views' colours."""
    return torch.cat([view.rgb for view in views]).permute(0, 3, 1, 2)


@torch.no_grad()
def measure(run: Run) -> dict[str, float]:
    """Measures a finished run; of several particles the first."""
    assert isinstance(run.system, PerScene), "other methods leave no scene"
    show, scene, particle = run.system.config.evaluation, run.system.scene, run.system.particles[0]
    assert isinstance(particle, Particle)

    def around(size: int) -> Cameras:
        return orbit(8, show.elevation_deg, show.distance, show.fov_deg, size)

    found = fog(scene, around(48)) if isinstance(scene, VolumeScene) else {}
    cameras = around(128)
    views = particle.views(cameras, Shading(), normals=True)
    normals, opacity = (torch.cat([getattr(view, name) for view in views]) for name in ("normal", "opacity"))
    found["roughness"] = roughness(normals, opacity)
    if toy := toy_of(run.recipe.run.prompt):
        packed = pack([make_toy(*toy, np.random.default_rng(seed_for("reference", 0)))] * len(cameras))
        truth = render_toys(packed, cameras, Light.flat(len(cameras)))
        assert truth.normal is not None
        found["true_roughness"] = roughness(truth.normal, truth.opacity)
    if run.metrics.get("mesh_vertices"):
        mesh = remove_small_components(scene.mesh(), show.smallest_part)
        parts = Surface.of(torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces).long())
        drawn = list(MeshRenderer().images(MeshScene(scene, parts), cameras, Shading()))
        found["mesh_psnr"] = psnr(image(drawn), image(views)).mean().item()
    return found | {name: run.metrics[name] for name in COLUMNS if name in run.metrics}


def finished(config: str, prompt: str, seed: int, folder: Path, keys: list[str]) -> Run:
    """Opens the run in the folder, after running it where it is not done."""
    with contextlib.suppress(UserError):
        return Run.open(folder)
    with contextlib.redirect_stdout(sys.stderr):
        code = launch.main(["--config", config, f"prompt={prompt}", f"seed={seed}", f"out={folder}", *keys])
    assert code == 0, f"{folder}: exit code {code}"
    return Run.open(folder)


def cell(name: str, values: dict[tuple[str, int], float]) -> str:
    """Formats the mean, and its 95 % interval where there are several."""
    if not values:
        return "–"
    scale = 100 if name in PERCENT else 1
    estimate = interval(values)
    mean, low, high = (scale * value for value in (estimate.mean, estimate.low, estimate.high))
    digits = 0 if name in PERCENT or name == "train_seconds" else 1 if abs(mean) >= 1 else 3
    return f"{mean:.{digits}f}" + (f" [{low:.{digits}f}, {high:.{digits}f}]" if estimate.prompts > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="dreamfusion.yaml")
    parser.add_argument("--out", type=Path, default=Path("outputs/sharpness"))
    parser.add_argument("--prompts", type=int, default=20, help="only so many")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--runs", type=Path, nargs="*", help="measures these folders of finished runs instead")
    parser.add_argument("keys", nargs="*", help="keys of the recipe")
    given = parser.parse_args()
    rows: dict[tuple[str, int], dict[str, float]] = {}
    prompts = load("comparisons/consistency.yaml", [])["prompts"][: given.prompts]
    print(f"| n | {' | '.join(COLUMNS.values())} |\n|---|{'---|' * len(COLUMNS)}")

    def row(label: str, keys: list[tuple[str, int]]) -> None:
        cells = [cell(name, {key: rows[key][name] for key in keys if name in rows[key]}) for name in COLUMNS]
        print(f"| {label} | {' | '.join(cells)} |", flush=True)

    def runs() -> Iterator[tuple[tuple[str, int], Run]]:
        for folder in given.runs or ():
            yield (str(folder), 0), Run.open(folder)
        for prompt in () if given.runs else prompts:
            for seed in range(given.seeds):
                folder = given.out / f"{prompt.replace(' ', '-')}-{seed}"
                yield (prompt, seed), finished(given.config, prompt, seed, folder, given.keys)

    for key, run in runs():
        rows[key] = {name: value for name, value in measure(run).items() if math.isfinite(value)}
        row(run.folder.name, [key])
    row(f"{len(rows)}", list(rows))


if __name__ == "__main__":
    main()
