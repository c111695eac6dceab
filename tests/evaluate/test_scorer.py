"""The scorer: what it saves it reads back, and damaged folders are refused in a sentence."""

import pytest
import torch

from threestudio_like.errors import UserError
from threestudio_like.evaluate.scorer import Scorer, ScorerSize

WORDS = ["a", "red", "blue", "dog", "cat"]


@pytest.fixture
def scorer():
    torch.manual_seed(0)
    return Scorer(ScorerSize(image=16, channels=(8, 16), width=12, bins=8), WORDS).eval()


def test_similarities_are_cosines(scorer):
    image, text = scorer.image(torch.rand(3, 3, 20, 20)), scorer.text(["a red dog", "a blue cat", "nothing known", ""])
    assert torch.allclose(image.norm(dim=-1), torch.ones(3), atol=1e-5)
    assert torch.allclose(text.norm(dim=-1), torch.ones(4), atol=1e-5)
    assert scorer.azimuth(torch.rand(3, 3, 20, 20)).shape == (3, 8)


def test_order_of_captions_and_padding_do_not_matter(scorer):
    alone, together = scorer.text(["a red dog"]), scorer.text(["a", "a red dog", "a red dog a red dog a cat"])
    assert torch.allclose(alone[0], together[1], atol=1e-6)
    assert torch.allclose(scorer.text(["A RED dog!"]), alone, atol=1e-6)


def test_saved_and_loaded_it_says_the_same(scorer, tmp_path):
    scorer.save(tmp_path / "s")
    again = Scorer.load(tmp_path / "s")
    images = torch.rand(2, 3, 16, 16)
    assert torch.allclose(scorer.image(images), again.image(images), atol=0.02)
    assert not any(p.requires_grad for p in again.parameters())


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").write_bytes(b"short"),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "config.json").write_text('{"size": {"channels": [8]}, "words": ["a"]}'),
    ],
)
def test_damaged_folders_are_refused(scorer, tmp_path, damage):
    scorer.save(tmp_path / "s")
    damage(tmp_path / "s")
    with pytest.raises(UserError, match="cannot be used"):
        Scorer.load(tmp_path / "s")
