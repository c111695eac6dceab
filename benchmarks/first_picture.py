"""Composes the README's picture: every third toy of the gallery from one side, a row for every method.

    python -m benchmarks.first_picture [--out docs/images/first-picture.png]

Reads the runs of `python -m benchmarks.gallery`, and names the one that is missing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFont

from threestudio_like.config.loading import load
from threestudio_like.engine.monitor import to_bytes
from threestudio_like.evaluate.reference import true_views
from threestudio_like.evaluate.toybox import toy_of
from threestudio_like.experiments.comparison import Comparison, parse_comparison

VIEWS, LABELS, MARGIN, BACKGROUND, INK = 8, 190, 8, (217, 217, 217), (40, 40, 40)


def turntables(comparison: Comparison, prompt: str) -> dict[str, Path | None]:
    """Finds a prompt's eight views by each method, of the comparison's first seed; None where they are missing."""
    cells = [one for one in comparison.cells if one.prompt == prompt and one.seed == comparison.config.seeds[0]]
    return {cell.method: min(cell.job.folder.rglob("turntable.png"), default=None) for cell in cells}


def color_views(path: Path, size: int) -> Image.Image:
    """Reads the upper row of a turntable, eight colour views, at `size` pixels a view."""
    strip = Image.open(path).convert("RGB")
    side = strip.width // VIEWS
    return strip.crop((0, 0, strip.width, side)).resize((VIEWS * size, size), Image.Resampling.LANCZOS)


def true_view(prompt: str, side: int, size: int) -> Image.Image:
    """Renders a true toy of the prompt, unlit, from one of the turntable's sides."""
    toy = toy_of(prompt)
    if toy is None:
        sys.exit(f"'{prompt}' names no toy")
    return Image.fromarray(to_bytes(true_views(*toy, 0, size)[0][side].permute(1, 2, 0)))


def beside(pictures: Sequence[Image.Image]) -> Image.Image:
    """Puts pictures of one height beside each other."""
    row = Image.new("RGB", (sum(one.width for one in pictures), pictures[0].height), BACKGROUND)
    left = 0
    for one in pictures:
        row.paste(one, (left, 0))
        left += one.width
    return row


def without_margins(rows: dict[str, Image.Image]) -> dict[str, Image.Image]:
    """Cuts what is empty above and below the objects, alike in all rows."""
    boxes = [ImageChops.difference(row, Image.new("RGB", row.size, BACKGROUND)) for row in rows.values()]
    boxes = [box.convert("L").point(lambda value: 255 * (value > 12)).getbbox() for box in boxes]
    top, bottom = min(box[1] for box in boxes), max(box[3] for box in boxes)
    top, bottom = max(top - MARGIN, 0), min(bottom + MARGIN, next(iter(rows.values())).height)
    return {name: row.crop((0, top, row.width, bottom)) for name, row in rows.items()}


def compose(titles: Sequence[str], rows: dict[str, Image.Image], font: int = 26) -> Image.Image:
    """Stacks the methods' rows, each with its name at the left, under titles that share the width."""
    first, head = next(iter(rows.values())), 54
    width, height = LABELS + first.width, first.height
    picture = Image.new("RGB", (width, head + len(rows) * height), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for i, title in enumerate(titles):
        middle = LABELS + (i + 0.5) * first.width / len(titles)
        draw.text((middle, head / 2), title, INK, ImageFont.load_default(font), anchor="mm")
    for i, (name, views) in enumerate(rows.items()):
        top = head + i * height
        picture.paste(views, (LABELS, top))
        draw.text((16, top + height / 2), name, INK, ImageFont.load_default(17), anchor="lm")
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=3, help="takes the first toy, and so many on, and so on")
    parser.add_argument("--side", type=int, default=1, choices=range(VIEWS), help="of the turntable")
    parser.add_argument("--comparison", default="comparisons/gallery.yaml")
    parser.add_argument("--size", type=int, default=128, help="pixels a view")
    parser.add_argument("--out", type=Path, default=Path("docs/images/first-picture.png"))
    given = parser.parse_args()
    comparison, size, side = parse_comparison(load(given.comparison), "gallery"), given.size, given.side
    prompts = comparison.config.prompts[:: given.every]
    found = {prompt: turntables(comparison, prompt) for prompt in prompts}
    rows = {"true toys": beside([true_view(prompt, side, size) for prompt in prompts])}
    for method in comparison.methods:
        views = []
        for prompt in prompts:
            path = found[prompt][method]
            if path is None:
                sys.exit(f"no turntable of '{prompt}' by {method}; run: python -m benchmarks.gallery")
            views.append(color_views(path, size).crop((side * size, 0, (side + 1) * size, size)))
        rows[method] = beside(views)
    picture = compose(prompts, without_margins(rows), font=14)
    picture.save(given.out, optimize=True)
    print(given.out)


if __name__ == "__main__":
    main()
