"""Every recipe for large models, on tiny ones of the published layouts and a CUDA device that is pretended.

Each trains all its stages, is evaluated, exported, and where it can be, generates. That no operation mixes devices is
held by the device itself (`tensors.py`); here the steps are counted in which the CPU waits for the GPU. Kernels are the
CPU's, in the place of Triton's (`kernels.py`).
"""

from collections import Counter

import pytest

import launch
from systems.per_scene import PerSceneConfig
from tests.tiny import TINY, picture, tiny_models
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.engine.observer import Observer
from threestudio_like.engine.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = ("dreamfusion-sd",)
"""Those that the fast tests run too."""
RECIPES = (
    *("dreamfusion-sd", "dreamfusion-if", "dreamfusion-sdxl", "dreamfusion-sd3"),
    *("prolificdreamer-sd", "fantasia3d-sd", "sweetdreamer-sd", "sweetdreamer-nerf-sd"),
    *("geco-zero123plus", "priors/agp-sd", "priors/reconstructor-large", "priors/instantmesh"),
)
SIZES = {"geco-zero123plus": "80gb"}
"""Presets, where it is not the smallest, which has parts that larger ones leave out: what GECO computes again in the
backward pass is computed below torch's functions, where new tensors are not watched."""
STEPS = 3
WAITS = {"volume": 12, "mesh": 31, "geco_views": 5, "geco_scene": 70, "geometric_prior": 7, "reconstructor": 77}
"""How often a step may wait for the GPU at most, by what it draws or trains; not those that are recorded, 1 in 10."""
UPLOADS = {"volume": 1, "mesh": 8, "geco_views": 11, "geco_scene": 26, "geometric_prior": 3, "reconstructor": 33}
"""How often it may copy something to the GPU."""
RECORDING = "threestudio_like/engine/monitor.py"


class Noting(Observer):
    """Keeps of each stage what its steps after the first waited for and copied, at most."""

    def __init__(self, noted):
        self.noted = noted
        self.waits: dict[str, Counter] = {}
        self.uploads: dict[str, Counter] = {}

    def begin(self, stage, system, done):
        self.stage, self.waits[stage], self.uploads[stage] = stage, Counter(), Counter()

    def step(self, done, result):
        for kept, noted in ((self.waits, self.noted.waits), (self.uploads, self.noted.uploads)):
            if done > 1:
                kept[self.stage] |= Counter({line: n for line, n in noted.items() if RECORDING not in line})
            noted.clear()


@pytest.fixture(scope="module")
def keys(models, tmp_path_factory):
    return tiny_models(models, tmp_path_factory.mktemp("models"))


def kind(stage):
    """What a stage's steps draw, or the kind of training that they are."""
    return stage.config.renderer.type if isinstance(stage.config, PerSceneConfig) else stage.type


def listed(lines):
    return "\n".join(f"{count:3} {line}" for line, count in lines.most_common())


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in RECIPES])
def test_recipe_runs_on_the_gpu_and_seldom_waits(name, keys, noted, tmp_path):
    recipe = f"{name}.yaml"
    of = [key.replace("steps=2", f"steps={STEPS}") for key in TINY[recipe]]
    of += [*keys.get(recipe, []), f"out={tmp_path / 'run'}", "device=cuda", "packages=[]", "preview_every=0"]
    of += [f"memory={SIZES.get(name, load(name).sizes[-1])}"]
    run, noting = Run(parse_recipe(load(name, of), name)), Noting(noted)
    run.start(False)
    run.train(observer=noting)
    assert run.metrics["status"] == "done" and "left_out" not in run.metrics, run.metrics
    for stage, described in run.recipe.stages.items():
        waits, uploads = noting.waits[stage], noting.uploads[stage]
        print(f"{name}, {stage}: {waits.total()} waits, {uploads.total()} copies a step")
        assert waits.total() <= WAITS[kind(described)], f"{stage}:\n{listed(waits)}"
        assert uploads.total() <= UPLOADS[kind(described)], f"{stage}:\n{listed(uploads)}"
    assert launch.main(["--config", recipe, "--export", *of]) == 0
    if name.startswith("geco"):
        made = ["--generate", f"image={picture(tmp_path / 'one.png')}", *of, f"out={tmp_path / 'made'}"]
        assert launch.main(["--config", recipe, *made]) == 0
