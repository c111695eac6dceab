"""R-Precision of a recipe on Toybox prompts: `python benchmarks/r_precision.py --config dreamfusion.yaml --seeds 2`.

20 prompts, half of them pairs that the prior never saw. A prompt counts as found in colour when the scorer picks it
among all colour x category captions (4 colour renders at 30 degrees elevation), and in geometry when the scorer picks
its category on textureless renders; `consistent` counts the categories with a front. Runs that exist in the output
folder are not run again. Prints a markdown table with 95 % bootstrap intervals; also measures the true toys' renders,
the ceiling.
"""

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see launch.py

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import launch
from threestudio_like.cameras import orbit
from threestudio_like.data.toybox.catalogue import COLORS, caption, is_held_out, make_toy
from threestudio_like.data.toybox.photographs import pack
from threestudio_like.data.toybox.render import Light, render_toys
from threestudio_like.evaluate.scorer import Scorer
from threestudio_like.evaluate.toybox import CATEGORY_CAPTIONS, COLOR_CAPTIONS
from threestudio_like.experiments.statistics import Values, interval

SEEN = (
    ("yellow", "duck"),
    ("red", "chair"),
    ("blue", "car"),
    ("green", "turtle"),
    ("wooden", "house"),
    ("red", "mushroom"),
    ("white", "snowman"),
    ("purple", "mug"),
    ("orange", "fish"),
    ("pink", "elephant"),
)
NEW = (
    ("yellow", "truck"),
    ("blue", "dog"),
    ("green", "sofa"),
    ("orange", "penguin"),
    ("purple", "rabbit"),
    ("red", "teapot"),
    ("brown", "aeroplane"),
    ("pink", "train"),
    ("wooden", "robot"),
    ("white", "boat"),
)


def prompts() -> list[tuple[str, str, bool]]:
    """Lists (colour, category, held out): each list is moved on to the nearest colour of its split."""
    chosen = []
    for pairs, held_out in ((SEEN, False), (NEW, True)):
        for color, category in pairs:
            start = list(COLORS).index(color)
            rotated = [*COLORS][start:] + [*COLORS][:start]
            chosen.append((next(c for c in rotated if is_held_out(c, category) == held_out), category, held_out))
    return chosen


def shown(values: Values) -> str:
    """Formats `mean [low, high]` in percent."""
    estimate = interval(values)
    return f"{100 * estimate.mean:.0f} % [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"


def ceiling(scorer: Scorer, chosen, seeds: int) -> tuple[Values, Values]:
    """Computes both scores for true toys, as they are and in clay."""
    color_right, shape_right = {}, {}
    for color, category, _ in chosen:
        for seed in range(seeds):
            toys = pack([make_toy(category, color, np.random.default_rng([seed, 77]))] * 4)
            cameras = orbit(4, 30.0, 2.7, 41.0, 64)

            def over(view):
                return (view.rgb + (1 - view.opacity) * 0.85).permute(0, 3, 1, 2)

            light = Light.flat(4)
            above = torch.nn.functional.normalize(cameras.position + torch.tensor([0.0, 0.0, 1.6]), dim=-1)
            clay = Light(above, torch.full((4,), 0.4), torch.ones(4, dtype=torch.bool))
            pair = (scorer.image(over(render_toys(toys, cameras, light, 2))) @ scorer.text(COLOR_CAPTIONS).T).mean(0)
            kind = (scorer.image(over(render_toys(toys, cameras, clay, 2))) @ scorer.text(CATEGORY_CAPTIONS).T).mean(0)
            key = caption(category, color), seed
            color_right[key] = float(COLOR_CAPTIONS[pair.argmax()] == caption(category, color))
            shape_right[key] = float(CATEGORY_CAPTIONS[kind.argmax()] == caption(category))
    return color_right, shape_right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="dreamfusion.yaml")
    parser.add_argument("--out", type=Path, default=Path("outputs/r-precision"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=20, help="only so many, half of them held out")
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    half = given.prompts // 2
    chosen = prompts()[:half] + prompts()[10 : 10 + half]
    rows = []
    for color, category, held_out in chosen:
        for seed in range(given.seeds):
            folder = given.out / f"{color}-{category}-{seed}"
            stored = folder / "metrics.json"
            if not (stored.exists() and json.loads(stored.read_text()).get("status") == "done"):
                with contextlib.redirect_stdout(sys.stderr):
                    code = launch.main(
                        [
                            "--config",
                            given.config,
                            f"prompt={caption(category, color)}",
                            f"seed={seed}",
                            f"out={folder}",
                            *given.overrides,
                        ]
                    )
                assert code == 0, f"{folder}: exit code {code}"
            rows.append((color, category, held_out, seed, json.loads(stored.read_text())))
            metrics = rows[-1][-1]
            verdict = f"colour {metrics['color_correct']:.0f} shape {metrics['geometry_correct']:.0f}"
            print(f"{color} {category} {seed}: {verdict} {metrics['wall_seconds']:.0f} s", file=sys.stderr)
    print("\n| prompts | runs | colour | geometry | consistent | seconds |\n|---|---|---|---|---|---|")
    for name, wanted in (("seen pairs", {False}), ("held-out pairs", {True}), ("all", {False, True})):
        part = {
            (caption(category, color), seed): metrics
            for color, category, held_out, seed, metrics in rows
            if held_out in wanted
        }
        cells = (
            shown({key: metrics[name] for key, metrics in part.items() if name in metrics})
            for name in ("color_correct", "geometry_correct", "consistent")
        )
        seconds = np.mean([metrics["wall_seconds"] for metrics in part.values()])
        print(f"| {name} | {len(part)} | {' | '.join(cells)} | {seconds:.0f} |")
    color_right, shape_right = ceiling(Scorer.load("priors/weights/scorer"), chosen, given.seeds)
    print(f"| true toys | {len(color_right)} | {shown(color_right)} | {shown(shape_right)} | | |")


if __name__ == "__main__":
    main()
