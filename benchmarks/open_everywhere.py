"""Opens every exported file in Blender, and compares what it shows with the run's own turntable.

    python -m benchmarks.open_everywhere [--blender PYTHON] [--runs outputs] [--out docs/images/files.png]

Makes a car by GECO, with a texture, in all formats; then PYTHON, an interpreter that has the package `bpy` (this one
where none is named), draws each file from four sides as Blender opens it (`benchmarks/blender_views.py`). Where there
is no `bpy` it is said, and nothing is compared. Prints a row a format; the exit code is 1 where one differs.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import launch
from threestudio_like.export.mesh_io import FORMATS

PROMPT, SIZE, SIZE_MM = "a blue car", 160, 80.0
VIEWS = {0: 0, 90: 2, 180: 4, 270: 6}
"""Azimuths in degrees, and their places in the turntable."""
BACKDROP = (217, 217, 217)
OVERLAP, DIFFERENCE = 0.93, 0.03
"""The least share that outlines have in common, and the most that colours in 0..1 differ by, on average."""
UNITS = {"stl": SIZE_MM, "usdz": SIZE_MM / 1000}
"""The longest side in the formats that have a unit."""


@dataclass(frozen=True)
class Opened:
    """Holds what Blender made of a file: outlines shared with the run's own, how far colours differ, what it said."""

    overlap: float
    difference: float
    closed: bool
    size: float
    floor: float

    def right(self, kind: str) -> bool:
        """Tells whether all of it is as it should be."""
        expected = UNITS.get(kind)
        stands = expected is None or (abs(self.size / expected - 1) < 1e-3 and abs(self.floor) < 1e-3 * expected)
        return self.closed and stands and self.overlap >= OVERLAP and self.difference <= DIFFERENCE


def make(folder: Path) -> Path:
    """Makes the object in all formats, and returns its folder."""
    show = f"{{formats: [{','.join(FORMATS)}], texture_size: 512, size_mm: {SIZE_MM}, strip_size: {SIZE}}}"
    keys = [f"prompt={PROMPT}", f"out={folder}", f"generation.show={show}", "generation.show.video_frames=0"]
    if launch.main(["--config", "geco.yaml", "--generate", *keys]) != 0:
        sys.exit("the object could not be made")
    return next(path.parent for path in folder.glob("*/mesh.glb"))


def own_views(folder: Path, row: int) -> list[Image.Image]:
    """Reads the turntable's views, in colour (row 0) or of the bare shape (row 1)."""
    strip = Image.open(folder / "turntable.png").convert("RGB")
    return [strip.crop((i * SIZE, row * SIZE, (i + 1) * SIZE, (row + 1) * SIZE)) for i in VIEWS.values()]


def compare(colored: list[Image.Image], own: list[Image.Image], theirs: list[Image.Image]) -> tuple[float, float]:
    """Returns the least overlap of the outlines and the largest mean difference of the colours, over the views.

    The own outlines are those of the `colored` views, as a grey shape is like the backdrop.
    """
    overlaps, differences = [], []
    for color, one, two in zip(colored, own, theirs, strict=True):
        backdrop = np.asarray(color)[0, 0].astype(int)
        where, there = np.abs(np.asarray(color) - backdrop).max(-1) > 6, np.asarray(two)[..., 3] > 127
        overlaps.append((where & there).sum() / (where | there).sum())
        difference = np.abs(np.asarray(one) / 255 - np.asarray(two)[..., :3] / 255)
        differences.append(difference[where & there].mean())
    return float(min(overlaps)), float(max(differences))


def in_blender(python: str, folder: Path, kinds: tuple[str, ...], out: Path) -> bool:
    """Draws the files in Blender; False where the interpreter has none."""
    if subprocess.run([python, "-c", "import bpy"], capture_output=True).returncode != 0:
        return False
    script = [python, str(ROOT / "benchmarks/blender_views.py"), *(str(folder / f"mesh.{kind}") for kind in kinds)]
    views = [str(azimuth) for azimuth in VIEWS]
    done = subprocess.run(
        [*script, "--out", str(out), "--size", str(SIZE), "--views", *views], capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"Blender failed: {done.stderr[-2000:]}")
    return True


def compose(rows: dict[str, list[Image.Image]], out: Path) -> None:
    """Writes a column of views for each format, each under its name."""
    head, font = 22, ImageFont.load_default(14)
    views = next(iter(rows.values()))
    picture = Image.new("RGB", (SIZE * len(rows), head + SIZE * len(views)), BACKDROP)
    write = ImageDraw.Draw(picture)
    for column, (name, images) in enumerate(rows.items()):
        write.text((column * SIZE + SIZE / 2, head / 2), name, fill=(40, 40, 40), anchor="mm", font=font)
        for row, image in enumerate(images):
            picture.paste(image, (column * SIZE, head + row * SIZE), image if image.mode == "RGBA" else None)
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(200).save(out, optimize=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--blender", default=sys.executable, help="a Python that has bpy")
    parser.add_argument("--runs", type=Path, default=ROOT / "outputs", help="where the object's folder is made")
    parser.add_argument("--out", type=Path, help="the picture; none where it is not given")
    args = parser.parse_args()
    folder = make(args.runs / "open-everywhere")
    drawn = folder / "blender"
    if not in_blender(args.blender, folder, FORMATS, drawn):
        print(f"skipped: {args.blender} has no bpy; pip install it for a Python that it supports, and name that one")
        return 0
    rows, wrong = {"own turntable": own_views(folder, 0)}, []
    print("format  overlap  difference  closed  longest side")
    for kind in FORMATS:
        said = json.loads((drawn / f"{kind}.json").read_text())
        rows[kind.upper()] = [Image.open(drawn / f"{kind}-{azimuth}.png") for azimuth in VIEWS]
        found = compare(own_views(folder, 0), own_views(folder, 1 if kind == "stl" else 0), rows[kind.upper()])
        opened = Opened(*found, said["closed"], max(said["size"]), said["floor"])
        print(
            f"{kind:<8}{opened.overlap:7.3f}{opened.difference:12.4f}  {opened.closed!s:<6}{opened.size:14.4g}"
            f"{'' if opened.right(kind) else '  differs'}"
        )
        wrong += [] if opened.right(kind) else [kind]
    if args.out is not None:
        compose(rows, args.out)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
