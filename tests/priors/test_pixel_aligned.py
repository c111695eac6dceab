"""What views show of a point is read where it falls on them; the colour of a point that all see is theirs."""

import math
from dataclasses import replace

import torch

from priors.pixel_aligned import AlignedFeatures, PixelAligned
from priors.projection import project, rays
from priors.reconstructor import Decoder, Reconstructor, ReconstructorSize
from priors.view_encoder import pose_numbers
from tests.tiny import RECONSTRUCTOR_SIZE
from threestudio_like.cameras import zero123plus_rig

RIG = zero123plus_rig(torch.zeros(1), 2.7, 41.0, 16)
POSES = pose_numbers(RIG)
"""Those of six cameras."""


def test_rays_lead_to_the_points_that_fall_on_their_pixels():
    """A point on the ray through a pixel's middle falls there, and its moment is that of the camera's place."""
    through = rays(POSES, 16)
    direction, moment = through[:, :3, 5, 11], through[:, 3:, 5, 11]
    x = RIG.position + 2.2 * direction
    where, depth = project(POSES, x[:, None])
    torch.testing.assert_close(where[:, 0], torch.tensor([11.5 / 16, 5.5 / 16]).expand(6, 2))
    torch.testing.assert_close(moment, torch.linalg.cross(RIG.position, direction))
    assert (direction.norm(dim=-1) - 1).abs().max() < 1e-6 and (depth[:, 0, 0] < 2.2).all()


def blending(shown):
    """A module whose blend weights and maps are plain: all views alike."""
    aligned = PixelAligned(2, 8)
    torch.nn.init.zeros_(aligned.weights.weight)
    maps = torch.cat([torch.zeros(1, 6, 8, 16, 16), shown], dim=2)
    return AlignedFeatures(torch.zeros(1, 3, 2, 4, 4), maps, POSES[None], aligned)


def test_the_blended_colour_is_read_where_the_point_falls():
    """Views that show their own pixels' places blend to the mean place of a point."""
    pixels = (torch.arange(16) + 0.5) / 16
    columns, rows = torch.meshgrid(pixels, pixels, indexing="xy")
    objects = blending(torch.stack([columns, rows, torch.zeros_like(rows)]).expand(1, 6, 3, 16, 16))
    x = torch.rand(1, 20, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    found = objects.features(x)[..., -3:]
    torch.testing.assert_close(found[0, :, :2], project(POSES, x[0])[0].mean(0))
    assert len(objects[0:1]) == 1 and objects.features(x).shape[-1] == 6 + objects.gather.features


def test_a_shown_colour_becomes_the_points_lighter_or_darker():
    decoder = Decoder(9, 8, 1, blended=True)
    last = decoder.color_net[-1]
    torch.nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([0.0, 0, 0, 20.0, math.log(1.5)]))
    features = torch.rand(5, 9) / 2
    torch.testing.assert_close(decoder.color(features), 1.5 * features[:, -3:])


def test_everything_learns_and_the_order_of_views_does_not_matter():
    size: ReconstructorSize = replace(RECONSTRUCTOR_SIZE, pixel_aligned=8)
    torch.manual_seed(0)
    model = Reconstructor.of(size)
    for layer in (model.decoder.distance_net[-1], model.decoder.color_net[-1]):
        torch.nn.init.normal_(layer.weight)
    images, poses, x = torch.rand(2, 6, 3, 16, 16), POSES.expand(2, -1, -1), torch.rand(2, 9, 3) - 0.5
    found = model(images, poses).features(x)
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    torch.testing.assert_close(model(images[:, order], poses[:, order]).features(x), found, atol=1e-5, rtol=1e-4)
    (model.decoder.distance(x, found).sum() + model.decoder.color(found).sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.aligned.parameters())
