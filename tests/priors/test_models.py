"""Models of every published layout go through the real loading code."""

import json
import shutil

import diffusers
import pytest
import torch
import torch.nn.functional as F

from benchmarks.counter import peak_of
from priors.backbones.flow import FlowBackbone
from priors.backbones.latent import DirectBackbone, LatentBackbone
from priors.backbones.pixel import PixelBackbone
from priors.condition import Condition
from priors.text import ViewPrompts
from tests.priors import model_folders
from threestudio_like.config.loading import load
from threestudio_like.config.registry import parse, parse_component
from threestudio_like.errors import UserError

KINDS = {
    "toybox": PixelBackbone,
    "if": PixelBackbone,
    "sd15": LatentBackbone,
    "sd21": LatentBackbone,
    "sd21_v": LatentBackbone,
    "sdxl": LatentBackbone,
    "sd3": FlowBackbone,
    "sd35": FlowBackbone,
}
EXPECTED = {
    "toybox": (32, (48, 8, 8), "sample", (16, 16)),
    "if": (16, (3, 16, 16), "epsilon", (77, 16)),
    "sd15": (64, (4, 8, 8), "epsilon", (77, 16)),
    "sd21": (64, (4, 8, 8), "epsilon", (77, 16)),
    "sd21_v": (64, (4, 8, 8), "v_prediction", (77, 16)),
    "sdxl": (64, (4, 8, 8), "epsilon", (77 + 1, 16 + 24)),
    "sd3": (64, (16, 8, 8), "v_prediction", (77 + 256 + 1, 64)),
    "sd35": (64, (16, 8, 8), "v_prediction", (77 + 256 + 1, 64)),
}
"""Pixels, the shape of latents, what callers take the output for, and the shape of a text; a pooled one is a token."""


def build(models, name, **options):
    kind = KINDS[name]
    options = ({"variant": "fp16", "precision": "fp16"} if name == "if" else {}) | options
    return kind("cpu", model=str(models(name)), **options)


@pytest.mark.parametrize("name", KINDS)
def test_every_layout_loads_encodes_and_predicts(models, name):
    size, shape, prediction, text_shape = EXPECTED[name]
    config = KINDS[name].Config(model=str(models(name)), variant="fp16" if name == "if" else None)
    assert KINDS[name].missing(config) is None
    backbone = build(models, name)
    assert (backbone.image_size, backbone.prediction, backbone.schedule.steps) == (size, prediction, 1000)
    assert not isinstance(backbone, torch.nn.Module) and not any(p.requires_grad for p in backbone.unet.parameters())
    images = torch.rand(2, 3, 20, 20, requires_grad=True)
    latents = backbone.encode(images)
    assert latents.shape == (2, *shape)
    latents.sum().backward()
    assert images.grad.abs().sum() > 0
    decoded = backbone.decode(latents.detach())
    assert decoded.shape == (2, 3, size, size) and decoded.min() >= 0 and decoded.max() <= 1
    text = backbone.embed(["a red dog", ""])
    assert (
        text.shape == (2, *text_shape) and backbone.text_width == text_shape[1] and not torch.allclose(text[0], text[1])
    )
    eps = backbone.predict(latents.detach(), torch.tensor([20, 700]), text)
    assert eps.shape == latents.shape and eps.dtype == torch.float32 and eps.isfinite().all()


@pytest.mark.parametrize("name", KINDS)
def test_a_frozen_network_computes_in_its_own_precision_whatever_the_runs(models, name):
    backbone = build(models, name)
    asked = torch.randn(2, *EXPECTED[name][1]), torch.tensor([20, 700]), backbone.embed(["a red dog", ""])
    expected = backbone.predict(*asked)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(backbone.predict(*asked), expected)


@pytest.mark.parametrize("name", ["toybox", "if"])
def test_pixels_survive_encoding(models, name):
    backbone = build(models, name)
    images = torch.rand(2, 3, backbone.image_size, backbone.image_size)
    latents = backbone.encode(images)
    assert latents.min() < -0.9 and latents.max() > 0.9
    torch.testing.assert_close(backbone.decode(latents), images, atol=1e-6, rtol=0)
    torch.testing.assert_close(latents, F.pixel_unshuffle(2 * images - 1, backbone.patch))


