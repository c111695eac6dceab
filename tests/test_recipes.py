"""Every recipe in configs/ parses, builds and runs two steps through the launcher, at tiny sizes, without exception."""

import json

import pytest
import torch

import launch
from tests.export.gltf import gltf_tree
from tests.tiny import TINY, tiny_models
from threestudio_like.config.loading import CONFIGS, load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.engine.system import Context

pytestmark = pytest.mark.usefixtures("one_thread")


QUICK = ("dreamfusion.yaml", "playground2d.yaml", "mesh.yaml")
"""Recipes that the fast tests run too."""
RECIPES = sorted(
    str(p.relative_to(CONFIGS)) for p in CONFIGS.rglob("*.yaml") if p.parent.name not in ("backbones", "comparisons")
)


@pytest.fixture
def backbones(models, tmp_path):
    """Keys that give each recipe a tiny diffusion model of the same published layout."""
    return tiny_models(models, tmp_path)


@pytest.mark.parametrize(
    "recipe", [recipe if recipe in QUICK else pytest.param(recipe, marks=pytest.mark.slow) for recipe in RECIPES]
)
def test_recipe_runs_two_steps(recipe, backbones, tmp_path, monkeypatch):
    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "cache"))
    keys = [*TINY[recipe], *backbones.get(recipe, []), f"out={tmp_path / 'run'}", "device=cpu"]
    assert launch.main(["--config", recipe, "--check", *keys]) == 0
    assert launch.main(["--config", recipe, *keys]) == 0
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    stages = {
        "mesh": 0,
        "fantasia3d": 3,
        "sweetdreamer": 3,
        "prolificdreamer": 3,
        "priors/reconstructor": 3,
        "priors/reconstructor-single": 3,
        "priors/reconstructor-large": 3,
        "geco": 2,
        "geco-long": 2,
        "geco-zero123plus": 2,
        "sweetdreamer-nerf-sd": 2,
    }
    stages = next(
        (stages[name] for name in (recipe.removesuffix(".yaml"), recipe.removesuffix("-sd.yaml")) if name in stages), 1
    )
    assert metrics["status"] == "done" and metrics["steps"] == 2 * stages
    if recipe == "playground2d.yaml":
        assert (tmp_path / "run/images.png").exists()
    elif recipe.startswith("priors"):
        assert (tmp_path / "run/model").is_dir()
    else:
        if recipe.startswith("geco"):
            assert {"generator", "reconstructor", "views.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
        places = [tmp_path / "run"] if "particles=2" not in keys else [tmp_path / f"run/particle-{i}" for i in (0, 1)]
        for place in places:
            left = {path.name for path in place.iterdir()}
            assert {"turntable.png", "turntable.mp4"} <= left
            assert (
                metrics["mesh_faces"] == 0 or {"mesh.glb", "mesh.obj", "mesh.ply"} <= left or "formats" not in str(keys)
            )
            if (place / "mesh.glb").exists():
                extras = gltf_tree(place / "mesh.glb")["asset"]["extras"]
                assert extras["recipe"] == recipe.removesuffix(".yaml") and extras["seed"] == 0 and extras["method"]
        assert launch.main(["--config", recipe, "--test", *keys]) == 0
        assert launch.main(["--config", recipe, "--export", *keys]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe, stage, size, more",
    [
        ("dreamfusion-sd.yaml", "main", "12gb", []),
        ("prolificdreamer-sd.yaml", "nerf", "12gb", []),
        ("fantasia3d-sd.yaml", "fine", "12gb", []),
        ("sweetdreamer-nerf-sd.yaml", "fine", "24gb", []),
        ("geco-zero123plus.yaml", "views", "40gb", []),
        ("priors/agp-sd.yaml", "main", "24gb", ["batch=10"]),
    ],
)
def test_a_memory_preset_changes_no_loss_and_no_gradient(recipe, stage, size, more, backbones, tmp_path, monkeypatch):
    """Beside the largest, which does all at once."""
    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "cache"))
    found = []
    for memory in ("80gb", size):
        keys = [*TINY[recipe], *backbones.get(recipe, []), *more, f"memory={memory}", "device=cpu"]
        chosen = parse_recipe(load(recipe, keys), recipe).stages[stage]
        torch.manual_seed(0)
        system = chosen.build(Context(torch.device("cpu"), 0, "a dog"))
        losses = system(0, torch.Generator().manual_seed(0)).losses
        sum(losses.values()).backward()
        gradients = {name: p.grad for name, p in system.named_parameters() if p.grad is not None}
        found.append((chosen.config, losses, gradients))
    assert found[0][0] != found[1][0] and found[0][1].keys() == found[1][1].keys()
    assert found[0][2].keys() == found[1][2].keys() and any(grad.any() for grad in found[0][2].values())
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-4, atol=1e-6)
    for name, gradient in found[0][2].items():
        scale = max(gradient.abs().max().item(), 1e-6)
        torch.testing.assert_close(found[1][2][name], gradient, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sds", "csd", "sdi", "ism", "vsd"])
@pytest.mark.parametrize("recipe", ["dreamfusion-sdxl.yaml", "dreamfusion-sd3.yaml"])
def test_every_guidance_runs_on_models_of_several_text_encoders(recipe, method, backbones, tmp_path, monkeypatch):
    """With Perp-Neg, where the guidance knows it: text, no text and two negatives, each with its pooled embedding."""
    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "cache"))
    rest = ["guidance.rgb.prompt.views=perp_neg", "evaluation.formats=[]", f"out={tmp_path / 'run'}", "device=cpu"]
    keys = [*TINY[recipe], *backbones[recipe], f"guidance.rgb.method={{type: {method}, scale: 7.5}}", *rest]
    assert launch.main(["--config", recipe, *keys]) == 0
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["status"] == "done" and metrics["steps"] == 2


def test_steps_in_which_nothing_counts_leave_the_scene_alone(backbones, tmp_path):
    """As the ablation of the aligned prior's weight has them: its look begins at step 60."""
    keys = [
        *TINY["sweetdreamer-nerf.yaml"],
        *backbones["sweetdreamer-nerf.yaml"],
        f"out={tmp_path / 'run'}",
        "device=cpu",
    ]
    assert launch.main(["--config", "sweetdreamer-nerf.yaml", *keys, "guidance.ccm.weight=0.0"]) == 0


@pytest.mark.parametrize(
    "term, channel, message", [("ccm", "rgb", "3 channels, and the prior"), ("rgb", "ccm", "takes 3")]
)
def test_a_channel_that_its_prior_does_not_take_is_a_sentence(backbones, tmp_path, capsys, term, channel, message):
    keys = [
        *TINY["sweetdreamer-nerf.yaml"],
        *backbones["sweetdreamer-nerf.yaml"],
        f"out={tmp_path / 'run'}",
        "device=cpu",
    ]
    assert launch.main(["--config", "sweetdreamer-nerf.yaml", *keys, f"guidance.{term}.channel={channel}"]) == 2
    told = capsys.readouterr().err
    assert f"guidance.{term}: the channel '{channel}'" in told and message in told and "Traceback" not in told


def test_sweetdreamer_at_paper_scale_asks_the_geometric_prior_of_its_own():
    stages = load("sweetdreamer-sd")["stages"]
    for stage in ("coarse", "fine"):
        term = stages[stage]["guidance"]["ccm"]
        assert term["backbone"]["model"] == "outputs/agp-sd/run-0/model"
        assert term["method"] == {"type": "sds", "scale": 50.0, "weighting": "sigma2", "t_min": 0.02}
