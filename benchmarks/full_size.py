"""Runs recipes for large models at full size on the CPU, on random weights: `python -m benchmarks.full_size`.

Two steps each of DreamFusion and of ProlificDreamer's three stages on models of Stable Diffusion 2.1's sizes, and one
pass of GECO at the sizes of Zero123++ and InstantMesh's large reconstructor. Nothing is downloaded: models are written
to `--folder` first (8 GB), which may be kept. Each run is a process of its own, held to `--limit` GB of memory; the
table says what it took. Sizes of models, views and grids are the recipes', under the preset for the least memory; what
comes after the steps is kept small.

`--only geco` runs those whose names begin so; `--tiny` takes models of a few kilobytes, to try the command itself.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import full_models
from tests.tiny import TINY, picture
from threestudio_like.utils.paths import ROOT

STAGES = ("nerf", "geometry", "texture")
QUICK = [
    *("strip_size=16", "video_frames=0", "preview_size=16", "formats=[glb]"),
    *("distance=2.2", "fov_deg=50.0"),
]
"""Of the evaluation that follows the steps."""


@dataclass(frozen=True)
class Case:
    """A command of the launcher that is measured."""

    name: str
    argv: tuple[str, ...]
    folder: Path
    """Where its figures are afterwards."""


@dataclass(frozen=True)
class Measured:
    """Time and memory that a command took."""

    name: str
    code: int
    seconds: float
    """All of the command, loading included."""
    figures: dict
    """What it wrote about itself."""
    peak: float
    """Bytes of memory, at most."""

    def row(self) -> str:
        """Writes a line of the table."""
        ended = "ended" if self.code == 0 else f"failed ({self.code})"
        return f"| {self.name} | {ended} | {self.seconds:.0f} | {own_seconds(self.figures)} | {self.peak / 2**30:.1f} |"


HEAD = "| | | s in all | s by itself | peak GiB |\n|---|---|---|---|---|"


def own_seconds(figures: dict) -> str:
    """Says how long a step took, or the parts of a pass."""
    parts = [part for part in ("views", "reconstruction", "mesh") if f"{part}_seconds" in figures]
    if parts:
        return ", ".join(f"{part} {figures[f'{part}_seconds']:.1f}" for part in parts)
    return f"{figures['seconds_per_step']:.1f} a step" if "seconds_per_step" in figures else ""


def cases(root: Path, small: bool, out: Path) -> list[Case]:
    """Lists the commands; their models are written where they are not there."""

    def of(name: str, recipe: str, *keys: str, folder: str | None = None) -> Case:
        place = out / (folder or name)
        tiny = TINY[recipe] if small else []
        return Case(name, ("--config", recipe, *tiny, *keys, "device=cpu", "logger=[]", f"out={place}"), place)

    sd21 = (f"backbone.model={full_models.model('sd21', root, small)}", "preview_every=0", "memory=12gb")
    evaluation = [f"evaluation.{key}" for key in QUICK]
    found = [
        of("dreamfusion-sd", "dreamfusion-sd.yaml", *sd21, "steps=2", *evaluation, "evaluation.mesh_resolution=32")
    ]
    two = [f"stages.{stage}.steps=2" for stage in STAGES]
    for stage in STAGES:
        name, last = f"prolificdreamer-sd, {stage}", ("stages.nerf.evaluation.mesh_resolution=32", "--stage", stage)
        rest = (*evaluation, "evaluation.texture_size=64", *last)
        found.append(of(name, "prolificdreamer-sd.yaml", *sd21, *two, *rest, folder="prolificdreamer-sd"))
    found.append(geco(root, small, out, of))
    return found


def geco(root: Path, small: bool, out: Path, of) -> Case:
    """Returns the command of GECO's pass, of an image that is drawn for it."""
    out.mkdir(parents=True, exist_ok=True)
    image = picture(out / "object.png", size=(512, 512))
    models = (
        f"backbone.model={full_models.model('zero123plus', root, small)}",
        f"reconstructor.pretrained={full_models.reconstructor(root, small)}",
    )
    show = "generation.show={strip_size: 16, video_frames: 0, distance: 4.0, fov_deg: 30.0}"
    case = of("geco-zero123plus, one pass", "geco-zero123plus.yaml", *models, show, folder="geco")
    return Case(case.name, (*case.argv, "--generate", f"image={image}"), case.folder)


def measure(case: Case, limit: float, cache: Path) -> Measured:
    """Runs a command to its end, and says what it took."""
    before = case.folder / "metrics.json"
    before.unlink(missing_ok=True)
    begin = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "launch.py", *case.argv],
        cwd=ROOT,
        env=os.environ | {"TSL_CACHE": str(cache)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (int(limit * 2**30),) * 2),
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    figures = json.loads(before.read_text()) if before.exists() else {}
    seconds = time.perf_counter() - begin
    return Measured(case.name, child.returncode, seconds, figures, used.ru_maxrss * 1024)


def main(argv: list[str]) -> int:
    """Returns 1 where a command failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the models are, and stay")
    parser.add_argument("--limit", type=float, default=24.0, help="GiB of memory that a process may take")
    parser.add_argument("--only", default="", help="the beginning of the names of what is run")
    parser.add_argument("--tiny", action="store_true", help="models of a few kilobytes")
    given = parser.parse_args(argv)
    measured = []
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        print(f"writing models into {given.folder or out}", flush=True)
        chosen = [
            case for case in cases(given.folder or out, given.tiny, out / "runs") if case.name.startswith(given.only)
        ]
        for i, case in enumerate(chosen):
            print(f"{i + 1} of {len(chosen)}: {case.name}", flush=True)
            measured.append(measure(case, given.limit, out / "cache"))
            print(measured[-1].row(), flush=True)
    print("\n".join(["", HEAD, *(one.row() for one in measured)]))
    return int(any(one.code for one in measured))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
