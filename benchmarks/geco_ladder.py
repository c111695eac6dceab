"""Compares GECO with its ablations on held-out toys: `python benchmarks/geco_ladder.py [--distilled FOLDER] [--single
FOLDER] [key=value ...]`.

The shipped generator and reconstructor on 64 objects of known categories in held-out colours: quality, sharpness of the
unseen sides, seconds, and diversity over seeds (`systems/geco/evaluation.py`). `--distilled` adds the reconstructor
that a run of both stages leaves, `--single` one of single images, what `priors/reconstructor-single.yaml` leaves. Keys
replace the recipe's; `--out` takes the pictures.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see launch.py

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from systems.geco.evaluation import BASELINES
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.engine.run import Run
from threestudio_like.experiments.statistics import difference

SHIPPED = [
    "generator.lora=null",
    "generator.weights=priors/weights/geco/generator",
]
FIGURES = {
    "psnr": ".2f",
    "ssim": ".3f",
    "perceptual": ".4f",
    "chamfer": ".4f",
    "volume_iou": ".3f",
    "parts_there": ".3f",
    "details": ".3f",
    "albedo_error": ".1f",
    "frechet": ".3f",
    "frechet_unseen_sides": ".3f",
    "views_psnr": ".2f",
    "views_seconds": ".2f",
    "seconds": ".2f",
}


COMPARED = (("without_stage_2", "one_step_teacher"), ("without_stage_2", "teacher"), ("geco", "without_stage_2"))


def compared(folder: Path, split: str, one: str, other: str) -> str:
    """Describes one baseline less another, object by object, with 95 % intervals."""

    def figures(baseline: str, name: str) -> dict[tuple[str, int], float]:
        objects = json.loads((folder / f"{baseline}-{split}.json".replace("_", "-")).read_text())
        return {(str(i), 0): of_object[name] for i, of_object in enumerate(objects) if name in of_object}

    told = []
    for name in ("psnr", "ssim", "perceptual", "volume_iou"):
        more = difference(figures(one, name), figures(other, name))
        told.append(
            f"{name} {more.interval.mean:+.4f} [{more.interval.low:+.4f}, {more.interval.high:+.4f}], p = {more.p:.3f}"
        )
    return f"{one} over {other}: ".replace("_", " ") + "; ".join(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("keys", nargs="*")
    parser.add_argument("--distilled")
    parser.add_argument("--single")
    parser.add_argument("--baselines", nargs="+", choices=BASELINES)
    parser.add_argument("--out", type=Path, default=Path("outputs/geco_ladder"))
    given = parser.parse_args()
    folders = {"geco": given.distilled, "single_image": given.single}
    if missing := [name for name in given.baselines or () if folders.get(name, "") is None]:
        parser.error(f"{missing[0]}: give its reconstructor's folder, by --distilled or --single")
    baselines = [
        baseline
        for baseline in given.baselines or BASELINES
        if baseline not in folders or folders[baseline] is not None
    ]
    keys = [
        *SHIPPED,
        "evaluation.objects=64",
        "evaluation.diverse=8",
        "evaluation.seeds=4",
        f"evaluation.baselines={baselines}",
        *([f"reconstructor.weights={given.distilled}"] if given.distilled else []),
        *([f"evaluation.single={given.single}"] if given.single else []),
        f"out={given.out}",
        *given.keys,
    ]
    run = Run(parse_recipe(load("geco-long.yaml", keys), "geco"))
    system = run.build("scene")
    given.out.mkdir(parents=True, exist_ok=True)
    metrics = system.evaluate(given.out)
    (given.out / "baselines.json").write_text(json.dumps(metrics, indent=2) + "\n")
    told = {"held_out": "known categories, held-out colours", "unseen": "other categories"}
    for name in system.config.evaluation.splits:
        prefix, split = "unseen_" if name == "unseen" else "", told[name]
        print(f"\n{split}\n\n| views from | {' | '.join(FIGURES)} |\n|{'---|' * (len(FIGURES) + 1)}")
        for baseline in baselines:
            values = [metrics.get(f"{prefix}{baseline}_{figure}") for figure in FIGURES]
            shown = [
                "" if value is None else format(value, form)
                for value, form in zip(values, FIGURES.values(), strict=True)
            ]
            print(f"| {baseline.replace('_', ' ')} | {' | '.join(shown)} |")
        for pair in COMPARED:
            if set(pair) <= set(baselines):
                print("\n" + compared(given.out, name, *pair))
    if system.config.evaluation.diverse and "teacher_diversity" in metrics:
        print(
            f"\ndiversity of the unseen sides: teacher {metrics['teacher_diversity']:.4f}, "
            f"GECO {metrics['generator_diversity']:.4f}"
        )


if __name__ == "__main__":
    main()
