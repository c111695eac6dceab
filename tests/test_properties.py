"""Properties of pure functions, for whatever values: overlays, overrides, schedules, names, cameras, statistics."""

import copy
import math
import string

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from threestudio_like.cameras import orbit_cameras, spherical
from threestudio_like.config.loading import overlay, parse_override, to_the_letter
from threestudio_like.config.recipe import unique_slug
from threestudio_like.config.scalars import parse_scalar
from threestudio_like.config.schedule import Schedule
from threestudio_like.experiments.axes import split
from threestudio_like.experiments.statistics import difference, holm, interval, rate

FEW = settings(deadline=None, derandomize=True, database=None, max_examples=40)
FEWER = settings(FEW, max_examples=12)
"""Settings of tests that draw ten thousand samples each time."""

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
numbers = st.floats(-1e6, 1e6)
keys = st.sampled_from(["a", "b", "type", "0", "5", "ramp"])
trees = st.recursive(
    st.none() | st.integers() | texts, lambda inner: st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
blocks = st.dictionaries(keys, trees, max_size=4)


def leaves(node: object, path: tuple = ()) -> dict:
    """Returns the values by their paths."""
    if not isinstance(node, dict) or not node:
        return {path: node}
    return {where: leaf for key, value in node.items() for where, leaf in leaves(value, (*path, key)).items()}


@FEW
@given(blocks, blocks)
def test_an_overlay_holds_all_of_the_top_and_nothing_of_its_own(base, top):
    before = copy.deepcopy((base, top))
    merged = overlay(base, top)
    assert (base, top) == before
    found, above, below = leaves(merged), leaves(top), leaves(base)
    assert all(found[path] == value for path, value in above.items() if value != {})
    assert all(above.get(path, value) == value or below.get(path, value) == value for path, value in found.items())
    assert set(found) <= {*above, *below}


@FEW
@given(blocks, blocks)
def test_an_overlay_twice_is_an_overlay_once(base, top):
    once = overlay(base, top)
    assert overlay(once, top) == once and overlay(base, {}) == base and overlay({}, top) == top


@FEW
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
    | st.text("\\${}a.", max_size=12)
)
def test_a_text_to_the_letter_is_that_text(text):
    tree = OmegaConf.create({"a": "no", "text": to_the_letter(text)})
    assert OmegaConf.to_container(tree, resolve=True) == {"a": "no", "text": text}


@FEW
@given(st.integers() | numbers | st.booleans() | st.none() | st.lists(st.integers()) | st.text(string.ascii_letters))
def test_an_override_reads_what_yaml_writes(value):
    written = yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("...\n").strip()
    assert parse_override(f"one.two={written}") == {"one": {"two": value}}


@FEW
@given(
    st.lists(st.text(string.ascii_letters + "0123456789.-_ ", min_size=1).map(str.strip) | texts.map(repr), min_size=1)
)
def test_a_sweeps_values_are_split_as_they_were_joined(values):
    values = [value for value in values if value.count("'") in (0, 2) and value.count('"') in (0, 2) and value]
    plain = [value for value in values if value[0] not in "\"'" or value[-1] == value[0]]
    assert split(",".join(plain)) == (plain or [""])


@FEW
@given(st.integers(1 - 2**63, 2**63 - 1) | numbers)
def test_a_number_is_read_as_it_is(number):
    assert parse_scalar(float, number, "key") == float(number)
    if number == int(number):
        assert parse_scalar(int, number, "key") == number


@FEW
@given(st.dictionaries(st.integers(0, 1000), numbers, min_size=1), st.booleans(), st.integers(0, 1100), st.randoms())
def test_a_schedule_goes_through_its_knots_and_stays_between_them(knots, ramp, step, random):
    def read(knots: dict) -> Schedule:
        return Schedule.from_config({"ramp": knots} if ramp else knots, "key")

    schedule = read(knots)
    assert all(schedule(at) == value for at, value in knots.items())
    before, after = (
        max([k for k in knots if k <= step], default=min(knots)),
        min([k for k in knots if k >= step], default=None),
    )
    ends = sorted((knots[before], knots[before if after is None or not ramp else after]))
    assert ends[0] - 1e-6 <= schedule(step) <= ends[1] + 1e-6
    shuffled = list(knots.items())
    random.shuffle(shuffled)
    assert read(dict(shuffled))(step) == schedule(step)


@FEW
@given(st.lists(st.text(min_size=1), min_size=2, max_size=2, unique=True))
def test_different_texts_have_different_names_of_files(pair):
    one, other = map(unique_slug, pair)
    assert one != other
    assert all(
        set(name) <= {*string.ascii_lowercase, *string.digits, "-"} and 0 < len(name) < 100 for name in (one, other)
    )


