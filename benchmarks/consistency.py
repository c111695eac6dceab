"""Validates the consistency metric: true toys must pass it, Janus toys made on purpose must not.

python benchmarks/consistency.py [--toys 2] prints, for each kind of object, the share that is judged consistent.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from priors.scorer import Scorer
from threestudio_like.cameras import orbit
from threestudio_like.data.toybox.assembly import CENTER, ROTATION
from threestudio_like.data.toybox.catalogue import CATEGORIES, COLORS, make_toy
from threestudio_like.data.toybox.photographs import pack
from threestudio_like.data.toybox.render import Light, shoot
from threestudio_like.evaluate.consistency import Verdict, judge

VIEWS = 24


def pictures(toys: np.ndarray) -> torch.Tensor:
    """`[VIEWS, 3, 64, 64]` around one packed toy (or one a view)."""
    cameras = orbit(VIEWS, 15.0, 2.7, 41.0, 64)
    view = shoot(np.broadcast_to(toys, (VIEWS, *toys.shape[1:])).copy(), cameras, Light.flat(VIEWS), 2)
    return (view.rgb + (1 - view.opacity) * 0.85).permute(0, 3, 1, 2)


def mirrored(true: torch.Tensor) -> torch.Tensor:
    """Two-faced: the front half and its mirror image, so that from behind one sees the front, flipped."""
    views = []
    for k in range(VIEWS):
        behind = math.cos(2 * math.pi * k / VIEWS) < -1e-6
        views.append(true[(VIEWS // 2 - k) % VIEWS].flip(-1) if behind else true[k])
    return torch.stack(views)


def repeated(true: torch.Tensor, fronts: int) -> torch.Tensor:
    """`fronts` copies of the front, one after the other around the object."""
    period = VIEWS // fronts
    return torch.stack([true[((k + period // 2) % period - period // 2) % VIEWS] for k in range(VIEWS)])


def turned_copies(rows: np.ndarray, copies: int) -> np.ndarray:
    """The primitives `[1, P, COLUMNS]` of a toy and of itself turned about z: a head at each end, and so on."""
    parts = []
    for angle in np.arange(copies) * 2 * np.pi / copies:
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        part = rows.copy()
        part[..., CENTER] = rows[..., CENTER] @ turn.T
        part[..., ROTATION] = (rows[..., ROTATION].reshape(-1, 3, 3) @ turn.T).reshape(*rows.shape[:-1], 9)
        parts.append(part)
    return np.concatenate(parts, axis=1).astype(np.float32)


def main() -> dict[str, list[tuple[str, "Verdict"]]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toys", type=int, default=2, help="individuals a category")
    given = parser.parse_args()
    scorer = Scorer.load("priors/weights/scorer")
    azimuth = orbit(VIEWS, 15.0, 2.7, 41.0, 64).azimuth
    rng = np.random.default_rng(7)
    found: dict[str, list[tuple[str, Verdict]]] = {}
    for category, kind in CATEGORIES.items():
        if not kind.has_front:
            continue
        for i in range(given.toys):
            rows = pack([make_toy(category, list(COLORS)[int(rng.integers(len(COLORS)))], rng)])
            true = pictures(rows)
            kinds = {"true": true, "two-faced": mirrored(true), "two fronts": repeated(true, 2), "four fronts": repeated(true, 4),
                     "doubled": pictures(turned_copies(rows, 2)), "fourfold": pictures(turned_copies(rows, 4))}
            for name, images in kinds.items():
                found.setdefault(name, []).append((category, judge(scorer.azimuth(images).softmax(-1), azimuth)))
    for name, verdicts in found.items():
        share = np.mean([verdict.consistent for _, verdict in verdicts])
        margins = np.quantile([verdict.margin for _, verdict in verdicts], (0.03, 0.5, 0.97))
        odd = sorted({category for category, verdict in verdicts if verdict.consistent != (name == "true")})
        print(f"{name:12s} judged consistent: {100 * share:5.1f} % of {len(verdicts)}; margins (3, 50, 97 %): "
              f"{margins[0]:.2f} {margins[1]:.2f} {margins[2]:.2f}; misjudged: {', '.join(odd) or 'none'}")
    return found


if __name__ == "__main__":
    main()
