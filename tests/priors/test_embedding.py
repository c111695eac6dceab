"""Texts are embedded once: the cache, and what is said about words the encoder cannot take in."""

import logging
import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from priors import embedding, text_encoders
from priors.endings import Ended, shorten
from priors.text import Prompt
from threestudio_like.pretrained import ModelConfig

CPU = torch.device("cpu")


@pytest.fixture
def no_encoder(monkeypatch):
    """From here on, loading an encoder is a failure."""

    def switch_off():
        def load(*args):
            raise AssertionError("the encoder was loaded")

        monkeypatch.setattr(text_encoders, "load_encoder", load)

    return switch_off


def config(models, name="toybox", **options):
    return ModelConfig(str(models(name)), **options)


def test_a_kept_text_needs_no_encoder(models, no_encoder, text_cache):
    texts = ["a red dog", "a blue duck", "a red dog"]
    first = embedding.embed(config(models), texts, CPU)
    assert first.shape == (3, 16, 16) and torch.equal(first[0], first[2]) and not torch.equal(first[0], first[1])
    assert len(list(text_cache.iterdir())) == 2
    no_encoder()
    assert torch.equal(embedding.embed(config(models), texts, CPU), first)
    with pytest.raises(AssertionError, match="was loaded"):
        embedding.embed(config(models), ["a red car"], CPU)


def test_the_encoder_is_loaded_once_for_all_that_is_new(models, monkeypatch):
    embedding.embed(config(models), ["a red dog"], CPU)
    loaded, load = [], text_encoders.load_encoder
    monkeypatch.setattr(text_encoders, "load_encoder", lambda *args: loaded.append(1) or load(*args))
    embedding.embed(config(models), ["a red dog", "a blue dog", "a red car"], CPU)
    assert len(loaded) == 1


def test_texts_are_embedded_where_the_recipe_says(models, monkeypatch):
    devices, compute = [], text_encoders.compute
    monkeypatch.setattr(
        text_encoders, "compute", lambda *given: devices.append(given[-1].type) or compute(*given[:-1], CPU)
    )
    for text, options in (("a red dog", {}), ("a blue dog", {"text_device": "cpu"})):
        assert embedding.embed(config(models, **options), [text], torch.device("meta")).is_meta
    assert devices == ["meta", "cpu"]


@pytest.mark.parametrize("damage", [b"", b"nonsense" * 99, None])
def test_a_corrupt_file_is_computed_again(models, text_cache, damage):
    first = embedding.embed(config(models), ["a red dog"], CPU)
    (path,) = text_cache.iterdir()
    path.write_bytes(path.read_bytes()[:-8] if damage is None else damage)
    assert torch.equal(embedding.embed(config(models), ["a red dog"], CPU), first)
    assert embedding._read(path) is not None


def test_a_flipped_bit_is_computed_again(models, text_cache):
    first = embedding.embed(config(models), ["a red dog"], CPU)
    (path,) = text_cache.iterdir()
    whole = path.read_bytes()
    for place in range(0, 8 * len(whole), 97):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        found = embedding._read(path)
        assert found is None or (torch.equal(found.tokens, first[0]) and found.unknown == () and not found.dropped)


def test_another_encoder_is_another_key(models, tmp_path, text_cache):
    place = shutil.copytree(models("toybox"), tmp_path / "copy")
    embedding.embed(ModelConfig(str(place)), ["a red dog"], CPU)
    weights = place / "text_encoder" / "model.safetensors"
    os.utime(weights, ns=(1, 1))
    embedding.embed(ModelConfig(str(place)), ["a red dog"], CPU)
    embedding.embed(ModelConfig(str(place), precision="bf16"), ["a red dog"], CPU)
    assert len(list(text_cache.iterdir())) == 3


def test_a_cache_that_cannot_be_written_only_warns(models, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "file"))
    assert embedding.embed(config(models), ["a red dog"], CPU).shape == (1, 16, 16)
    assert "not cached" in caplog.text


