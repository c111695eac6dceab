"""Composes the README's picture: one prompt, a row of eight views for every method.

    python benchmarks/first_picture.py [--prompt "a blue car"] [--runs outputs] [--out docs/images/first-picture.png]

Reads the turntables that these commands leave, and names the one that is missing:

    python launch.py --config NAME prompt="a blue car"                  (every method but GECO)
    python launch.py --config geco.yaml --generate prompt="a blue car"
"""

import argparse
import sys
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFont

from threestudio_like.config.recipe import slug

METHODS = {
    "DreamFusion": "dreamfusion",
    "Fantasia3D": "fantasia3d",
    "ProlificDreamer": "prolificdreamer",
    "SweetDreamer, NeRF": "sweetdreamer-nerf",
    "SweetDreamer, DMTet": "sweetdreamer",
    "GECO": "geco",
}
VIEWS, LABELS, MARGIN, BACKGROUND, INK = 8, 190, 8, (217, 217, 217), (40, 40, 40)


def turntable_of(recipe: str, prompt: str, runs: Path) -> Path:
    """Returns the file of a method's eight views. Exits with the command that makes it where it is missing."""
    name = slug(prompt)
    generated = recipe == "geco"
    folder = runs / recipe / "generated" / name if generated else runs / recipe / f"{name}-0"
    found = sorted(folder.rglob("turntable.png"))
    if not found:
        how = "--generate " if generated else ""
        sys.exit(f'no turntable in {folder}; run: python launch.py --config {recipe}.yaml {how}prompt="{prompt}"')
    return found[0]


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
    return {name: row.crop((0, top - MARGIN, row.width, bottom + MARGIN)) for name, row in rows.items()}


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
    parser.add_argument("--prompt", default="a blue car")
    parser.add_argument("--runs", type=Path, default=Path("outputs"))
    parser.add_argument("--size", type=int, default=128, help="pixels a view")
    parser.add_argument("--out", type=Path, default=Path("docs/images/first-picture.png"))
    given = parser.parse_args()
    found = {name: turntable_of(recipe, given.prompt, given.runs) for name, recipe in METHODS.items()}
    rows = without_margins({name: color_views(path, given.size) for name, path in found.items()})
    picture = compose(given.prompt, rows)
    picture.save(given.out, optimize=True)
    print(given.out)


if __name__ == "__main__":
    main()
