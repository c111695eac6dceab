"""Which published model a folder is: by its sizes and by what it sees, and none where that is not sure."""

import json
from dataclasses import replace

import pytest

from benchmarks.memory import estimates
from priors.backbones.latent import LatentBackbone
from systems.memory import training as of
from systems.memory.known import large_design, model_of
from systems.memory.published import INSTANTMESH_LARGE, MODELS, VIT_B16
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.config.registry import Component


def write_folder(place, name, listed=(), **changed):
    """Writes the config of a published model's network, and an index that lists some parts more."""
    part = "transformer" if "transformer" in MODELS[name] else "unet"
    for file, node in (
        (f"{part}/config.json", dict(MODELS[name][part], act_fn="silu") | changed),
        ("model_index.json", {part: ["diffusers", "Network"]} | dict.fromkeys(listed)),
    ):
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        (place / file).write_text(json.dumps(node))
    return LatentBackbone.Config(model=str(place))


@pytest.mark.parametrize("name", MODELS)
def test_a_folder_of_a_published_model_is_known(name, tmp_path):
    listed = ["vision_encoder"] if name == "zero123plus" else []
    activation = {"act_fn": "gelu"} if name == "if" else {}
    assert model_of(write_folder(tmp_path, name, listed, **activation)) == name


def test_a_folder_is_not_taken_for_a_model_of_another_size_or_input(tmp_path):
    """Stable Diffusion 2.1 for 768 pixels, a model that sees images, and one whose classes are not cameras."""
    assert model_of(write_folder(tmp_path / "768", "sd21", sample_size=96)) is None
    assert model_of(write_folder(tmp_path / "seeing", "sd21", ["vision_encoder"])) is None
    assert model_of(write_folder(tmp_path / "timed", "sd21", class_embed_type="timestep")) is None


def test_models_are_known_by_their_sizes_too_and_others_are_not_guessed(tmp_path):
    config = dict(MODELS["sd15"]["unet"], act_fn="silu")
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(json.dumps(config))
    known = LatentBackbone.Config(model=str(tmp_path))
    assert model_of(known) == "sd15"
    (tmp_path / "unet" / "config.json").write_text(json.dumps(config | {"layers_per_block": 3}))
    assert model_of(known) is None
    assert estimates(parse_recipe(load("dreamfusion-sd", [f"backbone.model={tmp_path}"]), "mine")) == {}
    assert estimates(parse_recipe(load("dreamfusion"), "toybox")) == {}


def training(recipe, *keys):
    stages = parse_recipe(load(recipe, keys), "mine").stages
    return next(iter(stages.values())).config


@pytest.mark.parametrize(
    "recipe, design", [("instantmesh", "instantmesh"), ("reconstructor-large", "toybox"), ("reconstructor", None)]
)
def test_a_reconstructor_is_known_by_its_recipes_sizes(recipe, design):
    assert large_design(training(f"priors/{recipe}")) == design


@pytest.mark.parametrize("changed", [{"layers": 15}, {"vit": VIT_B16 | {"patch_size": 14}}, {"epipolar": True}, {}])
def test_a_reconstructor_to_go_on_from_says_its_sizes_itself(changed, tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps(INSTANTMESH_LARGE | {"vit": VIT_B16 | {"hidden_act": "gelu"}} | changed)
    )
    config = training("priors/instantmesh", f"model={tmp_path}")
    assert large_design(config) == (None if changed else "instantmesh")
    (tmp_path / "config.json").write_text("{")
    assert large_design(config) is None


def test_a_reconstructor_that_we_trained_keeps_dinos_own_image_size_and_is_known(tmp_path):
    stored = INSTANTMESH_LARGE | {"vit": VIT_B16 | {"image_size": 224}, "design": "toybox"}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    assert large_design(training("priors/reconstructor-large", f"model={tmp_path}")) == "toybox"
    (tmp_path / "config.json").write_text(json.dumps(stored | {"vit": None}))
    assert large_design(training("priors/reconstructor-large", f"model={tmp_path}")) is None


@pytest.mark.parametrize("part", ["perceptual", "renderer"])
def test_losses_and_renderers_of_ones_own_are_not_estimated(part):
    for recipe, estimate in (("priors/instantmesh", of.reconstructor), ("geco-zero123plus", of.geco)):
        config = list(parse_recipe(load(recipe), "mine").stages.values())[-1].config
        assert estimate(config, True) and not estimate(config, False)
        assert estimate(replace(config, **{part: Component(part, "mine", object())}), True) is None


@pytest.mark.parametrize("key", ["size.layers=8", "size.dino=null", "precision=32-true"])
def test_a_reconstructor_of_another_size_or_precision_is_not_estimated(key):
    assert estimates(parse_recipe(load("priors/reconstructor-large"), "mine"))
    assert not estimates(parse_recipe(load("priors/reconstructor-large", [key]), "mine"))
