"""Whatever is wrong with a model is one sentence that names the place and the remedy."""

import json
import shutil
import socket
import time

import huggingface_hub.constants
import huggingface_hub.errors
import pytest
import torch
from safetensors.torch import load_file, save_file

import priors
from priors.backbones.latent import LatentBackbone
from priors.backbones.pixel import PixelBackbone
from threestudio_like.errors import UserError
from threestudio_like.pretrained import hub as hub_side

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def broken(models, tmp_path):
    return shutil.copytree(models("toybox"), tmp_path / "broken")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub cache, and a hub that nothing answers at."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "hub"


def in_hub_cache(hub, model, name="owner/model"):
    place = hub / ("models--" + name.replace("/", "--"))
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    return shutil.copytree(model, place / "snapshots" / COMMIT)


def failure(model, kind=PixelBackbone, embed=False, **options) -> str:
    with pytest.raises(UserError) as caught:
        backbone = kind("cpu", model=str(model), **options)
        assert embed, "the model loaded"
        backbone.embed(["a red dog"])
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


def test_no_folder(tmp_path):
    place = tmp_path / "nowhere"
    assert "nowhere' does not exist; give `model`" in failure(place)
    assert "nowhere" in PixelBackbone.missing(PixelBackbone.Config(str(place)))
    assert "does not exist" in failure("")


@pytest.mark.parametrize(
    "file", ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"]
)
def test_a_missing_file(broken, file):
    (broken / file).unlink()
    message = failure(broken)
    assert file in message and "is missing" in message and "fetch" in message
    assert PixelBackbone.missing(PixelBackbone.Config(str(broken))) == message


@pytest.mark.parametrize(
    "file",
    ["text_encoder/config.json", "text_encoder/model.safetensors", "model_index.json", "tokenizer/tokenizer.json"],
)
def test_a_missing_text_file_is_told_when_text_is_needed(broken, file):
    (broken / file).unlink()
    message = failure(broken, embed=True)
    assert file.split("/")[-1] in message
    assert PixelBackbone.missing(PixelBackbone.Config(str(broken))) == message


@pytest.mark.parametrize("file", ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"])
@pytest.mark.parametrize("damage", ["truncated", "overwritten", "empty"])
def test_corrupt_weights(broken, file, damage):
    path = broken / file
    whole = path.read_bytes()
    damaged = {"truncated": whole[: len(whole) // 2], "overwritten": b"version https://git-lfs" * 9, "empty": b""}
    path.write_bytes(damaged[damage])
    message = failure(broken, embed=True)
    assert file in message and "truncated or corrupt; delete it" in message
    assert PixelBackbone.missing(PixelBackbone.Config(str(broken))) == message


@pytest.mark.parametrize(
    "file, tensor",
    [
        ("unet/diffusion_pytorch_model.safetensors", "conv_in.weight"),
        ("text_encoder/model.safetensors", "final_layer_norm.weight"),
    ],
)
@pytest.mark.parametrize("missing", [False, True])
def test_weights_that_do_not_fit_their_config(broken, file, tensor, missing):
    weights = load_file(broken / file)
    tensor = next(key for key in weights if key.endswith(tensor))
    del weights[tensor]
    if not missing:
        weights[tensor] = torch.zeros(5)
    save_file(weights, broken / file, metadata={"format": "pt"})
    message = failure(broken, embed=True)
    assert file.split("/")[0] in message and "do not fit config.json" in message and tensor.split(".")[-2] in message


def test_a_missing_shard_and_a_damaged_index(models, tmp_path):
    broken = shutil.copytree(models("if"), tmp_path / "broken")
    shard = next((broken / "text_encoder").glob("*00002-of-*.safetensors"))
    shard.unlink()
    assert f"{shard.name} is missing" in failure(broken, variant="fp16", embed=True)
    (broken / "text_encoder" / "model.safetensors.index.fp16.json").write_text("{")
    assert "cannot be read as JSON" in failure(broken, variant="fp16", embed=True)


@pytest.mark.parametrize("shards", [["a"], {"x": 5}, {"x": "../../secret.safetensors"}, {"x": ["a"]}])
def test_an_index_names_files_beside_it(broken, shards):
    (broken / "unet/diffusion_pytorch_model.safetensors").unlink()
    index = broken / "unet/diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    assert "names no files beside it" in failure(broken)


@pytest.mark.parametrize("odd", [{"num_train_timesteps": "many"}, {"beta_start": []}, {"beta_schedule": {"a": 1}}])
def test_a_schedule_of_nonsense(broken, odd):
    path = broken / "scheduler/scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"beta_schedule": "linear"} | odd))
    assert "cannot be loaded as a schedule of noise" in failure(broken)


@pytest.mark.parametrize("odd", [5, "CLIPTextModel", [], {"a": 1}, [None, ["a"]]])
def test_an_index_of_nonsense(broken, odd):
    (broken / "model_index.json").write_text(json.dumps({"text_encoder": odd, "tokenizer": odd}))
    assert "no text encoder of a known kind" in failure(broken, embed=True)


def test_json_that_is_nested_too_deep(broken):
    (broken / "unet/config.json").write_text("[" * 100_000)
    assert "cannot be read as JSON" in failure(broken)


def test_pickled_weights_are_not_loaded(broken):
    path = broken / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))
    assert "pickled weights (.bin) only, which are never loaded" in failure(broken)


@pytest.mark.parametrize("file", ["unet/config.json", "scheduler/scheduler_config.json", "model_index.json"])
def test_json_that_is_none(broken, file):
    (broken / file).write_text("{ not json")
    assert f"{file} cannot be read as JSON" in failure(broken, embed=True)


def test_a_config_of_nonsense(broken):
    path = broken / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"down_block_types": ["NoSuchBlock"]}))
    assert "cannot be loaded as a UNet2DConditionModel" in failure(broken)


