"""Distils a mixture of three Gaussians of exact score by SDS and by VSD: a plot and a table of moments.

    python benchmarks/mixture.py [--points 1024] [--out docs/images/mixture.png]

Each point is a scene of its own under one prior. SDS moves all to the modes; VSD, whose fake score knows their
distribution, keeps the mixture's width (ProlificDreamer, section 3).
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from priors.guidance.base import GuidanceConfig
from priors.guidance.sds import SDS
from priors.guidance.vsd import VSD, VSDConfig
from tests.priors.mixture import MEANS, MLP, SPREAD, MixtureBackbone, distil, moments
from threestudio_like.config.registry import Component
from threestudio_like.config.schedule import Schedule

ONE = Schedule.constant(1.0)


def distilled(count: int) -> dict[str, torch.Tensor]:
    """Computes the points to which `count` points move, by method."""
    torch.manual_seed(0)
    backbone = MixtureBackbone()
    which = torch.randint(len(MEANS), (count,), generator=torch.Generator().manual_seed(1))
    prior = MEANS[which] + SPREAD * torch.randn(count, 3, generator=torch.Generator().manual_seed(2))
    fake_score = Component("fake_score", "mlp_for_tests", MLP.Config())
    vsd = VSDConfig(scale=ONE, fake_score=fake_score, weighting="sigma2", dropout=0.0, lr=Schedule.constant(2e-3))
    sds = GuidanceConfig(scale=ONE, t_max=Schedule.constant(0.1), weighting="uniform")
    return {
        "the prior": prior,
        "SDS": distil(SDS(backbone, sds), count, 1000, 0.02),
        "VSD": distil(VSD(backbone, vsd), count, 2500, 0.02),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=1024)
    parser.add_argument("--out", type=Path, default=Path("docs/images/mixture.png"))
    given = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    points_of = distilled(given.points)
    figure, axes = pyplot.subplots(
        1, len(points_of), figsize=(3 * len(points_of), 3), sharex=True, sharey=True, layout="constrained"
    )
    print("| points | shares | distance of the means from the modes | variance, in the prior's |\n|---|---|---|---|")
    for axis, (name, points) in zip(axes, points_of.items(), strict=True):
        axis.scatter(*points[:, :2].T, s=3, alpha=0.5)
        axis.scatter(*MEANS[:, :2].T, marker="+", color="black")
        axis.set(title=name, aspect="equal", xlim=(-1.5, 1.7), ylim=(-1.6, 1.6))
        share, mean, variance = moments(points)
        cells = [share, (mean - MEANS).norm(dim=1), variance / SPREAD**2]
        print(f"| {name} | " + " | ".join(", ".join(f"{value:.3f}" for value in cell) for cell in cells) + " |")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.out, dpi=120)


if __name__ == "__main__":
    main()
