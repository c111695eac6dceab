"""The estimates: that recipes fit, that the counts are what the command counts, that their sums are a step's peak."""

from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import pytest
import torch
import yaml

from benchmarks import memory as benchmark
from benchmarks.counter import line, peak_of
from benchmarks.memory import estimates
from benchmarks.memory_of_renderings import count_planes
from priors.backbones.latent import LatentBackbone
from priors.condition import Condition
from priors.guidance.sds import SDS
from priors.guidance.vsd import VSD
from systems.memory import per_scene
from systems.memory.counted import counted
from systems.per_scene import PerSceneConfig
from tests.priors import model_folders
from threestudio_like.config.loading import CONFIGS, load
from threestudio_like.config.presets import gigabytes
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.config.registry import Component, find, parse, registered
from threestudio_like.config.schedule import Schedule
from threestudio_like.utils.card import GB

ROOT = Path(__file__).resolve().parents[3]
LIMITS = {
    ("dreamfusion-sd", "12gb"): 8,
    ("dreamfusion-if", "16gb"): 14,
    ("prolificdreamer-sd", "12gb"): 12,
    ("fantasia3d-sd", "12gb"): 14,
    ("sweetdreamer-sd", "12gb"): 14,
    ("sweetdreamer-nerf-sd", "24gb"): 22,
    ("priors/agp-sd", "24gb"): 22,
    ("geco-zero123plus", "40gb"): 40,
    ("priors/instantmesh", "24gb"): 22,
    ("priors/reconstructor-large", "80gb"): 76,
}
"""GB that a recipe may take, at most, under a preset."""
VIEWS = ("multiview", "zero123plus")
"""Types of backbones that draw several views at once, of which no scene's guidance was counted."""
PUBLISHED = {
    "sd15": (859_520_964, 83_653_863),
    "sd21": (865_910_724, 83_653_863),
    "sdxl": (2_567_463_684, 83_653_863),
    "if": (4_304_695_110, None),
}
"""Parameters of U-Net and VAE, as published."""


def parsed(name, size):
    return parse_recipe(load(name, [f"memory={size}"]), name)


@pytest.fixture(scope="module")
def found():
    """The estimates of all recipes, by recipe and preset."""
    return benchmark.by_preset()


@pytest.mark.parametrize("name, size", LIMITS)
def test_a_recipe_fits(name, size, found):
    assert list(found[name][size]) == list(parsed(name, size).stages)
    for stage, memory in found[name][size].items():
        assert 2 * GB < memory.total <= LIMITS[name, size] * GB, f"{stage}: {memory}"


def test_presets_fit_the_gpus_that_they_are_named_after(found):
    """With a twentieth left."""
    too_large = {
        (name, size)
        for name, presets in found.items()
        for size, stages in presets.items()
        if any(memory.total > 0.95 * gigabytes(size) * GB for memory in stages.values())
    }
    assert not too_large


def test_the_pages_table_is_what_the_command_prints(found):
    assert benchmark.table(found) in (ROOT / "docs" / "paper-scale.md").read_text(encoding="utf-8")


def test_more_views_larger_images_and_a_vae_of_all_at_once_take_more():
    def largest(*keys):
        recipe = parse_recipe(load("dreamfusion-sd", ["memory=12gb", *keys]), "mine")
        return max(memory.total for memory in estimates(recipe).values())

    base = largest()
    for keys in (
        ["cameras.views=16"],
        ["cameras.size=512"],
        ["backbone.vae_slicing=false"],
        ["backbone.precision=fp32"],
    ):
        assert largest(*keys) > base, keys
    assert largest("renderer.max_samples=1000000") < base


def test_what_was_not_counted_is_not_guessed():
    """A scene, a renderer, cameras or a guidance of one's own; a system of one's own is counted by its parts."""
    config = parsed("dreamfusion-sd", "12gb").stages["main"].config
    own, term = Component("scene", "mine", object()), config.guidance["rgb"]
    lit = per_scene.per_scene(config)
    assert lit is not None
    for changed in (
        {"scene": own},
        {"renderer": own},
        {"cameras": own},
        {"guidance": {"a": replace(term, method=own)}},
    ):
        assert per_scene.per_scene(replace(config, **changed)) is None
    kept = {field.name: getattr(config, field.name) for field in fields(PerSceneConfig)}
    unlit = per_scene.per_scene(PerSceneConfig(**kept | {"regularizers": {}}))
    assert unlit is not None and unlit.total <= lit.total


@pytest.fixture(scope="module")
def stages():
    """The per-scene stages of all recipes that have presets."""
    recipes = [parse_recipe(load(name), name) for name in benchmark.with_presets()]
    configs = [stage.config for recipe in recipes for stage in recipe.stages.values()]
    return [config for config in configs if isinstance(config, PerSceneConfig)]