angles = st.tuples(st.floats(-math.pi, math.pi), st.floats(-1.5, 1.5), st.floats(0.5, 10.0), st.floats(0.2, 2.5))


@FEW
@given(angles)
def test_a_camera_is_a_rotation_that_looks_at_the_middle(where):
    camera = orbit_cameras(*(torch.tensor([value], dtype=torch.float64) for value in where), 4, 6)
    rotation, position = camera.c2w[0, :3, :3], camera.position[0]
    torch.testing.assert_close(rotation.T @ rotation, torch.eye(3, dtype=torch.float64))
    assert torch.linalg.det(rotation) > 0.999 and rotation[2, 1] > 0  # right-handed, and up is up
    torch.testing.assert_close(-rotation[:, 2] * where[2], -position)
    azimuth, elevation = torch.atan2(position[1], position[0]), torch.asin(position[2] / position.norm())
    torch.testing.assert_close(spherical(azimuth, elevation, position.norm()), position)
    torch.testing.assert_close(torch.remainder(azimuth - where[0] + 1, 2 * math.pi), torch.tensor(1.0).double())


@FEW
@given(angles, st.floats(0.1, 20))
def test_what_a_ray_meets_is_seen_at_its_pixel(where, length):
    camera = orbit_cameras(*(torch.tensor([value], dtype=torch.float64) for value in where), 4, 6)
    rays = camera.rays()
    pixels, depth = camera.project((rays.origins + length * rays.directions)[None])
    centres = torch.stack(torch.meshgrid(torch.arange(6) + 0.5, torch.arange(4) + 0.5, indexing="xy"), -1).reshape(
        -1, 2
    )
    torch.testing.assert_close(pixels[0], centres.double(), atol=1e-4, rtol=0)
    assert (depth > 0).all()


@FEW
@given(angles)
def test_what_lies_further_around_is_seen_further_right(where):
    camera = orbit_cameras(*(torch.tensor([value], dtype=torch.float64) for value in where), 4, 4)
    around = spherical(*(torch.tensor(value).double() for value in (where[0] + 0.1, where[1], 0.1)))
    pixels, _ = camera.project(around[None, None])
    assert pixels[0, 0, 0] > 2


p_values = st.lists(st.floats(0, 1), min_size=1, max_size=8)
figures = st.dictionaries(st.tuples(st.sampled_from("abcdef"), st.integers(0, 2)), st.floats(-100, 100), min_size=1)


@FEW
@given(p_values, st.randoms())
def test_holm_raises_p_values_and_keeps_their_order_whatever_theirs_is(p, random):
    adjusted = holm(p)
    assert all(old <= new <= 1 for old, new in zip(p, adjusted, strict=True)) and max(adjusted) >= max(p)
    by_size = [new for _, new in sorted(zip(p, adjusted, strict=True))]
    assert by_size == sorted(by_size)
    order = list(range(len(p)))
    random.shuffle(order)
    assert holm([p[i] for i in order]) == pytest.approx([adjusted[i] for i in order])


@FEWER
@given(figures, st.floats(-50, 50), st.floats(0.1, 10))
def test_an_interval_holds_its_mean_and_follows_units(values, shift, scale):
    found, moved = interval(values), interval({key: scale * value + shift for key, value in values.items()})
    assert found.low - 1e-6 <= found.mean <= found.high + 1e-6
    assert [moved.low, moved.mean, moved.high] == pytest.approx(
        [scale * value + shift for value in (found.low, found.mean, found.high)], abs=1e-6
    )


@FEW
@given(st.dictionaries(st.tuples(st.sampled_from("abcdef"), st.integers(0, 2)), st.floats(0, 1), min_size=1))
def test_the_interval_of_a_rate_holds_it(values):
    found = rate(values)
    assert 0 <= found.low <= found.mean + 1e-9 and found.mean - 1e-9 <= found.high <= 1


@FEWER
@given(figures, figures)
def test_a_comparison_is_the_same_from_both_sides(a, b):
    forth, back = difference(a, b), difference(b, a)
    if forth is None or back is None:
        assert not set(a) & set(b) and forth is back
        return
    assert forth.p == pytest.approx(back.p) and 0 < forth.p <= 1
    assert [forth.interval.low, forth.interval.mean] == pytest.approx(
        [-back.interval.high, -back.interval.mean], abs=0.5
    )
    renamed = [
        {(chr(ord("z") - ord(prompt) + ord("a")), seed): v for (prompt, seed), v in one.items()} for one in (a, b)
    ]
    assert difference(*renamed).p == pytest.approx(forth.p)
