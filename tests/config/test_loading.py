"""Recipes: extends, overrides, typed parsing, and the nearest name in every error."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from threestudio_like.config import loading
from threestudio_like.config.loading import load, overlay
from threestudio_like.config.registry import Component, components, parse, parse_component, register
from threestudio_like.config.schedule import Schedule
from threestudio_like.errors import UserError


@dataclass
class Inner:
    size: int = 3
    rate: float = 0.5


@dataclass
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    kind: Literal["a", "b"] = "a"
    pair: tuple[float, float] = (0.0, 1.0)
    several: tuple[int, ...] = ()
    maybe: int | None = None
    table: dict[str, Schedule] = field(default_factory=dict)
    part: Annotated[Component, "shape_for_tests"] | None = None


@register("shape_for_tests", "ball")
class Ball:
    @dataclass
    class Config:
        radius: float = 1.0

        def __post_init__(self):
            if self.radius <= 0:
                raise ValueError("radius must be positive")

    def __init__(self, config):
        self.radius = config.radius


def test_parses_every_kind_of_field():
    value = parse(
        Outer,
        {
            "name": "x",
            "inner": {"rate": 1},
            "kind": "b",
            "pair": [1, 2],
            "several": [1, 2, 3],
            "maybe": None,
            "table": {"a": {0: 1, 5: 2}},
            "part": {"type": "ball", "radius": 2},
        },
        "",
    )
    assert value.inner == Inner(3, 1.0) and isinstance(value.inner.rate, float)
    assert value.pair == (1.0, 2.0) and value.several == (1, 2, 3)
    assert value.table["a"](4) == 1 and value.table["a"](5) == 2
    assert value.part.build().radius == 2.0


@pytest.mark.parametrize(
    "node, says",
    [
        ({"nam": "x"}, "unknown key 'nam'; did you mean 'name'"),
        ({}, "'name' is missing"),
        ({"name": 3}, "name: expected str, got 3"),
        ({"name": "x", "inner": {"size": 1.5}}, "inner.size: expected int, a whole number, got 1.5"),
        ({"name": "x", "inner": {"size": True}}, "inner.size: expected int, got True"),
        ({"name": "x", "inner": {"rat": 1}}, "inner: unknown key 'rat'; did you mean 'rate'"),
        ({"name": "x", "inner": 4}, "inner: expected a block"),
        ({"name": "x", "kind": "c"}, "kind: 'c' is not possible"),
        ({"name": "x", "pair": [1, 2, 3]}, "pair: expected 2 values, got 3"),
        ({"name": "x", "several": 5}, "several: expected a list"),
        ({"name": "x", "table": {"a": "fast"}}, "table.a: expected a number"),
        ({"name": "x", "table": {"a": {"soon": 1}}}, "table.a: a schedule maps steps"),
        ({"name": "x", "table": {"a": {"²": 1}}}, "table.a: a schedule maps steps"),
        ({"name": "x", "table": {"a": {0: 10**400}}}, "table.a: every value of a schedule is a finite number"),
        ({"name": "x", "table": {5: 1}}, "table: expected str, got 5; if it is a text, quote it"),
        ({"name": "x", "pair": [10**400, 0]}, "pair[0]: must be a finite number, got 1000"),
        ({"name": "x", "inner": {"size": 1e30}}, "inner.size: must be below 2^63"),
        ({"name": "x", "part": {"type": "bal"}}, "part.type: unknown shape_for_tests 'bal'; did you mean 'ball'"),
        ({"name": "x", "part": {"radius": 1}}, "part: expected a block with `type:`"),
        ({"name": "x", "part": {"type": "ball", "radius": -1}}, "part: radius must be positive"),
    ],
)
def test_mistakes_are_named(node, says):
    with pytest.raises(UserError) as error:
        parse(Outer, node, "")
    assert says in str(error.value)


def test_overlay_replaces_a_schedule_whole():
    base = {"lr": {"ramp": {0: 1.0, 500: 0.1}}, "size": {0: 32, 100: 64}}
    assert overlay(base, {"lr": {"ramp": {0: 2.0}}, "size": {0: 64, 5000: 512}}) == {
        "lr": {"ramp": {0: 2.0}},
        "size": {0: 64, 5000: 512},
    }
    assert overlay(base, {"lr": {0: 1.0}})["lr"] == {0: 1.0}


def test_overlay_replaces_a_block_whose_type_changes():
    base = {"a": {"type": "x", "size": 1, "keep": 2}, "b": 1}
    assert overlay(base, {"a": {"size": 3}}) == {"a": {"type": "x", "size": 3, "keep": 2}, "b": 1}
    assert overlay(base, {"a": {"type": "y", "other": 3}}) == {"a": {"type": "y", "other": 3}, "b": 1}
    assert base == {"a": {"type": "x", "size": 1, "keep": 2}, "b": 1}


@pytest.fixture
def recipes(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "CONFIGS", tmp_path)

    def write(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_extends_and_overrides(recipes):
    recipes("base.yaml", "prompt: a cat\ntell: ${prompt}\nlist: [1, 2]\ndeep: {a: 1, b: 2}\n")
    recipes("top.yaml", "extends: base.yaml\ndeep: {b: 3}\n")
    made = load("top", ["prompt=a dog: [with] ${odd} #1 'things' 🐶", "deep.a=1e-4", "list=[3]"])
    assert made == {
        "prompt": "a dog: [with] ${odd} #1 'things' 🐶",
        "tell": "a dog: [with] ${odd} #1 'things' 🐶",
        "list": [3],
        "deep": {"a": 1e-4, "b": 3},
    }


def test_overrides_count_in_every_stage(recipes):
    recipes(
        "staged.yaml",
        "steps: 1\nrenderer: {type: volume, render_step_size: 0.1}\nguidance: {rgb: {scale: 2}}\nstages:\n"
        "  first: {guidance: {rgb: {t: 1}}}\n"
        "  second: {steps: 9, renderer: {type: mesh}, guidance: {rgb: {scale: 3}}}\n",
    )
    made = load("staged", ["steps=5", "guidance.rgb.scale=20", "renderer.supersample=x"])["stages"]
    assert made == {
        "first": {"guidance": {"rgb": {"t": 1}}},
        "second": {"steps": 5, "renderer": {"type": "mesh", "supersample": "x"}, "guidance": {"rgb": {"scale": 20}}},
    }
    one = load("staged", ["stages.second.steps=7"])
    assert one["steps"] == 1 and one["stages"]["second"]["steps"] == 7


def test_later_bases_lie_over_earlier_ones(recipes):
    recipes("one.yaml", "a: 1\nb: 1\n")
    recipes("two.yaml", "b: 2\n")
    recipes("top.yaml", "extends: [one.yaml, two.yaml]\nc: 3\n")
    assert load("top.yaml") == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    "text, says",
    [
        ("a: [1, 2\n", "cannot be read as YAML"),
        ("- 1\n- 2\n", "a recipe is a map"),
        ("a: ${nowhere}\n", "nowhere"),
        ("extends: top.yaml\n", "extends itself"),
        ("extends: missing.yaml\n", "no recipe 'missing.yaml'"),
        ("\x00\x01binary", "cannot be read"),
    ],
)
def test_bad_files_are_named(recipes, text, says):
    recipes("top.yaml", text)
    with pytest.raises(UserError) as error:
        load("top.yaml")
    assert says in str(error.value)


def test_a_missing_recipe_names_the_nearest(recipes):
    recipes("dreamfusion.yaml", "a: 1\n")
    with pytest.raises(UserError, match="did you mean 'dreamfusion'"):
        load("dreamfusoin.yaml")


def test_an_override_without_equals_is_refused(recipes):
    recipes("top.yaml", "a: 1\n")
    with pytest.raises(UserError, match="not an override"):
        load("top", ["steps"])


def test_schedules():
    steps = Schedule.from_config({0: 1.0, 10: 3.0}, "x")
    ramp = Schedule.from_config({"ramp": {10: 1.0, 20: 3.0}}, "x")
    assert [steps(s) for s in (0, 9, 10, 99)] == [1, 1, 3, 3]
    assert [ramp(s) for s in (0, 10, 15, 20, 99)] == [1, 1, 2, 3, 3]
    assert Schedule.from_config(7, "x")(123) == 7


def test_a_component_may_be_named_alone():
    assert parse_component("shape_for_tests", "ball", "x").build().radius == 1.0


def test_components_are_found_however_deep():
    made = parse_component("shape_for_tests", "ball", "x")
    outer = parse(Outer, {"name": "x", "part": {"type": "ball", "radius": 2}}, "")
    assert [part.config.radius for part in components({"a": [made, outer]})] == [1.0, 2.0]
