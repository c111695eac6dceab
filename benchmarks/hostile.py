"""Feeds damaged and hostile files to the commands that read them, in one warm process.

python -m benchmarks.hostile [--cases 1000] [--seed 0] [--kinds checkpoint meshes ...]

Checkpoints, safetensors, configs and tokenizers of models, GLB, glTF, OBJ, PLY, STL, OFF, images, captions, the
folders of runs, and names: cut, flipped, wrongly typed, misspelt, replaced (`benchmarks/damage.py`). No code of theirs
may run; whatever they are ends as in `benchmarks/fuzz.py`, and the exit code is 1 where anything does not.
"""

import contextlib
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trimesh
from PIL import Image

from benchmarks import damage, warm
from benchmarks.fuzz import Findings, keys_of, made
from tests.tiny import picture

MESHES = ("glb", "gltf", "obj", "ply", "stl", "off")
PICTURES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP", "tif": "TIFF"}


@dataclass(frozen=True)
class Kind:
    """Describes files that are given, which of them are damaged, and the command lines that read them."""

    given: Callable[[Path], object]
    """Writes good files into a folder."""
    victims: str
    """Pattern of the files that are damaged, of which one is drawn."""
    lines: tuple[tuple[str, ...], ...]
    """GIVEN is the folder, VICTIM the damaged file, NAME an odd name."""
    own: str = "out"
    """Folder of the run, in which it may write."""


def kinds(models: Path) -> dict[str, Kind]:
    """Returns all kinds, whose models are made in a folder."""

    def of(recipe: str, *more: str) -> tuple[str, ...]:
        return ("--config", recipe, *keys_of(recipe, models), *more)

    def run(folder: Path, name: str = "run") -> None:
        steps = [of("playground2d", "preview_every=0", f"steps={n}", f"out={folder / name}") for n in (2, 3)]
        for argv in (steps[0], (*steps[1], "--resume")):  # so that an earlier checkpoint is kept
            assert warm.run(list(argv), folder / name).ended == "accepted"

    def sweep(folder: Path) -> None:
        run(folder, "seed-0")
        (folder / "seed-0/sweep.json").write_text('{"attempts": 2, "reason": "the disk was full"}')

    def copied(model: str) -> Callable[[Path], object]:
        return lambda folder: shutil.copytree(made(models, model), folder, dirs_exist_ok=True)

    def reading(argv: tuple[str, ...], key: str) -> tuple[str, ...]:
        return tuple(f"{key}=GIVEN" if part.startswith(f"{key}=") else part for part in argv)

    playground = of("playground2d", "preview_every=0")
    generated, mapped = (
        of("geco", "generation.weights=null", "--generate", "out=out"),
        of("priors/agp-sd", "data.folder=GIVEN", "out=out"),
    )
    shaped = of("fantasia3d", "scene.shape_init={mesh: VICTIM}", "--stage", "coarse", "out=out")
    taken_up = tuple((option, "GIVEN/run") for option in ("--resume", "--export", "--test"))
    again = (("--resume", "GIVEN/run", "steps=5"), (*playground, "out=GIVEN/run"), ("--export", "GIVEN/run", "steps=x"))
    modelled = (*reading(playground, "backbone.model"), "out=out")
    models.mkdir(parents=True, exist_ok=True)
    example = f"image={picture(models / 'example.png')}"
    names = [(*playground, f"{key}=NAME", "--check") for key in ("backbone.model", "backbone.revision", "out")]
    names += [
        (*generated, "image=NAME"),
        (*mapped, "data.folder=NAME", "--check"),
        ("--resume", "NAME"),
        ("--config", "NAME"),
    ]
    return {
        "checkpoint": Kind(run, "run/checkpoints/**/*.pt", (*taken_up, again[0]), "given/run"),
        "run folder": Kind(run, "run/*.[jy][sa][om][nl]", (*taken_up, *again), "given/run"),
        "sweep": Kind(
            sweep, "seed-0/*.[jy][sa][om][nl]", ((*playground, "--table", "--sweep", "seed=0,1", "out=GIVEN"),)
        ),
        "model": Kind(copied("toybox"), "*/*", ((*modelled, "--check"), modelled)),
        "latent model": Kind(copied("sd21"), "**/*.*", (("--check", *of("dreamfusion-sd", "backbone.model=GIVEN")),)),
        "two-encoder model": Kind(
            copied("sdxl"), "**/*.*", (("--check", *of("dreamfusion-sdxl", "backbone.model=GIVEN")),)
        ),
        "flow model": Kind(copied("sd35"), "**/*.*", (("--check", *of("dreamfusion-sd3", "backbone.model=GIVEN")),)),
        "scorer": Kind(copied("scorer"), "*.*", ((*reading(generated, "evaluation.scorer"), example),)),
        "reconstructor": Kind(
            copied("reconstructor"), "*.*", ((*reading(generated, "reconstructor.pretrained"), example),)
        ),
        "picture": Kind(pictures, "*.*", ((*generated, "image=VICTIM"), (*generated, "image=GIVEN"))),
        "mesh map": Kind(meshes, "*.[gops]*", (mapped,)),
        "mesh shape": Kind(meshes, "*.[gops]*", (shaped,)),
        "captions": Kind(meshes, "captions.json", (mapped,)),
        "name": Kind(pictures, "*.png", tuple(names)),
    }


