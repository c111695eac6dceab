"""The scorers: a CLIP folder says what transformers' model says; damaged or missing ones are refused in a sentence."""

import json

import pytest
import torch
from transformers import CLIPModel

from tests.priors import model_folders
from threestudio_like.errors import UserError
from threestudio_like.evaluate.clip import ClipModel, load_scorer
from threestudio_like.evaluate.scorer import Scorer, ScorerSize


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return model_folders.clip(tmp_path_factory.mktemp("clip") / "model")


def test_embeddings_are_those_of_transformers(folder):
    scorer, model = load_scorer(str(folder)), CLIPModel.from_pretrained(folder)
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    captions = ["a dog", "dog dog, dog"]
    pixels = (images - torch.tensor([0.4, 0.5, 0.6])[:, None, None]) / torch.tensor([0.2, 0.25, 0.3])[:, None, None]
    words = scorer.tokenizer(captions, padding=True, return_tensors="pt")
    with torch.no_grad():
        truth = model(input_ids=words.input_ids, attention_mask=words.attention_mask, pixel_values=pixels)
    torch.testing.assert_close(scorer.image(images), truth.image_embeds)
    torch.testing.assert_close(scorer.text(captions), truth.text_embeds)
    assert scorer.features(torch.rand(40, 3, 20, 20)).shape == (40, 6)


def test_a_long_caption_is_cut(folder):
    assert torch.isfinite(ClipModel(str(folder)).text(["dog " * 500, "🐶"])).all()


def test_a_scorers_folder_is_a_scorer(tmp_path):
    Scorer(ScorerSize(image=16, channels=(8, 16), width=12, bins=8), ["dog"]).save(tmp_path / "s")
    assert isinstance(load_scorer(str(tmp_path / "s")), Scorer)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").write_bytes(b"short"),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "preprocessor_config.json").unlink(),
        lambda folder: (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5]})),
        lambda folder: (folder / "vocab.json").write_text("no"),
    ],
)
def test_damaged_folders_are_refused(tmp_path, damage):
    damage(model_folders.clip(tmp_path / "model"))
    with pytest.raises(UserError):
        load_scorer(str(tmp_path / "model"))


def test_a_folder_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="does not exist"):
        load_scorer("/nowhere/at/all")
