"""Memory presets: which one is chosen, what it is laid over, and what a run keeps of the choice."""

import pytest

from threestudio_like.config.loading import load
from threestudio_like.config.presets import laid_over, with_preset
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.errors import UserError
from threestudio_like.utils import card

RECIPE = """
system: fit_for_tests
steps: 3
lr: 0.5
memory: auto
presets:
  16gb: {lr: 0.25}
  8gb: {lr: 0.125, size: 2}
"""


@pytest.fixture
def gpu(monkeypatch):
    """`gpu(GB)`: from here on there is one of so much memory, or none."""
    return lambda gb: monkeypatch.setattr(card, "memory", lambda: None if gb is None else int(gb * card.GB))


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "mine.yaml").write_text(RECIPE)
    return str(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    "gb, chosen", [(None, None), (6.0, "8gb"), (7.8, "8gb"), (14.3, "8gb"), (14.6, "16gb"), (79.1, "16gb")]
)
def test_auto_takes_the_largest_for_which_there_is_room_and_says_so(recipe, gpu, gb, chosen):
    """A card of 16 GB has 14.6 to 16 of them."""
    gpu(gb)
    loaded = load(recipe)
    assert loaded["memory"] == chosen and "presets" not in loaded
    assert loaded["lr"] == {None: 0.5, "8gb": 0.125, "16gb": 0.25}[chosen]
    assert loaded.notes() == ([] if chosen is None else [f"memory: {chosen}, as the GPU has {gb:.1f} GB"])


def test_nothing_is_chosen_for_a_run_on_the_cpu(recipe, gpu):
    gpu(24)
    assert load(recipe, ["device=cpu"])["memory"] is None and load(recipe)["memory"] == "16gb"


def test_a_named_one_is_taken_whatever_the_gpu_and_other_keys_stand_above_it(recipe, gpu):
    gpu(80)
    loaded = load(recipe, ["lr=1.0", "memory=8gb"])
    assert loaded["memory"] == "8gb" and loaded["lr"] == 1.0 and loaded["size"] == 2 and not loaded.notes()
    assert {size: plain["lr"] for size, plain in loaded.presets()} == {"16gb": 1.0, "8gb": 1.0}
    assert [plain.get("size") for _, plain in load(recipe).presets()] == [None, 2]


@pytest.mark.parametrize(
    "keys, says",
    [
        (["memory=17gb"], "memory: .*mine.yaml has no preset '17gb'; did you mean '16gb'"),
        (["presets.8gb.lr=1.0"], "presets: give the keys themselves"),
    ],
)
def test_what_is_refused(recipe, gpu, keys, says):
    gpu(80)
    with pytest.raises(UserError, match=says):
        load(recipe, keys)
    with pytest.raises(UserError, match="memory: dreamfusion has no presets"):
        load("dreamfusion", ["memory=16gb"])
    with pytest.raises(UserError, match="expected blocks of keys by sizes"):
        with_preset({"presets": {"large": {}}}, "mine")


def test_a_recipe_takes_out_a_preset_of_what_it_extends(recipe, gpu, tmp_path):
    gpu(8)
    (tmp_path / "larger.yaml").write_text("extends: mine.yaml\npresets: {8gb: null}")
    loaded = load(str(tmp_path / "larger.yaml"))
    assert (loaded["memory"], loaded["lr"], loaded.sizes) == ("16gb", 0.25, ("16gb",))
    with pytest.raises(UserError, match="has no preset '8gb'"):
        load(str(tmp_path / "larger.yaml"), ["memory=8gb"])
    (tmp_path / "none.yaml").write_text("extends: larger.yaml\npresets: {16gb: null}")
    with pytest.raises(UserError, match="has no presets to choose from"):
        load(str(tmp_path / "none.yaml"), ["memory=16gb"])


def test_a_run_that_is_taken_up_keeps_its_preset(recipe, gpu, tmp_path):
    """Its own config.yaml has the keys and the name, and no presets; another GPU changes nothing in it."""
    import yaml

    gpu(8)
    stored = tmp_path / "config.yaml"
    stored.write_text(yaml.safe_dump(dict(load(recipe, ["lr=1.0"]))))
    gpu(80)
    again = load(str(stored))
    assert (again["memory"], again["lr"], again["size"]) == ("8gb", 1.0, 2)
    assert load(str(stored), ["memory=8gb"]) == again


def test_a_block_of_another_type_is_passed_over():
    """As that of a VAE for a recipe that was given a prior without one."""
    recipe = {"backbone": {"type": "pixel", "model": "mine"}, "renderer": {"type": "volume"}, "stages": {"one": {}}}
    preset = {
        "backbone": {"type": "latent", "vae_slicing": True},
        "renderer": {"type": "volume", "max_samples": 10},
        "stages": {"one": {"renderer": {"type": "volume", "max_samples": 5}}},
    }
    laid = laid_over(recipe, preset)
    assert laid["backbone"] == recipe["backbone"] and laid["renderer"] == {"type": "volume", "max_samples": 10}
    assert laid["stages"]["one"]["renderer"]["max_samples"] == 5 and recipe["renderer"] == {"type": "volume"}


@pytest.mark.parametrize("name", ["dreamfusion-sd", "dreamfusion-sd3"])
@pytest.mark.parametrize("backbone", ["sd15", "if", "sd3"])
def test_presets_fit_whatever_prior_takes_the_recipes_place(name, backbone, tmp_path):
    (tmp_path / "mine.yaml").write_text(f"extends: [{name}.yaml, backbones/{backbone}.yaml]")
    loaded = load(str(tmp_path / "mine.yaml"), ["memory=12gb"])
    assert len(loaded.sizes) == 4
    for _, plain in loaded.presets():
        backbone_type = parse_recipe(plain, "mine").stages["main"].config.backbone.type
        assert backbone_type == {"sd15": "latent", "if": "pixel", "sd3": "flow"}[backbone]
