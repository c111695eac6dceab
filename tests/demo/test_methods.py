"""The methods that visitors choose from, and their recipes with fewer steps."""

import pytest

from threestudio_like.config.loading import Loaded, load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.demo.methods import FEWEST, METHODS, PROPOSED, shortened

PER_SCENE = [method for method in METHODS if not method.in_one_pass]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_has_a_recipe_with_steps(method):
    assert method.steps > 10 and 0 < FEWEST < PROPOSED < 1


@pytest.mark.parametrize("method", PER_SCENE, ids=lambda method: method.name)
def test_a_shortened_recipe_is_one_with_all_its_stages(method):
    plain = load(method.recipe, ["prompt=a red chair"])
    recipe = parse_recipe(shortened(plain, FEWEST), "short")
    steps = {stage: part.config.steps for stage, part in recipe.stages.items()}
    assert sum(steps.values()) == pytest.approx(FEWEST * method.steps, abs=len(steps)) and min(steps.values()) > 0
    assert list(steps) == list(method.whole.stages)
    assert recipe.run.expected_seconds == method.whole.run.expected_seconds


def test_schedules_keep_their_values_and_end_where_the_steps_do():
    plain = Loaded(
        steps=300,
        lr={"mlp": {"ramp": {0: 0.5, 300: 0.1}}},
        size={0: 32, 100: 64},
        shading={"albedo_steps": 100},
        scene={"hidden": 32, "levels": {"ramp": {0: 1, 150: 8}}},
        expected_seconds={"steps": {"main": 2.0}},
        stages={"first": {"steps": 10}, "last": {"steps": 0}},
    )
    assert shortened(plain, 0.2) == {
        "steps": 60,
        "lr": {"mlp": {"ramp": {0: 0.5, 60: 0.1}}},
        "size": {0: 32, 20: 64},
        "shading": {"albedo_steps": 20},
        "scene": {"hidden": 32, "levels": {"ramp": {0: 1, 30: 8}}},
        "expected_seconds": {"steps": {"main": 2.0}},
        "stages": {"first": {"steps": 2}, "last": {"steps": 0}},
    }


def test_a_stage_keeps_a_step_and_the_whole_recipe_stays_as_it_is():
    assert shortened(Loaded(steps=3), 0.01) == {"steps": 1}
    plain = load("fantasia3d.yaml")
    assert shortened(plain, 1.0) == plain
