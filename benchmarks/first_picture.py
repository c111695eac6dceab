"""Composes the README's picture: a prompt of the gallery, a row of eight views for every method.

    python -m benchmarks.first_picture [--prompt "a red chair"] [--out docs/images/first-picture.png]

Reads the runs of `python -m benchmarks.gallery`, and names the one that is missing.
"""

import argparse
import sys
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFont

from threestudio_like.config.loading import load
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


def without_margins(rows: dict[str, Image.Image]) -> dict[str, Image.Image]:
    """Cuts what is empty above and below the objects, alike in all rows."""
    boxes = [ImageChops.difference(row, Image.new("RGB", row.size, BACKGROUND)) for row in rows.values()]
    boxes = [box.convert("L").point(lambda value: 255 * (value > 12)).getbbox() for box in boxes]
    top, bottom = min(box[1] for box in boxes), max(box[3] for box in boxes)
    top, bottom = max(top - MARGIN, 0), min(bottom + MARGIN, next(iter(rows.values())).height)
    return {name: row.crop((0, top, row.width, bottom)) for name, row in rows.items()}


def compose(prompt: str, rows: dict[str, Image.Image]) -> Image.Image:
    """Stacks the methods' rows under the prompt, each with its name at the left."""
    first, head = next(iter(rows.values())), 54
    width, height = LABELS + first.width, first.height
    picture = Image.new("RGB", (width, head + len(rows) * height), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    draw.text((width / 2, head / 2), f"“{prompt}”", INK, ImageFont.load_default(26), anchor="mm")
    for i, (name, views) in enumerate(rows.items()):
        top = head + i * height
        picture.paste(views, (LABELS, top))
        draw.text((16, top + height / 2), name, INK, ImageFont.load_default(17), anchor="lm")
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt", default="a red chair")
    parser.add_argument("--comparison", default="comparisons/gallery.yaml")
    parser.add_argument("--size", type=int, default=128, help="pixels a view")
    parser.add_argument("--out", type=Path, default=Path("docs/images/first-picture.png"))
    given = parser.parse_args()
    found = turntables(parse_comparison(load(given.comparison), "gallery"), given.prompt)
    missing = [method for method, path in found.items() if path is None]
    if missing or not found:
        by = ", ".join(missing) or "any method"
        sys.exit(f"no turntable of '{given.prompt}' by {by}; run: python -m benchmarks.gallery")
    rows = without_margins({name: color_views(path, given.size) for name, path in found.items() if path})
    picture = compose(given.prompt, rows)
    picture.save(given.out, optimize=True)
    print(given.out)


if __name__ == "__main__":
    main()
