"""Metrics on cases with known answers."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh

from threestudio_like.evaluate.features import diversity, frechet_distance, pairwise_distances
from threestudio_like.evaluate.images import psnr, saturation, ssim
from threestudio_like.evaluate.result import Context, Result
from threestudio_like.evaluate.shapes import aligned, compare, health


def test_psnr_and_ssim():
    truth = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(psnr(truth + 0.1, truth), torch.full((2,), 20.0))
    torch.testing.assert_close(ssim(truth, truth), torch.ones(2))
    noisy = (truth + 0.3 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    assert (ssim(noisy, truth) < 0.9).all() and math.isinf(psnr(truth, truth)[0])


def test_ssim_is_the_papers():
    """Wang et al. 2004, equation 13, over the windows that lie within the image."""
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, 20, 24, generator=generator)
    b = (a + 0.2 * torch.randn(a.shape, generator=generator)).clamp(0, 1)
    row = torch.exp(-torch.arange(-5.0, 6.0).square() / (2 * 1.5**2))
    window = (row[:, None] * row / row.sum() ** 2).expand(3, 1, 11, 11)

    def mean(images):
        return F.conv2d(images, window, groups=3)

    m, n, c, d = mean(a), mean(b), 0.01**2, 0.03**2
    spread = mean(a * a) - m * m + mean(b * b) - n * n
    expected = (2 * m * n + c) * (2 * (mean(a * b) - m * n) + d) / ((m * m + n * n + c) * (spread + d))
    torch.testing.assert_close(ssim(a, b), expected.flatten(1).mean(1), atol=1e-5, rtol=0)


def test_saturation_counts_the_object_only():
    images = torch.zeros(1, 3, 4, 4)
    images[:, 0] = 1.0  # pure red
    images[:, :, :, 2:] = 0.5  # grey
    left = torch.zeros(1, 1, 4, 4)
    left[..., :2] = 1.0
    assert saturation(images, left).item() == pytest.approx(1.0)
    assert saturation(images, torch.ones(1, 1, 4, 4)).item() == pytest.approx(0.5)
    assert saturation(images, 1 - left).item() == 0.0


def test_frechet_distance_of_gaussians():
    """`|m|^2 + D (s - 1)^2` between N(0, I) and N(m, s^2 I)."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(20000, 4, generator=generator)
    b = torch.tensor([1.0, 0, 0, 0]) + 2 * torch.randn(20000, 4, generator=generator)
    assert frechet_distance(a, b) == pytest.approx(1 + 4, rel=0.05)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_is_symmetric_however_few_the_rows_are():
    """One way round it is computed from the features' products, the other from the covariance's root."""
    generator = torch.Generator().manual_seed(1)
    few, many = torch.randn(12, 20, generator=generator), 0.5 + torch.randn(200, 20, generator=generator)
    assert frechet_distance(few, many) == pytest.approx(frechet_distance(many, few), rel=1e-6)
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)


def test_diversity_is_the_mean_distance():
    assert diversity(torch.tensor([[0.0, 0], [3, 4], [0, 0]])) == pytest.approx(10 / 3)


def test_a_runs_own_views_are_no_part_of_its_diversity():
    """Runs whose features are 0, 1 and 3 lie 2, 1.5 and 2.5 from the others on average."""
    results = [
        Result("a", "a dog", seed, {}, False, 1, (torch.zeros(2, 8, 3, 1, 1) + value,), Context(("a dog",), Mean()))
        for seed, value in enumerate((0.0, 1.0, 3.0))
    ]
    assert pairwise_distances(results) == [2.0, 1.5, 2.5]
    assert pairwise_distances(results[:1]) == [None]


class Mean:
    """A scorer whose one feature is the image's mean."""

    def features(self, images):
        return images.mean((1, 2, 3))[:, None]

    image = features

    def text(self, captions):
        return torch.ones(len(captions), 1)


def test_a_part_too_many_counts_one_way_only():
    """A ball beside the true one: half of the points are far off, and all of the true ones are found."""
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.3)
    two = trimesh.util.concatenate([ball, ball.copy().apply_translation([0.0, 0.0, 0.65])])
    both, swapped = compare(two, ball, resolution=24), compare(ball, two, resolution=24)
    assert both.chamfer == pytest.approx(swapped.chamfer, rel=0.05) and both.chamfer > 0.05
    assert both.f_score == pytest.approx(2 * 0.5 / 1.5, abs=0.02)
    assert both.volume_iou == pytest.approx(0.5, abs=0.03) == swapped.volume_iou


def test_shapes_of_known_overlap():
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    same = compare(ball, ball)
    assert same.chamfer < 0.01 and same.f_score > 0.999 and same.volume_iou == 1
    grown = compare(trimesh.creation.icosphere(subdivisions=4, radius=0.6), ball)
    assert grown.chamfer == pytest.approx(0.1, abs=0.005) and grown.f_score == 0
    assert grown.volume_iou == pytest.approx((0.5 / 0.6) ** 3, abs=0.02)
    far = trimesh.creation.icosphere(subdivisions=4, radius=0.2)
    far.apply_translation([0.75, 0, 0])
    assert compare(far, ball).volume_iou == 0


def test_a_turned_and_scaled_mesh_is_aligned():
    body = trimesh.util.concatenate(
        [
            trimesh.creation.box((0.8, 0.3, 0.2)),
            trimesh.creation.box((0.2, 0.2, 0.4), trimesh.transformations.translation_matrix([0.3, 0.0, 0.2])),
        ]
    )
    other = body.copy()
    other.apply_transform(trimesh.transformations.rotation_matrix(2.1, [0, 0, 1]))
    other.apply_scale(0.6)
    other.apply_translation([0.1, -0.1, 0.05])
    before, after = compare(other, body), compare(aligned(other, body), body)
    assert after.chamfer < 0.02 < before.chamfer and after.f_score > 0.97


@pytest.mark.slow
def test_alignment_turns_about_the_vertical_only_and_makes_nothing_worse():
    """A lying box stays lying beside a standing one; a box and a table come as near as they are."""
    lying, standing = trimesh.creation.box((0.9, 0.3, 0.3)), trimesh.creation.box((0.3, 0.3, 0.9))
    assert compare(aligned(lying, standing), standing).volume_iou < 0.6
    table = trimesh.util.concatenate(
        [trimesh.creation.box((0.9, 0.6, 0.1)).apply_translation([0, 0, 0.3])]
        + [
            trimesh.creation.box((0.08, 0.08, 0.6)).apply_translation([x, y, 0])
            for x in (-0.4, 0.4)
            for y in (-0.25, 0.25)
        ]
    )
    box = trimesh.creation.box((0.9, 0.6, 0.7)).apply_translation([0, 0, 0.02])
    assert compare(aligned(box, table), table).chamfer <= compare(box, table).chamfer + 0.003


def test_health():
    ball = trimesh.creation.icosphere(subdivisions=2)
    two = trimesh.util.concatenate([ball, trimesh.creation.icosphere(subdivisions=2).apply_translation([3, 0, 0])])
    assert health(two) == {"watertight": 1.0, "oriented": 1.0, "components": 2.0, "faces": 640.0}
    open_ = trimesh.Trimesh(ball.vertices, ball.faces[1:])
    assert health(open_)["watertight"] == 0.0 and np.isfinite(list(health(open_).values())).all()
