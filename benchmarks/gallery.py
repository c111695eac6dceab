"""Draws the gallery: every toy by every method, eight sides in colour and the bare shape, beside a true toy.

    python -m benchmarks.gallery [--workers 2] [--comparison comparisons/gallery.yaml] [--out docs/gallery]

Runs the comparison first; what is done of it is not done again. Nothing is chosen: a run that failed leaves its row
empty.
"""

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image

import launch
from benchmarks.first_picture import BACKGROUND, VIEWS, compose, turntables
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import slug
from threestudio_like.data.toybox.render import Light
from threestudio_like.engine.monitor import to_bytes
from threestudio_like.evaluate.reference import true_views, turntable
from threestudio_like.evaluate.toybox import toy_of
from threestudio_like.experiments.comparison import Comparison, parse_comparison
from threestudio_like.renderers.shading import headlight

QUALITY = 80
"""Of WebP, 0 to 100."""


def true_rows(category: str, color: str, size: int) -> Image.Image:
    """Renders a true toy on the runs' turntable: its colours, and the bare shape below."""
    ambient, clay = torch.full((VIEWS,), 0.4), torch.ones(VIEWS, dtype=torch.bool)
    headlights = Light(F.normalize(headlight(turntable(size)), dim=-1), ambient, clay)
    rows = [true_views(category, color, 0, size, light)[0] for light in (None, headlights)]
    return Image.fromarray(to_bytes(torch.cat([torch.cat(list(row.permute(0, 2, 3, 1)), dim=1) for row in rows])))


def sheet(comparison: Comparison, prompt: str, size: int) -> Image.Image:
    """Stacks a prompt's true toy and each method's turntable, with their names at the left."""
    toy = toy_of(prompt)
    if toy is None:
        sys.exit(f"'{prompt}' names no toy")
    rows = {"a true toy": true_rows(*toy, size)}
    for method, path in turntables(comparison, prompt).items():
        empty = Image.new("RGB", (VIEWS * size, 2 * size), BACKGROUND)
        picture = Image.open(path).convert("RGB") if path else empty
        rows[method] = picture.resize(empty.size, Image.Resampling.LANCZOS)
    return compose([f"“{prompt}”"], rows)


def page(comparison: Comparison) -> str:
    """Writes the gallery's page."""
    prompts, seed = comparison.config.prompts, comparison.config.seeds[0]
    lines = [
        "# Gallery",
        "",
        f"{len(prompts)} toys by {len(comparison.methods)} methods with seed {seed}, none left out: eight sides in",
        "colour, the bare shape below; at the top a true toy. `python -m benchmarks.gallery` draws them.",
    ]
    for prompt in prompts:
        picture = f"![{prompt} by every method, beside a true one]({slug(prompt)}.webp)"
        lines += ["", f"## {prompt.capitalize()}", "", picture]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparison", default="comparisons/gallery.yaml")
    parser.add_argument("--workers", type=int, default=2, help="runs at once")
    parser.add_argument("--size", type=int, default=256, help="pixels a view")
    parser.add_argument("--out", type=Path, default=Path("docs/gallery"))
    given = parser.parse_args()
    code = launch.main(["--config", given.comparison, "--workers", str(given.workers)])
    if code > 1:  # 1: some runs have failed, as its table says, and their rows stay empty
        sys.exit(code)
    comparison = parse_comparison(load(given.comparison), "gallery")
    given.out.mkdir(parents=True, exist_ok=True)
    for prompt in comparison.config.prompts:
        sheet(comparison, prompt, given.size).save(given.out / f"{slug(prompt)}.webp", quality=QUALITY)
    (given.out / "index.md").write_text(page(comparison), encoding="utf-8")
    print(given.out / "index.md")


if __name__ == "__main__":
    main()
