"""A toy's parts on a mesh: the truth has them all, in their colours; a ball without its nose does not."""

import numpy as np
import pytest
import trimesh

from threestudio_like.evaluate.parts import Parts, compare_parts, parts_there
from threestudio_like.scenes.mesh import Mesh

WHITE, RED = (0.9, 0.9, 0.9), (0.8, 0.1, 0.1)


def ball_with_a_nose(nose_color=RED, with_nose=True) -> Mesh:
    ball, nose = trimesh.creation.icosphere(4, 0.5), trimesh.creation.icosphere(3, 0.12)
    nose.apply_translation([0.55, 0, 0])
    bodies = [(ball, WHITE), (nose, nose_color)][: 2 if with_nose else 1]
    both = trimesh.util.concatenate([body for body, _ in bodies])
    colors = np.concatenate([np.tile(color, (len(body.vertices), 1)) for body, color in bodies])
    return Mesh(np.asarray(both.vertices, np.float32), np.asarray(both.faces), colors.astype(np.float32))


@pytest.fixture(scope="module")
def truth() -> Parts:
    rng = np.random.default_rng(0)
    out = rng.normal(size=(400, 3))
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    ball, nose = 0.5 * out[:300], 0.12 * out[300:] + [0.55, 0, 0]
    ball, nose = ball[np.linalg.norm(ball - [0.55, 0, 0], axis=1) > 0.12], nose[np.linalg.norm(nose, axis=1) > 0.5]
    part = np.repeat([0, 3], [len(ball), len(nose)])
    return Parts(np.concatenate([ball, nose]), part, np.where(part[:, None] == 0, WHITE, RED))


def test_the_truth_has_all_its_parts_and_colours(truth):
    found = compare_parts(ball_with_a_nose(), truth)
    assert found.parts_there == found.all_parts_there == found.details == 1 and found.albedo_error < 3


def test_a_missing_part_is_missing(truth):
    found = compare_parts(ball_with_a_nose(with_nose=False), truth)
    assert (found.parts_there, found.all_parts_there, found.details) == (0.5, 0.0, 0.0)
    assert parts_there(ball_with_a_nose(with_nose=False), truth) == {0: True, 3: False}


def test_a_part_in_the_main_colour_is_there_but_no_detail(truth):
    found = compare_parts(ball_with_a_nose(nose_color=WHITE), truth)
    assert (found.parts_there, found.details) == (1.0, 0.0)
    assert found.albedo_error > compare_parts(ball_with_a_nose(), truth).albedo_error + 5


def test_a_toy_of_one_colour_has_no_details(truth):
    plain = Parts(truth.x, truth.part, np.tile(WHITE, (len(truth.x), 1)))
    found = compare_parts(ball_with_a_nose(nose_color=WHITE), plain)
    assert found.details is None and "details" not in found.figures
