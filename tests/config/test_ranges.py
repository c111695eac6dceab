"""Ranges: every number of every Config has one in its type, which is checked at parse and shown by `--help`."""

import dataclasses
import functools
import types
import typing
from typing import Annotated

import pytest

from systems.geco.pipeline import Generation
from threestudio_like.cameras import RandomCameras
from threestudio_like.cli.keys import listing
from threestudio_like.config import ranges, registry
from threestudio_like.config.loading import load
from threestudio_like.config.ranges import described
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.config.registry import Component, parse, registered
from threestudio_like.config.run_config import RunConfig
from threestudio_like.config.schedule import Schedule
from threestudio_like.errors import UserError
from threestudio_like.experiments.config import ComparisonConfig
from threestudio_like.experiments.slurm import Cluster
from threestudio_like.renderers.mesh import MeshRenderer

ANY_NUMBER = {
    "Blob.strength",  # negative where a scene is empty
    "Field.Config.density_shift",
    "SDIConfig.inversion_scale",
    "PerpNeg.front_side",
    "PerpNeg.side_front",
    "PerpNeg.side_back",
    "PerpNeg.front_side_back",
    "Claim.at_least",  # of whatever metric
    "Claim.at_most",
}
"""Keys that may be any finite number."""


@functools.cache
def configs() -> tuple[type, ...]:
    """Lists every dataclass that a recipe, a comparison or a cluster can set a key of."""
    found: dict[type, None] = {}

    def walk(kind):
        if typing.get_origin(kind) is Annotated and typing.get_args(kind)[0] is Component:
            return
        for inner in typing.get_args(kind):
            walk(inner)
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind not in (*found, Schedule):
            found[kind] = None
            for hint in typing.get_type_hints(kind, include_extras=True).values():
                walk(hint)

    registered("system")  # offers all slots
    for slot in registry._classes:
        for name in registered(slot):
            if not registry.place_of(slot, name).startswith("tests"):
                walk(registry.find(slot, name).Config)
    for kind in (RunConfig, ComparisonConfig, Cluster):
        walk(kind)
    return tuple(kind for kind in found if kind.__module__.split(".")[0] in registry.PACKAGES)


def bare_numbers(kind) -> bool:
    """Tells whether a type has numbers in it that have no range."""
    if ranges.ranged(kind):
        inner = ranges.ranged(kind)[0]
        return bare_numbers(inner) and inner not in (int, float, Schedule)
    if typing.get_origin(kind) is not None or isinstance(kind, types.UnionType):
        return any(bare_numbers(inner) for inner in typing.get_args(kind))
    return kind in (int, float, Schedule)


def hints(kind: type) -> dict[str, typing.Any]:
    return typing.get_type_hints(kind, include_extras=True)


@pytest.mark.slow  # imports every class
def test_every_number_of_every_config_has_a_range():
    bare = {
        f"{kind.__qualname__}.{name}" for kind in configs() for name, hint in hints(kind).items() if bare_numbers(hint)
    }
    assert len(configs()) > 60
    assert bare == ANY_NUMBER


@pytest.mark.slow
def test_every_default_lies_in_its_range():
    for kind in configs():
        for field in dataclasses.fields(kind):
            if field.default not in (dataclasses.MISSING, None):
                parse(hints(kind)[field.name], field.default, f"{kind.__qualname__}.{field.name}")


WRONG = [
    ("dreamfusion", "cameras.distance=[0,0]", "cameras.distance[0]: must be above 0 and at most 1000, got 0"),
    ("dreamfusion", "checkpoint_every=0", "checkpoint_every: must be at least 1, got 0"),
    ("dreamfusion", "devices=0", "devices: must be at least 1, got 0"),
    ("dreamfusion", "seed=12345678901234567890123", "seed: must be below 2^63"),
    ("dreamfusion", "evaluation.texture_size=0", "evaluation.texture_size: must be at least 1"),
    ("dreamfusion", "lr.mlp=-1e-3", "lr.mlp: must be at least 0, got -0.001"),
    ("dreamfusion", "cameras.fov_deg=[180,180]", "cameras.fov_deg[0]: must be above 0 and below 180, got 180"),
    ("dreamfusion", "cameras.elevation_deg=[80,-8]", "cameras.elevation_deg: must be rising, got [80, -8]"),
    ("dreamfusion", "preview_every=-5", "preview_every: must be at least 0"),
    ("dreamfusion", "scene.hidden=0", "scene.hidden: must be at least 1"),
    ("dreamfusion", "seed=010", "seed: '010' would be read as 8"),
    ("dreamfusion", "steps=1:30", "steps: '1:30' would be read as 90"),
    ("dreamfusion", "lr.encoding.100=0.5", "lr.encoding.100: a schedule is given with all its knots"),
    (
        "dreamfusion",
        "renderer.render_step_size=1e9",
        "renderer.render_step_size: must be at least 0.0001 and at most 2",
    ),
    ("dreamfusion", "shading.lambertian_prob=5", "shading.lambertian_prob: must be at least 0 and at most 1, got 5"),
    ("dreamfusion", "optimizer.clip_norm=-1", "optimizer.clip_norm: must be above 0, got -1"),
    ("dreamfusion", "cameras.distance=[.nan,2]", "cameras.distance[0]: must be a finite number, got nan"),
    ("dreamfusion", "lr.mlp={0: 1e-3, 5: .inf}", "lr.mlp: every value of a schedule is a finite number"),
    ("dreamfusion", "steps=1.5", "steps: expected int, a whole number, got 1.5"),
    ("playground2d", "images=-3", "images: must be at least 1, got -3"),
    ("geco", "targets.denoising_end=0", "targets.denoising_end: must be above 0 and at most 1, got 0"),
]


