"""Multi-view priors: tiles, both attentions, one step and many, and score distillation on tiled views."""

import os
from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel

from priors.backbones import multiview
from priors.backbones.base import to_eps
from priors.backbones.multiview import GREY, FoldedMultiview, MultiviewConfig
from priors.backbones.zero123plus import Preprocessor, Zero123Plus
from priors.guidance.fake_score import LoRA, SmallUNet
from priors.guidance.vsd import VSD, VSDConfig
from priors.reference import enable_reference_attention, record_kv, with_kv
from priors.toybox.views import MultiviewSize, image_encoder, tile, unet, untile, view_mean_predictor
from tests.priors import model_folders
from threestudio_like.config.loading import load
from threestudio_like.config.registry import Component, parse_component
from threestudio_like.config.schedule import Schedule
from threestudio_like.errors import UserError

KINDS = {"multiview": FoldedMultiview, "zero123plus": Zero123Plus}


def build(models, name, attention="clean"):
    own = {"view_size": 16} if name == "zero123plus" else {}
    return KINDS[name]("cpu", model=str(models(name)), attention=attention, **own)


@pytest.fixture(params=[(name, attention) for name in KINDS for attention in ("clean", "noised")], ids="-".join)
def prior(models, request):
    return build(models, *request.param)


def images(count=2, size=20, seed=0):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_tiles_are_filled_row_by_row():
    views = torch.arange(6.0).view(1, 6, 1, 1, 1).expand(2, 6, 3, 4, 5)
    tiled = tile(views)
    assert tiled.shape == (2, 3, 12, 10) and torch.equal(untile(tiled), views)
    assert tiled[0, 0, ::4, ::5].tolist() == [[0, 1], [2, 3], [4, 5]]
    random = torch.randn(2, 6, 3, 4, 5)
    assert torch.equal(untile(tile(random)), random)


def test_the_toybox_size_has_at_most_3_2_million_parameters():
    size = MultiviewSize()
    parts = unet(size), view_mean_predictor(size), image_encoder(size)
    assert sum(p.numel() for part in parts for p in part.parameters()) <= 3.2e6
    assert parts[1](parts[2](torch.randn(2, 48, 16, 16))).shape == (2, 48, 48, 32)


@pytest.mark.parametrize("wrong", [{"view": 20}, {"view": 24}, {"view": 8}])
def test_sizes_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="view / patch"):
        MultiviewSize(**wrong)


def test_views_are_encoded_and_decoded_one_by_one(models):
    prior = build(models, "multiview")
    tiled = images(2, 48)[..., :32]
    torch.testing.assert_close(prior.decode(prior.encode(tiled)), tiled)
    blocks = tile(torch.rand(1, 6, 3, 1, 1).expand(1, 6, 3, 40, 40))  # large views of one colour stay it to the border
    torch.testing.assert_close(prior.decode(prior.encode(blocks)), tile(untile(blocks)[..., :16, :16]))


def test_latents_are_published_ones(models):
    """Of the VAE's latents of faded views and of the image as its own processor says."""
    prior = build(models, "zero123plus")
    tiled, image = images(1, 48)[..., :32], images(1, 40)

    def latent(pixels):
        return prior.vae.encode(pixels).latent_dist.mean

    expected = (latent((2 * tiled - 1) * 0.5 / 0.8) * prior.vae.config.scaling_factor - 0.22) * 0.75
    torch.testing.assert_close(prior.encode(tiled), expected)
    assert prior.decode(prior.encode(tiled)).shape == tiled.shape
    decoded = prior.vae.decode((expected / 0.75 + 0.22) / prior.vae.config.scaling_factor).sample
    torch.testing.assert_close(prior.decode(expected), ((decoded / 0.5 * 0.8) / 2 + 0.5).clamp(0, 1))
    assert prior.encode_image(image).shape == (1, 4, 4, 4)  # 32 pixels of the processor, whatever the view is
    torch.testing.assert_close(prior.encode_image(torch.full((1, 3, 32, 32), 0.5)), latent(torch.zeros(1, 3, 32, 32)))


