"""Several text encoders become one embedding: as the published pipelines join them."""

import logging
import shutil

import pytest
import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionXLPipeline

from priors import embedding, text_encoders
from priors.backbones.flow import FlowBackbone
from priors.backbones.latent import LatentBackbone
from priors.text import Prompt
from priors.text_encoders import split_pooled
from tests.priors.test_embedding import LONG
from threestudio_like.cameras import Cameras, orbit
from threestudio_like.errors import UserError
from threestudio_like.pretrained import ModelConfig

CPU = torch.device("cpu")
TEXTS = ["a Red dog, side view", "a blue duck"]
KINDS = {"sdxl": LatentBackbone, "sd3": FlowBackbone}


def published(models, name, **left_out):
    kind = StableDiffusionXLPipeline if name == "sdxl" else StableDiffusion3Pipeline
    return kind.from_pretrained(models(name), local_files_only=True, **left_out)


def test_two_encoders_are_joined_as_in_stable_diffusion_xls_pipeline(models):
    tokens, no_tokens, pooled, no_pooled = published(models, "sdxl").encode_prompt(TEXTS)
    made = embedding.embed(ModelConfig(str(models("sdxl"))), [*TEXTS, ""], CPU)
    ours, ours_pooled = split_pooled(made, pooled.shape[-1])
    torch.testing.assert_close(ours[:2], tokens)
    torch.testing.assert_close(ours_pooled[:2], pooled)
    assert torch.equal(ours[2], no_tokens[0]) and torch.equal(ours_pooled[2], no_pooled[0])  # zeros, as published


@pytest.mark.parametrize("t5", [True, False])
def test_three_encoders_are_joined_as_in_stable_diffusion_3s_pipeline(models, t5):
    pipeline = published(models, "sd3", **({} if t5 else {"text_encoder_3": None, "tokenizer_3": None}))
    tokens, no_tokens, pooled, no_pooled = pipeline.encode_prompt(TEXTS, TEXTS, TEXTS)
    made = embedding.embed(ModelConfig(str(models("sd3"))), [*TEXTS, ""], CPU, t5=t5)
    ours, ours_pooled = split_pooled(made, pooled.shape[-1])
    torch.testing.assert_close(ours, torch.cat([tokens, no_tokens[:1]]))
    torch.testing.assert_close(ours_pooled, torch.cat([pooled, no_pooled[:1]]))
    assert (ours[:, 77:] == 0).all() == (not t5)


def test_a_t5_that_is_left_out_is_not_needed(models, tmp_path):
    place = shutil.copytree(models("sd3"), tmp_path / "copy")
    whole = embedding.embed(ModelConfig(str(place)), ["a red dog"], CPU)
    shutil.rmtree(place / "text_encoder_3"), shutil.rmtree(place / "tokenizer_3")
    backbone = FlowBackbone("cpu", model=str(place), t5=False)
    assert FlowBackbone.missing(backbone.config) is None
    assert not torch.equal(backbone.embed(["a red dog"]), whole)  # another key of the cache
    lacking = FlowBackbone.Config(model=str(place))
    assert "text_encoder_3" in FlowBackbone.missing(lacking)
    with pytest.raises(UserError, match="text_encoder_3"):
        FlowBackbone("cpu", lacking).embed(["a red car"])


@pytest.mark.parametrize("name", KINDS)
def test_encoders_are_in_memory_one_at_a_time_and_only_for_new_texts(models, monkeypatch, name):
    loaded, load = [], text_encoders.load_encoder

    def watched(config, device, part):
        loaded.append(part)
        return load(config, device, part)

    monkeypatch.setattr(text_encoders, "load_encoder", watched)
    backbone = KINDS[name]("cpu", model=str(models(name)))
    first = backbone.embed(["a red dog", "a car", ""])
    assert loaded == list(text_encoders.encoders_of(models(name))) and len(loaded) == (2 if name == "sdxl" else 3)
    assert torch.equal(backbone.embed(["a car", "a red dog", ""]), first[[1, 0, 2]]) and len(loaded) < 4


@pytest.mark.parametrize("name", KINDS)
def test_a_views_words_survive_any_length_in_each_encoder(models, name, caplog):
    backbone = KINDS[name]("cpu", model=str(models(name)))
    views = Prompt(backbone, text=LONG * 9).views
    for part in (views[:, :77], views[:, -1:]):
        assert len({tuple(view.flatten().tolist()) for view in part}) == 4  # both sides are "side view"
    assert len([message for message in caplog.messages if "dropped: " in message]) == 1


def test_words_that_only_the_t5_does_not_know_are_named(models, caplog):
    with caplog.at_level(logging.WARNING):
        embedding.embed(ModelConfig(str(models("sd3"))), ["a dog 7"], CPU)
    assert caplog.messages == ["the text encoder does not know, and ignores: 7"]


@pytest.mark.parametrize("name", KINDS)
def test_views_and_negatives_carry_the_pooled_embedding(models, name):
    backbone = KINDS[name]("cpu", model=str(models(name)))
    cameras = orbit(8, 20.0, 2.7, 41.0, 8)
    assert isinstance(cameras, Cameras)
    front, side, *_ = (view[-1] for view in Prompt(backbone, text="a dog").views)
    told = Prompt(backbone, text="a dog", views="perp_neg").at(cameras)
    torch.testing.assert_close(told.text[1, -1], 0.5 * (front + side))  # 45 degrees
    torch.testing.assert_close(told.negatives[1, :, -1], torch.stack([front, side]))
    assert told.negatives.shape == (8, 2, *told.text.shape[1:])


def test_encoders_that_do_not_belong_together_are_refused(models, tmp_path):
    place = shutil.copytree(models("sd3"), tmp_path / "copy")
    (place / "transformer" / "config.json").write_text('{"joint_attention_dim": 8}')
    with pytest.raises(UserError, match="40 features where 8 are the most"):
        embedding.embed(ModelConfig(str(place)), ["a dog"], CPU)
    (place / "transformer" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="has no joint_attention_dim"):
        embedding.embed(ModelConfig(str(place)), ["a dog"], CPU)


def test_half_precision_is_bfloat16_on_the_cpu(models):
    _, encoder = text_encoders.load_encoder(ModelConfig(str(models("if")), "fp16", "fp16"), CPU)
    assert {p.dtype for p in encoder.parameters()} == {torch.bfloat16}
    _, encoder = text_encoders.load_encoder(ModelConfig(str(models("sd15"))), CPU)
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}