@pytest.mark.parametrize("kind", registered("guidance"))
def test_every_recipe_is_estimated_with_every_guidance_and_model_or_not_at_all(kind, stages):
    method = Component("guidance", kind, find("guidance", kind).Config())
    nodes = [yaml.safe_load(path.read_text())["backbone"] for path in (CONFIGS / "backbones").glob("*.yaml")]
    backbones = [parse(Annotated[Component, "backbone"], node, "backbone") for node in nodes]
    for config in stages:
        for backbone in (None, *backbones):
            terms = {
                key: replace(term, method=method, backbone=backbone or term.backbone)
                for key, term in config.guidance.items()
            }
            unknown = backbone and (backbone.type in VIEWS or backbone.config.model.startswith("priors/weights"))
            assert (per_scene.per_scene(replace(config, guidance=terms)) is None) == bool(unknown)


@pytest.mark.parametrize("name", PUBLISHED)
def test_counted_models_have_as_many_parameters_as_the_published_ones(name):
    found = counted()["models"][name]
    assert found["network"]["parameters"] == PUBLISHED[name][0]
    assert PUBLISHED[name][1] is None or found["vae"]["parameters"] == PUBLISHED[name][1]


@pytest.mark.slow
def test_the_counts_are_what_the_command_counts():
    stored = counted()
    assert benchmark.count_model("sd21") == stored["models"]["sd21"]
    assert benchmark.count_perceptual() == stored["perceptual"]
    assert count_planes("instantmesh").items() <= stored["reconstructors"]["instantmesh"].items()
    assert stored["models"].keys() == benchmark.MODELS.keys()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return model_folders.stable_diffusion_21(tmp_path_factory.mktemp("models") / "sd21", 32)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", [SDS, VSD])
@pytest.mark.parametrize("slicing", [True, False])
def test_the_sum_of_what_was_counted_is_a_guidances_peak(small, kind, slicing, monkeypatch):
    """On real tensors of a small model, whose parts are counted alone and together."""
    backbone = LatentBackbone("cpu", model=str(small), vae_slicing=slicing)
    views, text = 3, torch.randn(1, 77, model_folders.WIDTH)

    def images(n):
        return torch.rand(n, 3, 256, 256, requires_grad=True)

    def predict(n):
        x, t = torch.randn(n, 4, 32, 32), torch.zeros(n, dtype=torch.long)
        return backbone.unet(x, t, encoder_hidden_states=text.expand(n, -1, -1)).sample

    vae = backbone.vae

    def encode(n):
        return vae.encode(images(n)).latent_dist.mean

    guidance = kind(backbone, scale=2.0)
    found = {"network": {"parameters": 0}, "vae": {"parameters": 0}}
    with torch.no_grad():
        found["network"]["predict"] = line(lambda n: peak_of(lambda: predict(n), backbone.unet)[0])
        found["vae"]["encode"] = line(lambda n: peak_of(lambda: encode(n), vae)[0])
    found["vae"]["learn_kept"] = line(lambda n: peak_of(lambda: encode(n), vae)[1])
    found["vae"]["learn"] = line(lambda n: peak_of(lambda: encode(n).sum().backward(), vae)[0])
    if kind is VSD:
        with guidance.fake_score.active(None):
            network = backbone.unet
            found["network"]["learn_kept"] = line(lambda n: peak_of(lambda: predict(n), network)[1])
            found["network"]["learn"] = line(lambda n: peak_of(lambda: predict(n).sum().backward(), network)[0])
    halved = {
        part: {key: value if key == "parameters" else [x // 2 for x in value] for key, value in counts.items()}
        for part, counts in found.items()
    }
    monkeypatch.setattr(per_scene, "counted", lambda: {"models": {"sd21": halved}})
    monkeypatch.setattr(per_scene, "model_of", lambda config: "sd21")
    term = SimpleNamespace(prompt=SimpleNamespace(views="none"), method=SimpleNamespace(type=kind.__name__.lower()))
    cameras = SimpleNamespace(config=SimpleNamespace(views=views, size=Schedule.constant(256)))
    prior = Component("backbone", "latent", backbone.config)
    expected = per_scene.guided_bytes(SimpleNamespace(cameras=cameras, guidance={"look": term}), [prior])

    told = Condition(text.expand(views, -1, -1), text.expand(views, -1, -1))
    shown = torch.rand(views, 256, 256, 3, requires_grad=True)

    def step():
        score = guidance(shown, told, 0, torch.Generator().manual_seed(0))
        (score.distillation + (score.fake_score or 0.0)).backward()

    measured, _ = peak_of(step, torch.nn.ModuleList([backbone.unet, vae, guidance]))
    assert 0.8 * expected < measured < 1.1 * expected + 5 * shown.nbytes