def test_tokens_are_the_empty_text_and_a_ramp_of_the_image(models):
    prior = build(models, "zero123plus")
    condition = prior.condition(images())
    clip = prior.vision(prior.for_clip(images())).image_embeds
    assert torch.equal(condition.uncond, prior.embed(["", ""])) and condition.text.shape == (2, 77, 16)
    torch.testing.assert_close(condition.text[:, 76] - condition.uncond[:, 76], clip)
    assert torch.equal(condition.text[:, 0], condition.uncond[:, 0])


def test_preprocessing_is_the_published_processors(models):
    """Of an image that is neither square nor as small as it should be."""
    from PIL import Image
    from transformers import CLIPImageProcessor

    try:
        theirs = CLIPImageProcessor.from_pretrained(models("zero123plus") / "feature_extractor_clip")
        image = (images(1, 48)[..., :36] * 255).round().byte()
        expected = theirs(Image.fromarray(image[0].permute(1, 2, 0).numpy()), return_tensors="pt").pixel_values
    except ImportError:
        pytest.skip("this transformers' image processor needs torchvision")
    ours = Preprocessor.read(models("zero123plus") / "feature_extractor_clip/preprocessor_config.json")
    torch.testing.assert_close(ours(image.float() / 255), expected, atol=0.03, rtol=0)


@pytest.mark.parametrize(
    "size, expected", [((480, 640), (224, 298)), ((640, 480), (298, 224)), ((300, 300), (224, 224))]
)
def test_preprocessing_cuts_off_the_longer_side(size, expected, monkeypatch):
    """As the published processor: 224 * 640 / 480 = 298.67 becomes 298."""
    resized = []

    def interpolate(image, size, **options):
        resized.append(tuple(size))
        return image.new_zeros(1, 3, *size)

    monkeypatch.setattr("priors.backbones.zero123plus.F.interpolate", interpolate)
    found = Preprocessor(224, (0.5,), (0.5,), "bicubic")(torch.zeros(1, 3, *size))
    assert resized == [expected] and found.shape == (1, 3, 224, 224)


def test_the_image_is_heard_and_null_is_deaf_to_it(prior):
    x, t = prior.noise(2, generator()), torch.tensor([500, 900])
    told, other = prior.condition(images()), prior.condition(images(seed=1))
    with torch.no_grad():
        first = prior.predict(x, t, told.text, told)
        assert first.shape == x.shape and torch.equal(first, prior.predict(x, t, told.text, told))
        assert not torch.allclose(first, prior.predict(x, t, other.text, other))
        seen_otherwise = replace(told, image=other.image)  # the same tokens, another image to attend to
        assert not torch.allclose(first, prior.predict(x, t, told.text, seen_otherwise))
        deaf = prior.predict(x, t, told.uncond, told)
        torch.testing.assert_close(deaf, prior.predict(x, t, other.uncond, other))
        both = prior.predict_each(x, t, [told.text, told.uncond], told)
        torch.testing.assert_close(both[0], first)
        torch.testing.assert_close(both[1], deaf)


def test_clean_attention_is_looked_up_once_for_all_timesteps(models):
    prior, noised = build(models, "multiview"), build(models, "multiview", "noised")
    told = prior.condition(images())
    with torch.no_grad():
        early, late = (prior.keys(prior.seen(told.text, told), torch.full((2,), t), told.text) for t in (10, 990))
        assert all(torch.equal(a, b) for name in early for a, b in zip(early[name], late[name], strict=True))
        early, late = (noised.keys(noised.seen(told.text, told), torch.full((2,), t), told.text) for t in (10, 990))
        assert any(not torch.allclose(a, b) for name in early for a, b in zip(early[name], late[name], strict=True))


def test_samples_depend_on_the_generator_only(prior):
    told = prior.condition(images())
    first, again, other = (prior.sample(told, 2.0, 3, generator(seed)) for seed in (0, 0, 1))
    assert first.shape == prior.noise(2, generator()).shape and first.isfinite().all()
    assert torch.equal(first, again) and not torch.allclose(first, other)
    assert prior.decode(first).shape == (2, 3, 3 * prior.view_size, 2 * prior.view_size)


