"""The rows that `benchmarks/gpu.py` measures, each in a process of its own."""

import re
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks import full_models, step_parts
from tests.tiny import TINY, picture, write_meshes
from threestudio_like.errors import RunError, UserError, brief, line_of
from threestudio_like.kernels import backend, packages, trials
from threestudio_like.kernels.workloads import WORKLOADS
from threestudio_like.utils.files import read_json
from threestudio_like.utils.paths import ROOT

if TYPE_CHECKING:
    from benchmarks.gpu import Measuring

STEPS, WARM_UP = 20, 10
TESTS, KERNELS, PACKAGES = "tests that need CUDA", "kernels", "own kernels and installed packages, ms"
TOYBOX, PASS = "dreamfusion on the Toybox", "geco-zero123plus, one pass"
PASSES = 5
COMPILED = "compiled"
"""The last word of a row whose prior is compiled, and captured as a CUDA graph."""
PARTS = [
    [TESTS, KERNELS, PACKAGES],
    [TOYBOX, "dreamfusion-sd main 0", "dreamfusion-sd main 6000", f"dreamfusion-sd main 6000 {COMPILED}"],
    [
        *("prolificdreamer-sd nerf 6000", "prolificdreamer-sd geometry 0", "prolificdreamer-sd texture 0"),
        *(f"prolificdreamer-sd nerf 6000 {COMPILED}", f"prolificdreamer-sd texture 0 {COMPILED}"),
        *("fantasia3d-sd coarse 0", "fantasia3d-sd fine 0", "fantasia3d-sd appearance 0"),
    ],
    [
        *("sweetdreamer-sd coarse 0", "sweetdreamer-sd fine 0", "sweetdreamer-sd appearance 0"),
        *("sweetdreamer-nerf-sd coarse 2000", "sweetdreamer-nerf-sd fine 0", "dreamfusion-if main 0"),
    ],
    ["dreamfusion-sdxl main 0", "dreamfusion-sd3 main 0", "priors/agp-sd main 0"],
    [
        *(PASS, "geco-zero123plus views 0", "geco-zero123plus scene 0"),
        *(f"priors/reconstructor-large {stage} 0" for stage in ("points", "volume", "mesh")),
        "priors/instantmesh main 0",
    ],
]
"""Rows, in parts of at most 8 minutes. Those of steps are a recipe, its stage, and the number of the first step."""


def measure(name: str, measuring: "Measuring") -> dict:
    """Measures a row; what goes wrong is told as `failed`."""
    try:
        others = {TESTS: tests, KERNELS: kernels, PACKAGES: beside_packages, TOYBOX: toybox, PASS: one_pass}
        if name in others:
            return others[name](measuring)
        recipe, stage, step, *compiled = name.split()
        keys = [
            *keys_of(recipe, measuring),
            *["backbone.compiled=reduce-overhead"] * len(compiled),
            f"device={measuring.device}",
            "logger=[]",
            f"out={measuring.out / 'run'}",
        ]
        few = (2, 1) if measuring.tiny else (STEPS, WARM_UP)
        return step_parts.measure(recipe, stage, keys, int(step), *few).plain()
    except (UserError, RunError, torch.OutOfMemoryError) as error:
        return {"failed": brief(error)}
    except Exception as error:  # nobody expected it, and it is no reason to end without a result
        return {"failed": f"{type(error).__name__}: {brief(error)}{line_of(error)}"}


def tests(measuring: "Measuring") -> dict:
    """Runs the tests that need CUDA, and those of the packages that are installed; returns how they ended."""
    needing = "tests/kernels/test_rasterize.py" if measuring.tiny else "tests"
    said, failed = [], False
    for chosen in (["-m", "cuda", needing], ["tests/kernels/packages"]):
        ended = called([sys.executable, "-m", "pytest", "-n0", "-v", *chosen])
        counts = [line for line in ended.stdout.splitlines() if re.search(r"\d (passed|skipped|failed)", line)]
        said.append(counts[-1].strip("= ") if counts else f"ended with {ended.returncode}")
        failed = failed or ended.returncode != 0
    return {"failed" if failed else "said": "; ".join(said)}


def kernels(measuring: "Measuring") -> dict:
    """Times the kernels beside their references; returns the tables."""
    few = ["--points", "64", "--rays", "16", "--repetitions", "1", "--only", "hash grid, forward"] * measuring.tiny
    ended = called([sys.executable, "benchmarks/kernels.py", "--device", measuring.device, *few])
    return {"table": ended.stdout.strip()} if ended.returncode == 0 else {"failed": last_line(ended)}


def beside_packages(measuring: "Measuring") -> dict:
    """Times the operations that packages have, by this project's kernels and by those that are installed."""
    device, found = torch.device(measuring.device), {}
    for op in ("march",) if measuring.tiny else WORKLOADS:
        able = [name for name in packages.offering(op) if packages.installed(name)]
        seconds = trials.race(f"{packages.__package__}.{op}", (backend.OWN, *able), device, alone)
        found |= {f"{op} by {name}": 1000 * value for name, value in seconds.items()}
    return found