def test_latents_are_the_vaes_scaled(models):
    backbone = build(models, "sd21")
    vae = diffusers.AutoencoderKL.from_pretrained(models("sd21") / "vae")
    images = torch.rand(2, 3, 64, 64)
    mean = vae.encode(2 * images - 1).latent_dist.mean
    torch.testing.assert_close(backbone.encode(images), vae.config.scaling_factor * mean)
    torch.testing.assert_close(
        backbone.decode(vae.config.scaling_factor * mean), (vae.decode(mean).sample / 2 + 0.5).clamp(0, 1)
    )


def test_images_one_at_a_time_have_the_gradients_of_all_at_once(models):
    """Through the VAE twice: before the latents' gradient is known, and after."""
    whole, sliced = build(models, "sd15"), build(models, "sd15", vae_slicing=True)
    passes = []
    sliced.vae.encoder.register_forward_hook(lambda module, given, made: passes.append(len(given[0])))
    images, found = torch.rand(3, 3, 40, 40), []
    for backbone in (whole, sliced):
        seen = images.clone().requires_grad_()
        latents = backbone.encode(seen)
        (latents * torch.linspace(-1, 1, latents.numel()).view_as(latents)).sum().backward()
        found.append((latents.detach(), seen.grad))
    assert passes == [1] * 6 and found[0][1].abs().max() > 0
    torch.testing.assert_close(found[1], found[0])
    passes.clear()
    with torch.no_grad():
        sliced.encode(images.requires_grad_())
    assert sum(passes) == 3


def test_one_at_a_time_the_vae_never_holds_the_activations_of_two_images(models):
    """Neither after the forward pass, when only images are kept, nor in the backward pass."""
    found = []
    for slicing in (False, True):
        backbone = build(models, "sd15", vae_slicing=slicing)
        images = torch.rand(4, 3, 64, 64, requires_grad=True)

        def encode(backbone=backbone, images=images):
            return backbone.encode(images)

        _, kept = peak_of(encode, backbone.vae)
        peak, _ = peak_of(lambda encode=encode: encode().sum().backward(), backbone.vae)
        found.append((kept, peak))
    (whole_kept, whole), (kept, peak) = found
    assert kept < 0.1 * whole_kept and peak < 0.4 * whole


def test_slicing_and_precision_are_the_vaes_own(models):
    whole, sliced = build(models, "sd15"), build(models, "sd15", vae_slicing=True)
    images = torch.rand(3, 3, 64, 64)
    torch.testing.assert_close(sliced.encode(images), whole.encode(images))
    low = build(models, "sd15", vae_precision="bf16")
    assert low.vae.dtype == torch.bfloat16 and low.unet.dtype == torch.float32
    assert low.encode(images).dtype == torch.float32