@pytest.mark.parametrize("attention", ["clean", "noised"])
def test_a_sample_can_be_the_mean_of_looks_without_guidance(models, attention):
    """The last clean image under fresh noise, seen by the model in the words of its own image."""
    prior, random = build(models, "multiview", attention), generator(3)
    told, z = prior.condition(images()), prior.noise(2, generator())
    with torch.no_grad():
        found = prior.sample(told, 4.0, 2, generator(3), z, draws=3)
        clean = prior.sample(told, 4.0, 2, None, z)
        noise, t = torch.randn(6, *clean.shape[1:], generator=random), torch.full((2,), 450)
        looks = []
        for k in range(3):
            x_t = prior.schedule.add_noise(clean, noise[k::3], t)
            looks.append(prior.clip(prior.output(x_t, t, told.text, told)))
    torch.testing.assert_close(found, torch.stack(looks).mean(0), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, clean, atol=1e-2)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_one_step_is_the_first_step_of_sampling(models, scale):
    """DDIM's first and only step, from pure noise to the clean image."""
    prior = build(models, "multiview")
    told, z = prior.condition(images()), prior.noise(2, generator())
    with torch.no_grad():
        one = prior.one_step(z, told, scale)
        torch.testing.assert_close(prior.clip(one), prior.sample(told, scale, 1, generator()), atol=1e-3, rtol=1e-3)
        t = torch.full((2,), 999)
        if scale == 1:
            eps = to_eps(one, z, t, prior.schedule, "sample")
            torch.testing.assert_close(eps, prior.predict(z, t, told.text, told), atol=1e-4, rtol=1e-4)


def test_one_step_teaches_a_generator(models):
    prior = build(models, "zero123plus")
    prior.unet.requires_grad_(True)
    prior.one_step(prior.noise(1, generator()), prior.condition(images(1)), 4.0).square().sum().backward()
    assert all(p.grad is not None for p in prior.unet.parameters())