def pictures(folder: Path) -> None:
    """Writes a picture in each format."""
    for suffix, kind in PICTURES.items():
        Image.open(picture(folder / "source.png")).save(folder / f"one.{suffix}", kind)
    (folder / "source.png").unlink()


def meshes(folder: Path) -> None:
    """Writes a box in each format, and captions."""
    box = trimesh.creation.box((1, 2, 3))
    for suffix in MESHES:
        box.export(folder / f"box.{suffix}", **({"encoding": "ascii"} if suffix == "ply" else {}))
    box.export(folder / "box-binary.ply")
    names = ", ".join(
        f'"{path.name}": {{"captions": ["a box"], "tags": ["x"]}}' for path in sorted(folder.glob("box*"))
    )
    (folder / "captions.json").write_text(f"{{{names}}}")


def check_good(kind: Kind, good: Path) -> None:
    """Raises ValueError where the first command does not accept what is not damaged."""
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        shutil.copytree(good, "given")
        victim = min(Path("given").glob(kind.victims))
        line = [part.replace("GIVEN", "given").replace("VICTIM", str(victim)) for part in kind.lines[0]]
        outcome = warm.run([part.replace("NAME", "given") for part in line], Path(kind.own))
        if outcome.ended != "accepted" and "NAME" not in "".join(kind.lines[0]):
            raise ValueError(f"{line}: {outcome.said[-500:]} {outcome.wrong}")


def try_case(kind: Kind, good: Path, rng: random.Random, found: Findings, label: str) -> None:
    """Damages a file of a copy of what is good, and lets a command read it, in the folder that one works in."""
    given = Path("given")
    shutil.copytree(good, given, symlinks=True)
    victim = rng.choice(sorted(path for path in given.glob(kind.victims) if path.is_file()))
    line = rng.choice(kind.lines)
    if not any("NAME" in part for part in line):
        damage.damage(rng, victim)
    named = damage.name(rng)
    line = [part.replace("GIVEN", "given").replace("VICTIM", str(victim)).replace("NAME", named) for part in line]
    outcome = warm.run(line, None if "--check" in line or "--table" in line else Path(kind.own))
    if Path(damage.MARK).exists():
        outcome = warm.Outcome(outcome.ended, outcome.said, (*outcome.wrong, "hostile code has run"))
    held = victim.read_bytes()[:400] if victim.is_file() and not victim.is_symlink() else b"no file"
    found.add(label, outcome, f"{line!r}\n    {victim}: {held!r}")


def campaign(cases: int, seed: int, folder: Path, only: list[str] | None = None) -> Findings:
    """Tries so many cases, of all kinds in turn, in folders of their own below this one."""
    os.environ |= {"TSL_CACHE": str(folder / "cache"), "HOME": str(folder / "home"), "TSL_KERNELS": "reference"}
    rng, found = random.Random(seed), Findings()
    chosen = {name: kind for name, kind in kinds(folder / "models").items() if only is None or name in only}
    for name, kind in chosen.items():
        (folder / "good" / name).mkdir(parents=True)
        kind.given(folder / "good" / name)
        check_good(kind, folder / "good" / name)
    for number in range(cases):
        name = list(chosen)[number % len(chosen)]
        place = folder / "cases" / str(number) / "here"
        place.mkdir(parents=True)
        with contextlib.chdir(place):
            try_case(chosen[name], folder / "good" / name, rng, found, name)
        if number % 50 == 49:
            print(f"{number + 1} cases: {found}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Carries the campaign out, and prints what was found."""
    parser = warm.arguments(__doc__, 1000)
    parser.add_argument("--kinds", nargs="+", help="only these")
    args = parser.parse_args()
    warm.carry_out(lambda folder: campaign(args.cases, args.seed, folder, args.kinds), args.cases, args.seed)


if __name__ == "__main__":
    main()