def test_a_damaged_tokenizer(broken):
    (broken / "tokenizer" / "tokenizer.json").write_text("{}")
    assert "tokenizer cannot be loaded" in failure(broken, embed=True)


def test_an_unknown_text_encoder_is_not_run(broken):
    path = broken / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"text_encoder": ["custom", "Anything"]}))
    assert "no text encoder of a known kind" in failure(broken, embed=True)


def test_a_schedule_without_betas(broken):
    path = broken / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}))
    assert "FlowMatchEulerDiscreteScheduler" in failure(broken) and "variance-preserving" in failure(broken)


def test_the_other_kind_of_backbone(models):
    assert "vae" in failure(models("toybox"), LatentBackbone)
    assert "`type: latent`" in failure(models("sd15"), PixelBackbone)


def test_sentencepiece_is_asked_for(models, tmp_path, monkeypatch):
    from transformers import T5Tokenizer

    def needs(*args, **named):
        raise ImportError("requires sentencepiece")

    monkeypatch.setattr(T5Tokenizer, "from_pretrained", needs)
    assert "pip install sentencepiece" in failure(models("if"), embed=True, variant="fp16")


def test_a_hub_id_without_network_fails_soon(hub):
    start = time.perf_counter()
    message = failure("owner/model")
    assert "owner/model" in message and "local Hugging Face cache" in message and "local folder" in message
    assert time.perf_counter() - start < 10
    assert "owner/model" in PixelBackbone.missing(PixelBackbone.Config("owner/model"))


def test_a_hub_that_does_not_answer_is_given_up(hub, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(hub_side, "CONNECT_SECONDS", 0.2)
        start = time.perf_counter()
        assert "cannot be downloaded" in failure("owner/model")
        assert time.perf_counter() - start < 10


def test_a_hub_id_in_the_local_cache_needs_no_network(hub, models):
    in_hub_cache(hub, models("toybox"))
    assert PixelBackbone.missing(PixelBackbone.Config("owner/model")) is None
    backbone = PixelBackbone("cpu", PixelBackbone.Config("owner/model"))
    assert backbone.embed(["a red dog"]).shape == (1, 16, 16)
    assert priors.load("owner/model", revision=COMMIT).image_size == 32


def test_a_text_of_a_hub_model_needs_no_encoder_once_it_is_kept(hub, models):
    place = in_hub_cache(hub, models("toybox"))
    backbone = PixelBackbone("cpu", PixelBackbone.Config("owner/model"))
    first = backbone.embed(["a red dog"])
    shutil.rmtree(place / "text_encoder")
    assert torch.equal(backbone.embed(["a red dog"]), first)
    with pytest.raises(UserError, match="owner/model"):
        backbone.embed(["a blue dog"])


@pytest.mark.parametrize(
    "error, remedy", [("GatedRepoError", "accept its licence"), ("RepositoryNotFoundError", "check its spelling")]
)
def test_a_gated_model_and_an_unknown_one(monkeypatch, hub, error, remedy):
    kind = getattr(huggingface_hub.errors, error)

    def refuse(*args, **named):
        raise kind.__new__(kind)

    monkeypatch.setattr(huggingface_hub, "model_info", refuse)
    assert remedy in failure("owner/model")


def test_a_download_fetches_only_what_is_needed():
    needed = [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.fp16-00001-of-00002.safetensors",
        "text_encoder/model.safetensors.index.fp16.json",
    ]
    patterns = hub_side._patterns(("unet", "text_encoder"), "fp16", needed)
    wanted = huggingface_hub.utils.filter_repo_objects(needed, allow_patterns=patterns)
    assert len(list(wanted)) == 5
    stem = "unet/diffusion_pytorch_model"
    refused = [
        f"{stem}.bin",
        f"{stem}.safetensors",
        f"{stem}.non_ema.safetensors",
        f"{stem}.fp16.bin",
        "vae/config.json",
        "v1-5-pruned.ckpt",
    ]
    assert not list(huggingface_hub.utils.filter_repo_objects(refused, allow_patterns=patterns))
    plain = hub_side._patterns(("unet",), None, needed)
    assert not list(huggingface_hub.utils.filter_repo_objects([f"{stem}.fp16.safetensors"], allow_patterns=plain))


def test_a_download_takes_plain_weights_of_a_part_that_has_no_variant():
    """As Stable Diffusion 3 is published: its T5 in two precisions, its transformer in one."""
    transformer, t5 = "transformer/diffusion_pytorch_model", "text_encoder_3/model"
    listed = [f"{transformer}.safetensors", f"{t5}.fp16-00001-of-00002.safetensors", f"{t5}-00001-of-00002.safetensors"]
    patterns = hub_side._patterns(("transformer", "text_encoder_3"), "fp16", listed)
    assert list(huggingface_hub.utils.filter_repo_objects(listed, allow_patterns=patterns)) == listed[:2]


def test_a_model_saved_again_does_not_name_the_folder_it_came_from(models, tmp_path):
    place = models("toybox")
    PixelBackbone("cpu", model=str(place)).unet.save_pretrained(tmp_path / "again")
    assert str(place) not in (tmp_path / "again" / "config.json").read_text()