def test_at_the_published_size_all_fits_together():
    """Without weights, on the meta device: the published number of parameters, and one look at the image."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(in_channels=4, out_channels=4, **model_folders.ZERO123PLUS["unet"])
        assert sum(p.numel() for p in unet.parameters()) == 865_910_724
        enable_reference_attention(unet)
        t, text = torch.zeros(1, dtype=torch.long), torch.zeros(1, 77, 1024)
        keys = record_kv(unet, torch.zeros(1, 4, 64, 64), t, text)
        coarsest = keys["mid_block.attentions.0.transformer_blocks.0.attn1.processor"]
        assert len(keys) == 16 and coarsest[0].shape == (1, 64, 1280)
        x = torch.zeros(1, 4, 120, 80)
        assert with_kv(unet, keys)(x, t, encoder_hidden_states=text).sample.shape == x.shape


@pytest.mark.skipif("TSL_FULL_SIZE" not in os.environ, reason="minutes and 12 GB; TSL_FULL_SIZE=1 asks for it")
def test_the_published_layout_loads_at_full_size(tmp_path):
    folder = model_folders.zero123plus(tmp_path, model_folders.ZERO123PLUS)
    prior = Zero123Plus("cpu", Zero123Plus.Config(str(folder), attention="noised"))
    with torch.no_grad():
        x = prior.one_step(prior.noise(1, generator()), prior.condition(images(1, 512)))
        assert prior.decode(x).shape == (1, 3, 960, 640) and x.isfinite().all()


@pytest.mark.parametrize("kind", [LoRA.Config(rank=2), SmallUNet.Config(channels=(8, 16))], ids=["lora", "unet"])
def test_vsd_on_tiled_views(prior, kind):
    """Generator and fake_score each get their own gradient; nothing else of the prior gets any."""
    name = "lora" if isinstance(kind, LoRA.Config) else "unet"
    vsd = VSD(prior, VSDConfig(scale=Schedule.constant(4.0), fake_score=Component("fake_score", name, kind)))
    pixels = torch.rand(2, 3 * prior.view_size, 2 * prior.view_size, 3, generator=generator()).requires_grad_()
    with torch.no_grad():
        told = prior.condition(images())
    score = vsd(pixels, told, 0, generator())
    score.distillation.backward(retain_graph=True)
    assert pixels.grad.abs().max() > 0 and all(p.grad is None for p in vsd.fake_score.parameters())
    pixels.grad = None
    score.fake_score.backward()
    assert pixels.grad is None
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in vsd.fake_score.parameters())
    assert all(p.grad is None for name, p in prior.unet.named_parameters() if ".lora_" not in name)


def test_a_lora_student_starts_as_the_teacher(prior):
    vsd = VSD(
        prior, VSDConfig(scale=Schedule.constant(1.0), fake_score=Component("fake_score", "lora", LoRA.Config(rank=2)))
    )
    x, t, told = prior.noise(2, generator()), torch.tensor([300, 700]), prior.condition(images())
    with torch.no_grad():
        eps = to_eps(vsd.fake_score(x, t, told), x, t, prior.schedule, vsd.fake_score.prediction)
        torch.testing.assert_close(eps, prior.predict(x, t, told.text, told), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("recipe", ["multiview", "zero123plus"])
def test_backbone_recipes_parse(recipe):
    parsed = parse_component("backbone", load(f"backbones/{recipe}")["backbone"], "backbone")
    assert parsed.cls is KINDS[recipe]


def test_what_is_missing_or_wrong_is_one_sentence(models, tmp_path):
    import json
    import shutil

    assert FoldedMultiview.missing(MultiviewConfig(str(models("multiview")))) is None
    assert Zero123Plus.missing(Zero123Plus.Config(str(models("zero123plus")))) is None
    assert "image_encoder" in FoldedMultiview.missing(MultiviewConfig(str(models("toybox"))))
    assert "vision_encoder" in Zero123Plus.missing(Zero123Plus.Config(str(models("sd21_v"))))
    with pytest.raises(UserError, match="view_size"):
        Zero123Plus("cpu", Zero123Plus.Config(str(models("zero123plus")), view_size=20))
    copy = shutil.copytree(models("zero123plus"), tmp_path / "copy")
    index = json.loads((copy / "model_index.json").read_text())
    for ramp in (None, [1.0], ["a"] * 77):
        (copy / "model_index.json").write_text(json.dumps(index | {"ramping_coefficients": ramp}))
        with pytest.raises(UserError, match="ramping_coefficients"):
            Zero123Plus("cpu", Zero123Plus.Config(str(copy), view_size=16))
    (copy / "feature_extractor_vae/preprocessor_config.json").write_text("{}")
    with pytest.raises(UserError, match="lacks crop_size"):
        Zero123Plus("cpu", Zero123Plus.Config(str(copy), view_size=16))
    with pytest.raises(UserError, match="takes an image"):
        build(models, "multiview").embed(["a dog"])


def test_the_noised_image_is_as_noisy_as_the_views_and_the_clean_one_is_clean(models, monkeypatch):
    """`alpha_t image + sigma_t noise`, of one noise at every timestep; grey is the middle of the range."""
    assert 2 * GREY - 1 == 0
    asked = []
    monkeypatch.setattr(multiview, "record_kv", lambda unet, seen, t, text: asked.append((seen, t)) or {})
    seen, text, t = torch.rand(1, 3, 4, 4), torch.zeros(1, 1, 1), torch.tensor([300])
    clean = build(models, "multiview")
    clean.keys(seen, t, text)
    assert torch.equal(asked[0][0], seen) and asked[0][1].item() == 0
    noised, noises = build(models, "multiview", "noised"), []
    for step in (300, 900):
        t = torch.tensor([step])
        noised.keys(seen, t, text)
        alpha, sigma = noised.schedule.alpha(t), noised.schedule.sigma(t)
        noises.append((asked[-1][0] - alpha * seen) / sigma)
        assert asked[-1][1].item() == step
    torch.testing.assert_close(*noises, atol=1e-4, rtol=0)
    assert noises[0].abs().mean() > 0.3
