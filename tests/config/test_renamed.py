"""Keys of earlier versions: refused with the name of today, and translated where only the name differs."""

import pytest

from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.config.renamed import hint, translated, translated_path, translated_state
from threestudio_like.errors import UserError

OLD_AND_NEW = [
    ("guides.look.guidance.scale", "guidance.rgb.method.scale"),
    ("guides.own.guidance.student.type", "guidance.own.method.fake_score.type"),
    ("guidance.rgb.prompt.words.front", "guidance.rgb.prompt.view_prompts.front"),
    ("stages.nerf.penalties.opacity", "stages.nerf.regularizers.opacity"),
    ("stages.nerf.renderer.step", "stages.nerf.renderer.render_step_size"),
    ("scene.encoding.log2_entries", "scene.encoding.log2_hashmap_size"),
    ("cameras.spread", "cameras.stratified"),
    ("shading.spread", "shading.direction_std"),
    ("let.fake_score", "vars.fake_score"),
    ("moves_every", "update_every"),
    ("lr.shift", "lr.deformation"),
]


@pytest.mark.parametrize("old, new", OLD_AND_NEW)
def test_an_old_override_is_told_its_name_of_today(old, new):
    assert translated_path(old) == new and translated_path(new) == new
    recipe = "prolificdreamer" if old.startswith("stages") else "dreamfusion"
    with pytest.raises(UserError, match=f"this key is '{new}' now"):
        load(recipe, [f"{old}=1"])


@pytest.mark.parametrize(
    "text, says",
    [
        ("penalties: {opacity: 1}", "recipe: unknown key 'penalties'; it is 'regularizers' now"),
        ("guides: {look: {}}", "recipe: unknown key 'guides'; it is 'guidance' now"),
        ("guidance: {rgb: {guidance: {type: sds}}}", "guidance.rgb: unknown key 'guidance'; it is 'method' now"),
        ("scene: {encoding: {levels: 3}}", "scene.encoding: unknown key 'levels'; it is 'n_levels' now"),
        ("init: {stage: x, convert: y}", "init: unknown key 'convert'; there is no such key any more"),
    ],
)
def test_an_old_recipe_is_told_what_to_write(tmp_path, text, says):
    (tmp_path / "mine.yaml").write_text(f"extends: dreamfusion\n{text}\n")
    with pytest.raises(UserError) as error:
        parse_recipe(load(str(tmp_path / "mine.yaml")), "mine")
    assert says in str(error.value)


def test_a_key_with_another_meaning_is_not_translated():
    assert hint("targets.stop", ["steps"]).kind == "changed" and "1 - stop" in str(hint("targets.stop", ["steps"]))
    assert translated({"targets": {"stop": 0.5}}) == {"targets": {"stop": 0.5}}


def test_an_old_run_is_translated():
    old = {
        "guides": {"look": {"guidance": {"type": "sds", "scale": 3}, "weight": {0: 1, 500: 2}}},
        "stages": {"shape": {"init": {"stage": "a", "convert": "tetmesh"}, "penalties": {"opacity": 1}}},
    }
    assert translated(old) == {
        "guidance": {"rgb": {"method": {"type": "sds", "scale": 3}, "weight": {0: 1, 500: 2}}},
        "stages": {"shape": {"init": {"stage": "a"}, "regularizers": {"opacity": 1}}},
    }


def test_an_old_checkpoint_is_translated():
    old = {"guides.look.guidance.student.adapter.0": 1, "particles.0.scene.shift": 2, "particles.0.scene.start": 3}
    assert translated_state(old) == {
        "terms.rgb.guidance.fake_score.adapter.0": 1,
        "particles.0.scene.deformation": 2,
        "particles.0.scene.shape_init": 3,
    }