def test_the_old_names_of_sd15_are_the_same_weights(models):
    """The published VAE has `query` for `to_q`; every tensor must have found its place."""
    old, new = build(models, "sd15"), build(models, "sd21")
    for (name, a), b in zip(old.vae.state_dict().items(), new.vae.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_v_and_epsilon_are_one_to_callers(models):
    """The same weights: what they say as v is alpha v + sigma x_t as eps."""
    eps_model, v_model = build(models, "sd21"), build(models, "sd21_v")
    x_t, t, text = torch.randn(2, 4, 8, 8), torch.tensor([10, 900]), torch.randn(2, 77, model_folders.WIDTH)
    v = eps_model.predict(x_t, t, text)
    alpha, sigma = v_model.schedule.alpha(t), v_model.schedule.sigma(t)
    torch.testing.assert_close(v_model.predict(x_t, t, text), alpha * v + sigma * x_t)


def test_deepfloyds_mean_is_its_first_half(models):
    backbone = build(models, "if")
    x_t, t, text = torch.randn(1, 3, 16, 16), torch.tensor([500]), torch.randn(1, 77, model_folders.WIDTH)
    whole = backbone.unet(x_t, t, encoder_hidden_states=text).sample
    assert whole.shape[1] == 6
    torch.testing.assert_close(backbone.predict(x_t, t, text), whole[:, :3])


def test_stable_diffusion_xl_is_told_sizes_and_the_pooled_text(models):
    """As its pipeline tells the U-Net that diffusers loads."""
    place = models("sdxl")
    pipeline = diffusers.StableDiffusionXLPipeline.from_pretrained(place)
    tokens, _, pooled, _ = pipeline.encode_prompt(["a red dog", "a car"])
    x_t, t = torch.randn(2, 4, 8, 8), torch.tensor([10, 900])
    told = {"original_size": (512, 640), "crop": (4, 8), "target_size": (1024, 960)}
    found = []
    for sizes, given in (((64, 64), (0, 0), (64, 64)), {}), (told.values(), told):
        ids = pipeline._get_add_time_ids(*sizes, torch.float32, text_encoder_projection_dim=pooled.shape[-1])
        added = {"text_embeds": pooled, "time_ids": ids.expand(2, -1)}
        expected = pipeline.unet(x_t, t, encoder_hidden_states=tokens, added_cond_kwargs=added).sample
        backbone = build(models, "sdxl", **given)
        found.append(backbone.predict(x_t, t, backbone.embed(["a red dog", "a car"])))
        torch.testing.assert_close(found[-1], expected)
    assert not torch.allclose(*found)


def test_parts_of_two_releases_are_told_before_a_step(models, tmp_path):
    place = shutil.copytree(models("sdxl"), tmp_path / "copy")
    index = json.loads((place / "model_index.json").read_text())
    (place / "model_index.json").write_text(json.dumps(index | {"text_encoder_2": [None, None]}))
    with pytest.raises(UserError, match=r"the unet takes two, and model_index\.json names another number"):
        LatentBackbone("cpu", model=str(place))
    with pytest.raises(UserError, match="not used without its VAE; say `type: latent`"):
        DirectBackbone("cpu", model=str(models("sdxl")))


@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"sd3", "sd35"}))
def test_the_schedule_is_the_schedulers(models, name):
    backbone, place = build(models, name), models(name) / "scheduler"
    kind = diffusers.PNDMScheduler if name == "sd15" else diffusers.DDPMScheduler
    torch.testing.assert_close(backbone.schedule.alphas_cumprod, kind.from_pretrained(place).alphas_cumprod)


def test_sentencepiece_tokenizers_as_published(tmp_path, models):
    pytest.importorskip("sentencepiece")
    model_folders.deepfloyd(tmp_path / "if", sentencepiece=True)
    spiece = PixelBackbone("cpu", PixelBackbone.Config(model=str(tmp_path / "if"), variant="fp16"))
    torch.testing.assert_close(spiece.embed(["a red dog"]), build(models, "if").embed(["a red dog"]))


def test_a_folder_may_be_relative_to_the_repository(models, monkeypatch):
    monkeypatch.setattr("threestudio_like.utils.paths.ROOT", models("toybox").parent)
    assert PixelBackbone("cpu", PixelBackbone.Config(model="toybox")).image_size == 32


def test_a_variant_that_a_folder_lacks_gives_way_to_the_plain_file(models):
    assert build(models, "toybox", variant="fp16").image_size == 32


@pytest.mark.parametrize("name", ["toybox", "sd15", "sd21", "sdxl", "sd3", "if"])
def test_backbone_recipes_parse(name):
    recipe = load(f"backbones/{name}")
    parsed = parse_component("backbone", recipe["backbone"], "backbone")
    kind = {"sd3": "flow", "toybox": "pixel", "if": "pixel"}.get(name, "latent")
    assert parsed.type == kind and parsed.config.model
    assert parse(ViewPrompts, recipe["vars"]["view_prompts"], "view_prompts").around.count("back view") == 1


@pytest.mark.parametrize("name", ["toybox", "sd15", "sdxl", "sd35"])
def test_texts_side_by_side_are_predicted_as_in_one_call(models, name):
    prior, (_, shape, _, text_shape) = build(models, name), EXPECTED[name]
    texts = list(torch.randn(2, 2, *text_shape))
    x_t, t = torch.randn(2, *shape), torch.tensor([10, 900])
    with torch.no_grad():
        together = prior.predict_each(x_t, t, texts, Condition(*texts))
        torch.set_num_threads(2)
        try:
            apart = prior.predict_each(x_t, t, texts, Condition(*texts))
        finally:
            torch.set_num_threads(1)
    sigma = prior.schedule.sigma(t)  # of the noise from a clean image, errors are divided by it
    torch.testing.assert_close(sigma * torch.stack(apart), sigma * torch.stack(together))