@pytest.mark.parametrize(("recipe", "key", "says"), WRONG, ids=[key for _, key, _ in WRONG])
def test_a_value_out_of_its_range_is_refused_by_name(recipe, key, says):
    with pytest.raises(UserError) as refused:
        parse_recipe(load(recipe, [key]), recipe)
    assert says in str(refused.value)


def test_no_guidance_at_all_is_refused():
    recipe = load("dreamfusion")
    recipe["guidance"] = {}
    with pytest.raises(UserError, match="guidance: must be not empty"):
        parse_recipe(recipe, "dreamfusion")


def test_help_shows_the_range_in_the_keys_line():
    lines = listing(load("dreamfusion")).splitlines()
    assert "  steps = 300    [int, at least 0]" in lines
    fov = next(line for line in lines if line.startswith("  cameras.fov_deg = "))
    assert fov.endswith("[tuple[float, float], each above 0 and below 180, rising]")
    rate = next(line for line in lines if line.startswith("  lr = "))
    assert rate.endswith("[dict[str, Schedule], each at least 0]")
    levels = next(line for line in lines if line.startswith("  scene.encoding.n_levels = "))
    assert levels.endswith("[int, at least 1 and at most 32]")


def test_a_whole_number_may_be_written_with_an_exponent():
    assert parse(ranges.Count, 1e3, "steps") == 1000
    assert type(parse(ranges.Count, 1e3, "steps")) is int


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (ranges.Positive, "float, above 0"),
        (ranges.Seed | None, "int, at least 0 and below 2^63 | null"),
        (ranges.FieldOfViewRange, "tuple[float, float], each above 0 and below 180, rising"),
        (tuple[ranges.Width, ...], "tuple[int, ...], each at least 1 and at most 65536"),
        (int, "int"),
    ],
)
def test_a_range_is_said_in_words(kind, says):
    assert described(kind) == says


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: RandomCameras(RandomCameras.Config(views=0)), "RandomCameras.views: must be at least 1, got 0"),
        (lambda: RandomCameras(RandomCameras.Config(distance=(2.0, 1.0))), "RandomCameras.distance: must be rising"),
        (lambda: RandomCameras(RandomCameras.Config(fov_deg=(0.0, 1.0))), r"fov_deg\[0\]: must be above 0"),
        (lambda: RandomCameras(RandomCameras.Config(Schedule.constant(0))), "RandomCameras.size: must be at least 1"),
        (lambda: MeshRenderer(MeshRenderer.Config(supersample=99)), "MeshRenderer.supersample: must be"),
    ],
)
def test_a_config_that_was_built_in_python_is_checked_too(make, says):
    with pytest.raises(UserError, match=says):
        make()


def test_blocks_and_components_of_a_ready_config_are_checked():
    @dataclasses.dataclass
    class Whole:
        parts: dict[str, Generation]
        cameras: Annotated[Component, "cameras"]

    good = Whole({"a": Generation()}, Component("cameras", "random", RandomCameras.Config()))
    ranges.check(good, Whole, "Whole")
    good.parts["a"].show.video_size = 0
    with pytest.raises(UserError, match=r"Whole\.parts\.a\.show\.video_size: must be at least 1"):
        ranges.check(good, Whole, "Whole")
    good.parts.clear()
    good.cameras.config.views = 0
    with pytest.raises(UserError, match=r"Whole\.cameras\.config\.views: must be at least 1"):
        ranges.check(good, Whole, "Whole")
