"""Validates the consistency metric: true toys must pass it, Janus toys made on purpose must not.

These are put together from true views, or are solids: the toy's front half, or quarter, once for each of 2 or 4 sides.

python benchmarks/consistency.py [--toys 2] prints, for each kind of object, the share that is judged consistent.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch
from skimage.measure import marching_cubes

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from threestudio_like.cameras import orbit
from threestudio_like.data.toybox import trace_cpu
from threestudio_like.data.toybox.assembly import COLOR, Toy
from threestudio_like.data.toybox.catalogue import CATEGORIES, COLORS, make_toy
from threestudio_like.data.toybox.photographs import pack
from threestudio_like.data.toybox.render import Light, render_toys
from threestudio_like.evaluate.janus import Consistency, classify_views
from threestudio_like.evaluate.scorer import Scorer
from threestudio_like.kernels.rasterize import rasterize

VIEWS = 24
RESOLUTION = 96


def pictures(toys: np.ndarray) -> torch.Tensor:
    """Renders `[VIEWS, 3, 64, 64]` around one packed toy (or one a view)."""
    cameras = orbit(VIEWS, 15.0, 2.7, 41.0, 64)
    view = render_toys(np.broadcast_to(toys, (VIEWS, *toys.shape[1:])).copy(), cameras, Light.flat(VIEWS), 2)
    return (view.rgb + (1 - view.opacity) * 0.85).permute(0, 3, 1, 2)


def mirrored(true: torch.Tensor) -> torch.Tensor:
    """Composes a two-faced object: the front half and its mirror image, so that from behind one sees the front,
    flipped."""
    views = []
    for k in range(VIEWS):
        behind = math.cos(2 * math.pi * k / VIEWS) < -1e-6
        views.append(true[(VIEWS // 2 - k) % VIEWS].flip(-1) if behind else true[k])
    return torch.stack(views)


def repeated(true: torch.Tensor, fronts: int) -> torch.Tensor:
    """Composes an object with `fronts` copies of its front, one after the other around it."""
    period = VIEWS // fronts
    return torch.stack([true[((k + period // 2) % period - period // 2) % VIEWS] for k in range(VIEWS)])


def in_front(points: np.ndarray, fronts: int) -> np.ndarray:
    """Rotates each point `[N, 3]` about z by the multiple of 360 / fronts degrees that brings it to the front."""
    angle, period = np.arctan2(points[:, 1], points[:, 0]), 2 * np.pi / fronts
    angle, radius = (angle + period / 2) % period - period / 2, np.hypot(points[:, 0], points[:, 1])
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), points[:, 2]], axis=-1).astype(np.float32)


def solid_pictures(toy: Toy, fronts: int) -> torch.Tensor:
    """Renders `[VIEWS, 3, 64, 64]` around a solid of `fronts` copies of the toy's front wedge: heads on all its
    sides."""
    axis = np.linspace(-1, 1, RESOLUTION, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = trace_cpu.distances(toy.primitives, in_front(grid, fronts))[0].reshape((RESOLUTION,) * 3)
    vertices, faces, _, _ = marching_cubes(distance, 0.0, gradient_direction="descent")
    vertices = (vertices / (RESOLUTION - 1) * 2 - 1).astype(np.float32)
    colors = toy.primitives[trace_cpu.distances(toy.primitives, in_front(vertices, fronts))[1], COLOR]
    vertices, faces, colors = (torch.from_numpy(np.ascontiguousarray(a)) for a in (vertices, faces, colors))
    cameras = orbit(VIEWS, 15.0, 2.7, 41.0, 128)
    fragments = rasterize(*cameras.project(vertices.expand(VIEWS, -1, -1)), faces, 128, 128)
    seen = fragments.image(torch.cat([fragments.interpolate(colors), torch.ones(len(fragments.pixel), 1)], dim=-1))
    images = seen[..., :3] + 0.85 * (1 - seen[..., 3:])
    return torch.nn.functional.avg_pool2d(images.permute(0, 3, 1, 2), 2)


def main() -> dict[str, list[tuple[str, "Consistency"]]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toys", type=int, default=2, help="individuals a category")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    scorer = Scorer.load("priors/weights/scorer")
    azimuth = orbit(VIEWS, 15.0, 2.7, 41.0, 64).azimuth
    rng = np.random.default_rng(given.seed)
    found: dict[str, list[tuple[str, Consistency]]] = {}
    for category, kind in CATEGORIES.items():
        if not kind.has_front:
            continue
        for _ in range(given.toys):
            toy = make_toy(category, list(COLORS)[int(rng.integers(len(COLORS)))], rng)
            true = pictures(pack([toy]))
            kinds = {
                "true": true,
                "two-faced": mirrored(true),
                "two fronts": repeated(true, 2),
                "four fronts": repeated(true, 4),
                "solid, two heads": solid_pictures(toy, 2),
                "solid, four heads": solid_pictures(toy, 4),
            }
            for name, images in kinds.items():
                found.setdefault(name, []).append(
                    (category, classify_views(scorer.azimuth(images).softmax(-1), azimuth))
                )
    for name, verdicts in found.items():
        share = np.mean([verdict.consistent for _, verdict in verdicts])
        margins = np.quantile([verdict.margin for _, verdict in verdicts], (0.03, 0.5, 0.97))
        odd = sorted({category for category, verdict in verdicts if verdict.consistent != (name == "true")})
        print(
            f"{name:18s} judged consistent: {100 * share:5.1f} % of {len(verdicts)}; margins (3, 50, 97 %): "
            f"{margins[0]:.2f} {margins[1]:.2f} {margins[2]:.2f}; misjudged: {', '.join(odd) or 'none'}"
        )
    return found


if __name__ == "__main__":
    main()
