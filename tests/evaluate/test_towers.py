"""The image towers of scorers: their sizes, and what a transformer refuses."""

import pytest
import torch

from threestudio_like.errors import UserError
from threestudio_like.evaluate.scorer import Scorer, ScorerSize
from threestudio_like.evaluate.towers import POOLED, ConvolutionTower, TransformerTower


def test_each_block_halves_the_image():
    tower = ConvolutionTower(32, (8, 16))
    assert [tuple(one.shape) for one in tower.maps(torch.rand(2, 3, 32, 32))] == [(2, 8, 16, 16), (2, 16, 8, 8)]
    assert tower(torch.rand(2, 3, 32, 32)).flatten(1).shape == (2, tower.outputs)


def test_a_patch_is_a_token_in_every_layer():
    tower = TransformerTower(64, 8, (32, 32, 32))
    assert [tuple(one.shape) for one in tower.maps(torch.rand(2, 3, 64, 64))] == [(2, 32, 8, 8)] * 3
    pooled = tower(torch.rand(2, 3, 64, 64))
    assert pooled.shape == (2, 32, POOLED, POOLED) and pooled.flatten(1).shape == (2, tower.outputs)


def test_tokens_are_told_their_places():
    torch.manual_seed(0)
    tower = TransformerTower(64, 8, (32,)).eval()
    image = torch.rand(1, 3, 64, 64)
    moved = tower(image.roll(32, dims=-1)).roll(POOLED // 2, dims=-1)
    assert not torch.allclose(tower(image), moved, atol=1e-3)


@pytest.mark.parametrize(
    "image, patch, channels",
    [(64, 7, (32,)), (60, 8, (32,)), (64, 6, (32,)), (96, 6, (32,)), (64, 8, (32, 64)), (64, 8, (40, 40))],
)
def test_sizes_that_do_not_fit_are_refused(image, patch, channels):
    with pytest.raises(UserError, match="a power of two"):
        TransformerTower(image, patch, channels)


def test_a_scorer_of_either_tower_is_saved_and_loaded(tmp_path):
    for size in (ScorerSize(32, (8, 16), 8), ScorerSize(32, (32, 32), 8, patch=8)):
        made = Scorer(size, ["a", "red", "dog"]).half().float().eval()
        made.save(tmp_path / str(size.patch))
        loaded = Scorer.load(str(tmp_path / str(size.patch)))
        images = torch.rand(2, 3, 32, 32)
        torch.testing.assert_close(loaded.image(images), made.image(images))
        torch.testing.assert_close(loaded.azimuth(images), made.azimuth(images))