def alone(candidate: str) -> AbstractContextManager:
    """Lets one candidate of a race do the work."""
    return backend.forced("auto", () if candidate == backend.OWN else (candidate,))


def toybox(measuring: "Measuring") -> dict:
    """Runs DreamFusion on the shipped prior; returns its figures."""
    out = measuring.out / "toybox"
    keys = [*TINY["dreamfusion.yaml"]] if measuring.tiny else []
    command = [sys.executable, "launch.py", "--config", "dreamfusion.yaml", "prompt=a red chair", *keys]
    ended = called([*command, f"device={measuring.device}", f"out={out}"])
    if ended.returncode:
        return {"failed": last_line(ended)}
    return {name: value for name, value in read_json(out / "metrics.json").items() if isinstance(value, int | float)}


def one_pass(measuring: "Measuring") -> dict:
    """Makes an object of an image at the paper's sizes; returns the median of each part's seconds."""
    out = measuring.out / "pass"
    keys = [*keys_of("geco-zero123plus", measuring), f"device={measuring.device}", f"out={out}"]
    image = f"image={picture(measuring.out / 'object.png', size=(512, 512))}"
    command = [sys.executable, "launch.py", "--config", "geco-zero123plus.yaml", "--generate", image, f"n={PASSES}"]
    ended = called([*command, *keys, "generation.show.video_frames=0"])
    if ended.returncode:
        return {"failed": last_line(ended)}
    made = read_json(out / "metrics.json")["made"].values()
    parts = sorted({part for one in made for part in one if part.endswith("_seconds")})
    return {part: step_parts.median([one[part] for one in made]) for part in parts}


def called(command: list[str]) -> subprocess.CompletedProcess:
    """Runs a command to its end, in the folder of the code."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def last_line(ended: subprocess.CompletedProcess) -> str:
    """Returns the last line of a command's complaint, or its exit code where it said nothing."""
    return (ended.stderr.strip() or f"ended with {ended.returncode}").splitlines()[-1]


def keys_of(recipe: str, measuring: "Measuring") -> list[str]:
    """Returns the keys that give a recipe models with random weights, and what data it needs."""

    def model(name: str) -> Path:
        return full_models.model(name, measuring.folder, measuring.tiny)

    keys = list(TINY[f"{recipe}.yaml"]) if measuring.tiny else []
    backbone = "backbone.model={}"
    match recipe:
        case "dreamfusion-sd" | "prolificdreamer-sd" | "fantasia3d-sd":
            keys += [backbone.format(model("sd21"))]
        case "dreamfusion-if":
            keys += [backbone.format(model("if"))]
        case "dreamfusion-sdxl":
            keys += [backbone.format(model("sdxl"))]
        case "dreamfusion-sd3":
            keys += [backbone.format(model("sd35"))]
        case "sweetdreamer-sd":
            keys += [backbone.format(model("sd21")), f"vars.ccm.backbone.model={model('agp')}"]
        case "sweetdreamer-nerf-sd":
            keys += [backbone.format(model("sd21")), f"stages.coarse.backbone.model={model('if')}"]
            keys += [f"guidance.ccm.backbone.model={model('agp')}"]
        case "geco-zero123plus":
            keys += [*geco_keys(measuring), backbone.format(model("zero123plus"))]
        case "priors/agp-sd":
            keys += [backbone.format(model("sd21")), *mesh_keys(measuring)]
        case "priors/reconstructor-large":
            keys += toy_keys(measuring)
            if not measuring.tiny:
                sizes = {"dino": "null", "patch": 16, "encoder_width": 768, "encoder_layers": 12, "encoder_heads": 12}
                keys += [f"size.{key}={value}" for key, value in sizes.items()]
        case "priors/instantmesh":
            keys += [f"model={full_models.reconstructor(measuring.folder, measuring.tiny)}", *toy_keys(measuring)]
            keys += ["perceptual={type: scorer}"]
    return keys


def toy_keys(measuring: "Measuring") -> list[str]:
    """Returns keys of few toys, which are quickly drawn."""
    return [] if measuring.tiny else ["data.views.count=16", "data.views.held_out_count=2"]


def mesh_keys(measuring: "Measuring") -> list[str]:
    """Writes meshes, and returns keys that name them."""
    folder = measuring.out / "meshes"
    if not folder.exists():
        write_meshes(folder)
    few = ["data.size=8"] if measuring.tiny else ["data.workers=2"]
    return [f"data.folder={folder}", "data.views=2", "data.held_out_every=2", *few]


def geco_keys(measuring: "Measuring") -> list[str]:
    """Draws images, and returns keys that name them and the reconstructor."""
    folder = measuring.out / "images"
    folder.mkdir(exist_ok=True)
    for i, color in enumerate(((200, 40, 40), (30, 30, 200))):
        picture(folder / f"{i}.png", color, (512, 512))
    return [
        f"reconstructor.pretrained={full_models.reconstructor(measuring.folder, measuring.tiny)}",
        f"images.path={folder}",
        "perceptual={type: scorer}",
        "targets={steps: 2, count: 2}",
    ]
