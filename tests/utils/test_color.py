"""Hues turn about grey."""

import torch

from threestudio_like.utils.color import random_hues, turn_hues


def test_turned_hues_keep_greys_and_brightness():
    turns = random_hues(64, 1.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).expand(64, -1, -1), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(64), atol=1e-5, rtol=0)
    grey = torch.tensor([0.0, 0.4, 1.0])[:, None, None, None].expand(3, 3, 2, 2)
    torch.testing.assert_close(turn_hues(grey, turns[:3]), grey, atol=1e-5, rtol=0)
    dull = 0.5 + 0.1 * torch.rand(64, 2, 3, 2, 2)
    rotated = turn_hues(dull, turns)
    torch.testing.assert_close(rotated.mean(2), dull.mean(2), atol=1e-5, rtol=0)
    assert (rotated - dull).abs().amax((1, 2, 3, 4)).gt(0.005).float().mean() > 0.8


def test_a_third_of_a_turn_goes_from_red_to_green():
    red, third = torch.tensor([1.0, 0, 0])[:, None, None], torch.tensor([[[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]])
    assert turn_hues(red[None], third)[0, :, 0, 0].tolist() == [0, 1, 0]


def test_the_share_is_kept():
    assert torch.equal(random_hues(8, 0.0, torch.Generator().manual_seed(0)), torch.eye(3).expand(8, -1, -1))
    still = (random_hues(4000, 0.25, torch.Generator().manual_seed(0)) - torch.eye(3)).abs().amax((1, 2)) < 1e-6
    assert abs(still.float().mean() - 0.75) < 0.03