def test_the_cache_has_a_place_of_its_own(monkeypatch):
    monkeypatch.delenv("TSL_CACHE")
    assert embedding.cache_folder().parts[-3:] == (".cache", "threestudio_like", "text")


def test_unknown_words_are_named_in_one_warning_each_time(models, caplog):
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            embedding.embed(config(models), ["a crimson dog", "a crimson zebra, front view", "a red dog"], CPU)
        assert len(caplog.records) == 1 and caplog.messages[0].endswith("crimson, zebra")


def test_long_texts_are_cut_with_one_warning(models, caplog):
    for name in ("toybox", "sd15"):
        caplog.clear()
        long = "dog " * 100
        tokens = embedding.embed(config(models, name), [long, long + "duck", "dog"], CPU)
        assert torch.equal(tokens[0], tokens[1])
        assert len(caplog.records) == 1 and "cut" in caplog.text


LONG = "a red chair with a tall back that stands on a carpet of wool and silk and cotton and linen"


@pytest.mark.parametrize("name", ["toybox", "sd15"])
def test_a_views_words_survive_any_length(models, name, caplog):
    backbone = SimpleNamespace(embed=lambda texts: embedding.embed(config(models, name), texts, CPU))
    short = {"a red chair", LONG} | ({"red" * 300} if name == "toybox" else set())  # one word, which it does not know
    for prompt in ("a red chair", LONG, LONG * 9, "red" * 300):
        caplog.clear()
        views = Prompt(backbone, text=prompt).views
        assert len({tuple(view.flatten().tolist()) for view in views}) == 4, prompt  # both sides are "side view"
        said = [message for message in caplog.messages if "dropped: " in message]
        assert len(said) <= 1 and (said or prompt in short)


def test_what_is_dropped_is_said(models, caplog):
    embedding.embed(config(models), [Ended(LONG, ", side view", (", side view", ", overhead view"))], CPU)
    said = next(message for message in caplog.messages if "dropped" in message)
    assert said.endswith("silk and cotton and linen")


def test_clip_knows_every_word(models, caplog):
    embedding.embed(config(models, "sd15"), ["a crimson zebra é", ""], CPU)
    assert not caplog.records


def test_clip_embeddings_are_the_encoders_own(models):
    place = models("sd21")
    tokenizer = CLIPTokenizer.from_pretrained(place / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(place / "text_encoder")
    ids = tokenizer("a dog", padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    expected = encoder(ids).last_hidden_state
    torch.testing.assert_close(embedding.embed(config(models, "sd21"), ["a dog"], CPU), expected)


def test_t5_embeddings_mask_the_padding_and_ignore_case(models):
    place = models("if")
    tokenizer = T5Tokenizer.from_pretrained(place / "tokenizer")
    encoder = T5EncoderModel.from_pretrained(place / "text_encoder", variant="fp16", dtype=torch.float32)
    batch = tokenizer("a dog", padding="max_length", max_length=77, return_tensors="pt")
    expected = encoder(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    made = embedding.embed(config(models, "if", variant="fp16"), [" A Dog ", "a dog"], CPU)
    torch.testing.assert_close(made, expected.expand(2, -1, -1))


def test_a_text_is_shortened_between_words_and_before_its_ending():
    def fits(text):
        return len(text.split()) <= 6

    def short(*text):
        return shorten(Ended(*text), fits)

    assert short("one two three four", ", back view") == ("one two three four, back view", "")
    assert short("one two three four five", ", back view") == ("one two three four, back view", "five")
    assert short("one two, three four five", ", back view", (", back view", ", front left view")) == (
        "one two, three, back view",
        "four five",
    )
    assert shorten("a b c d e f g h", fits) == ("a b c d e f", "g h")
    assert shorten("", fits) == ("", "")
    assert shorten("abcdefgh", lambda text: len(text) <= 3) == ("abc", "defgh")
    assert short("one", ", two three four five six seven eight") == (", two three four five six seven eight", "one")
