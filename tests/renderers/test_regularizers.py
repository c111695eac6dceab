"""The regularizers' published formulas on numbers whose answers are known, and which of them get a gradient."""

import math

import pytest
import torch

from threestudio_like.kernels.rasterize import Edges
from threestudio_like.renderers import regularizers
from threestudio_like.renderers.base import RaySamples, Render
from threestudio_like.scenes.mesh import Surface


def render(opacity, normal=None, samples=None, surface=None):
    blank = torch.zeros(*opacity.shape[:3], 3)
    return Render(blank, opacity, opacity.detach(), normal, blank, samples, surface)


def test_orientation_is_ref_nerfs_and_moves_the_normals_alone():
    """`sum_i w_i max(0, n_i . v)^2` over two rays that meet something, of four; the second sample faces the camera."""
    weights = torch.tensor([0.5, 0.25], requires_grad=True)
    normal = torch.tensor([[0.0, 0.8, 0.6], [0.0, 0.0, -1.0]], requires_grad=True)
    directions = torch.tensor([[0.0, 0.0, 1.0]] * 4)
    opacity = torch.tensor([0.5, 0.25, 0.0, 0.0]).view(1, 2, 2, 1)
    samples = RaySamples(weights, directions, torch.tensor([0, 1]), normal)
    loss = regularizers.orientation(render(opacity, samples=samples))
    assert loss.item() == pytest.approx(0.09)
    loss.backward()
    assert weights.grad is None and normal.grad[0, 2] == pytest.approx(0.5 * 2 * 0.6 / 2)


def test_opacity_is_dreamfusions():
    assert regularizers.opacity(render(torch.full((1, 2, 2, 1), 0.5))).item() == pytest.approx(math.sqrt(0.26))


def test_smoothness_does_not_thin_the_object():
    opacity = torch.full((1, 1, 2, 1), 0.5, requires_grad=True)
    normal = torch.tensor([[[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]], requires_grad=True)
    regularizers.normal_smoothness(render(opacity, normal)).backward()
    assert opacity.grad is None and normal.grad.abs().sum() > 0


def test_entropy_is_in_nats_and_leaves_alone_what_is_all_but_decided():
    opacity = torch.tensor([0.5, 0.25, 0.9995, 0.0005]).view(1, 2, 2, 1).requires_grad_()
    loss = regularizers.entropy(render(opacity))
    end = -(0.001 * math.log(0.001) + 0.999 * math.log(0.999))
    middle = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert loss.item() == pytest.approx((math.log(2) + middle + 2 * end) / 4, rel=1e-4)
    loss.backward()
    assert opacity.grad.flatten()[1] > 0 and not opacity.grad.flatten()[2:].any()


def test_a_regular_tetrahedron():
    """Its corners lie 4/3 of their radius from the mean of three neighbours; the cosine of two radii is -1/3."""
    corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    faces = torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    view = render(torch.ones(1, 1, 1, 1), surface=Surface.of(corners, faces))
    assert regularizers.laplacian(view).item() == pytest.approx(3 * 4 / 3 * math.sqrt(3))
    assert regularizers.normal_consistency(view).item() == pytest.approx(4 / 3)


def test_sign_changes_are_nvdiffrecs():
    """Of the distances 1 and -2 each is asked to have the other's sign: `(log(1 + e^1) + log(1 + e^2)) / 2`."""
    faces = torch.tensor([[0, 1, 2]])
    surface = Surface(torch.eye(3), faces, Edges.of(faces), crossings=torch.tensor([[1.0, -2.0]]))
    found = regularizers.sign_changes(render(torch.ones(1, 1, 1, 1), surface=surface)).item()
    assert found == pytest.approx((math.log(1 + math.e) + math.log(1 + math.exp(2))) / 2)
