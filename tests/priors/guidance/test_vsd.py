"""VSD recovers a mixture where SDS collapses; its fake score is an adapter that starts as the prior."""

import logging
from dataclasses import replace

import pytest
import torch
from torch import nn

from priors.backbones.base import Condition
from priors.backbones.flow import FlowBackbone
from priors.backbones.latent import LatentBackbone
from priors.backbones.pixel import PixelBackbone
from priors.guidance.base import GuidanceConfig
from priors.guidance.fake_score import WEIGHTS, Copy, LoRA, SmallUNet
from priors.guidance.sds import SDS
from priors.guidance.vsd import VSD, VSDConfig
from tests.priors.mixture import MEANS, MLP, SPREAD, MixtureBackbone, distil, moments, nearest_part_of_the_truth
from threestudio_like.cameras import orbit
from threestudio_like.config.registry import Component
from threestudio_like.config.schedule import Schedule
from threestudio_like.errors import UserError

CAMERAS = orbit(2, 20.0, 2.7, 41.0, 8).c2w.reshape(-1, 16)


def config(fake_score=None, scale=1.0, **options):
    fake_score = fake_score or Component("fake_score", "lora", LoRA.Config(rank=2))
    return VSDConfig(scale=Schedule.constant(scale), fake_score=fake_score, **options)


def told(backbone):
    text, uncond = backbone.embed(["a red dog", ""])
    return Condition(text.expand(2, -1, -1), uncond.expand(2, -1, -1), camera=CAMERAS)


KINDS = {"toybox": PixelBackbone, "sd21": LatentBackbone, "sdxl": LatentBackbone, "sd35": FlowBackbone}


@pytest.fixture(params=KINDS)
def backbone(models, request):
    return KINDS[request.param]("cpu", model=str(models(request.param)))


def images(backbone):
    return torch.rand(2, backbone.image_size, backbone.image_size, 3, generator=torch.Generator().manual_seed(0))


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.slow
def test_vsd_recovers_the_spread_that_sds_collapses():
    """Means within a tenth of their length and variances within a tenth; SDS leaves a hundredth of the variance."""
    torch.manual_seed(0)
    backbone = MixtureBackbone()
    share, mean, variance = nearest_part_of_the_truth()
    fake_score = Component("fake_score", "mlp_for_tests", MLP.Config())
    vsd = VSD(backbone, config(fake_score, weighting="sigma2", dropout=0.0, lr=Schedule.constant(2e-3)))
    found_share, found_mean, found_variance = moments(distil(vsd, 1024, 2500, 0.02))
    torch.testing.assert_close(found_share, share, atol=0.05, rtol=0)
    assert ((found_mean - mean).norm(dim=1) < 0.1 * mean.norm(dim=1)).all()
    torch.testing.assert_close(found_variance, variance, atol=0, rtol=0.1)
    low = {"scale": Schedule.constant(1.0), "t_max": Schedule.constant(0.1), "weighting": "uniform"}
    _, modes, collapsed = moments(distil(SDS(backbone, GuidanceConfig(**low)), 256, 1000, 0.02))
    torch.testing.assert_close(modes, MEANS, atol=0.05, rtol=0)
    assert (collapsed < 0.02 * SPREAD**2).all()


def test_the_adapter_starts_as_the_prior(backbone):
    """So that the first step of VSD at scale 1 moves nothing."""
    vsd = VSD(backbone, config())
    pixels = images(backbone).requires_grad_()
    vsd(pixels, told(backbone), 0, generator()).distillation.backward()
    assert pixels.grad.abs().max() < 1e-5


def test_the_adapter_is_off_for_everyone_else(backbone):
    told_, x = told(backbone), backbone.encode(images(backbone).permute(0, 3, 1, 2))
    t = torch.tensor([300, 700])
    before = backbone.predict(x, t, told_.text)
    vsd = VSD(backbone, config())
    with torch.no_grad():
        for parameter in vsd.fake_score.parameters():
            parameter.add_(0.1)
    assert torch.equal(backbone.predict(x, t, told_.text), before)
    first, second = (vsd.fake_score(x, t, replace(told_, camera=camera)) for camera in (CAMERAS, CAMERAS.flip(0)))
    assert not torch.allclose(first, second)  # the camera is heard
    assert torch.equal(backbone.predict(x, t, told_.text), before)


def test_gradients_never_mix(backbone):
    vsd = VSD(backbone, config(scale=7.5))
    pixels = images(backbone).requires_grad_()
    score = vsd(pixels, told(backbone), 0, generator())
    score.distillation.backward(retain_graph=True)
    assert pixels.grad.abs().max() > 0 and all(p.grad is None for p in vsd.fake_score.parameters())
    pixels.grad = None
    score.fake_score.backward()
    assert pixels.grad is None
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in vsd.fake_score.parameters())
    assert all(p.grad is None for name, p in backbone.unet.named_parameters() if ".lora_" not in name)


@pytest.mark.slow
def test_the_student_learns_the_renders(models):
    backbone = PixelBackbone("cpu", PixelBackbone.Config(str(models("toybox"))))
    torch.manual_seed(0)
    targets = ("to_q", "conv1", "conv2", "conv_in", "conv_out")
    vsd = VSD(
        backbone, config(Component("fake_score", "lora", LoRA.Config(rank=4, alpha=4, targets=targets)), dropout=0.5)
    )
    optimizer = torch.optim.Adam(vsd.fake_score.parameters(), lr=1e-2)

    def loss(seed):
        return vsd(images(backbone), told(backbone), 0, torch.Generator().manual_seed(seed)).fake_score

    def probe():
        return sum(loss(seed).item() for seed in range(1000, 1010))

    before = probe()
    for step in range(60):
        loss(step).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert probe() < 0.85 * before


def test_a_guidance_says_itself_what_it_learns(models):
    backbone = PixelBackbone("cpu", PixelBackbone.Config(str(models("toybox"))))
    assert SDS(backbone).parameter_groups() == []
    vsd = VSD(backbone, config(lr=Schedule.constant(3e-4), weight_decay=0.25))
    (group,) = vsd.parameter_groups()
    assert group.lr(0) == 3e-4 and group.weight_decay == 0.25
    assert {id(p) for p in group.parameters} == {id(p) for p in vsd.fake_score.parameters()}


def test_the_student_may_predict_v(backbone):
    vsd = VSD(backbone, config(Component("fake_score", "lora", LoRA.Config(prediction="v_prediction"))))
    score = vsd(images(backbone), told(backbone), 0, generator())
    assert score.distillation.isfinite() and score.fake_score.isfinite()


def test_the_student_may_be_a_small_unet(backbone):
    vsd = VSD(backbone, config(Component("fake_score", "unet", SmallUNet.Config(channels=(8, 16)))))
    pixels = images(backbone).requires_grad_()
    score = vsd(pixels, told(backbone), 0, generator())
    (score.distillation + score.fake_score).backward()
    assert all(p.grad is not None for p in vsd.fake_score.parameters())


def test_the_student_may_be_a_copy_of_the_prior(backbone, tmp_path):
    """At scale 1 it agrees with the prior at first; saved, it goes on where it was."""
    vsd = VSD(backbone, config(Component("fake_score", "copy", Copy.Config())))
    pixels = images(backbone).requires_grad_()
    score = vsd(pixels, told(backbone), 0, generator())
    (score.distillation + score.fake_score).backward()
    assert pixels.grad.abs().max() < 1e-5
    # A last layer's text stream of Stable Diffusion 3, a mean predictor's gate: some weights may stay without gradient.
    assert sum(p.grad is not None for p in vsd.fake_score.parameters()) > 10
    with torch.no_grad():
        for parameter in vsd.fake_score.parameters():
            parameter.add_(0.1)
    vsd.save(tmp_path)
    again = Copy(backbone, weights=str(tmp_path / "fake_score"))
    for one, two in zip(vsd.fake_score.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


def test_diffusers_opens_the_saved_adapter(backbone, tmp_path):
    vsd = VSD(backbone, config())
    with torch.no_grad():
        for parameter in vsd.fake_score.adapter:
            parameter.add_(0.1)
    vsd.save(tmp_path)
    plain = type(backbone.unet).from_pretrained(backbone.folder / backbone.parts[0])
    plain.load_lora_adapter(tmp_path / "fake_score", prefix=None, weight_name=WEIGHTS)
    x, t, text = torch.randn(2, backbone.channels, 8, 8), torch.tensor([500, 500]), told(backbone).text
    with torch.no_grad(), vsd.fake_score.active(CAMERAS):
        expected = backbone.output(x, t, text, None)
    with torch.no_grad():
        found = backbone.with_unet(plain).output(x, t, text, None)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_an_adapted_layer_adds_the_product_scaled_by_alpha_over_rank(models):
    """LoRA (arXiv 2106.09685, section 4.1): W x + alpha / rank B A x."""
    backbone = PixelBackbone("cpu", PixelBackbone.Config(str(models("toybox"))))
    LoRA(backbone, LoRA.Config(rank=2, alpha=6))
    name, layer = next((name, one) for name, one in backbone.unet.named_modules() if name.endswith("to_q"))
    (down,), (up,) = layer.lora_A.values(), layer.lora_B.values()
    x = torch.randn(3, down.in_features, generator=generator())
    with torch.no_grad():
        up.weight.copy_(torch.randn(up.weight.shape, generator=generator()))
        backbone.unet.enable_adapters()
        added = layer(x) - layer.base_layer(x)
        torch.testing.assert_close(added, 6 / 2 * x @ down.weight.mT @ up.weight.mT, msg=lambda why: f"{name}: {why}")


def test_an_adapter_is_saved_without_a_word(models, tmp_path, caplog):
    """Diffusers warns of a cast that it does not make."""
    fake_score = LoRA(PixelBackbone("cpu", PixelBackbone.Config(str(models("toybox")))), LoRA.Config(rank=2))
    library = logging.getLogger("diffusers")
    library.addHandler(caplog.handler)
    try:
        fake_score.save(tmp_path)
        assert not caplog.records
        fake_score.backbone.unet.to(torch.float32)
        assert "float32" in caplog.text
    finally:
        library.removeHandler(caplog.handler)


def test_a_saved_adapter_goes_on_and_a_foreign_one_is_refused(models, tmp_path):
    def fresh():
        return PixelBackbone("cpu", PixelBackbone.Config(str(models("toybox"))))

    first = LoRA(fresh(), LoRA.Config(rank=2))
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(torch.randn_like(parameter))
    first.save(tmp_path / "lora")
    again = LoRA(fresh(), LoRA.Config(rank=2, weights=str(tmp_path / "lora")))
    for one, two in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    with pytest.raises(UserError, match="another rank"):
        LoRA(fresh(), LoRA.Config(rank=3, weights=str(tmp_path / "lora")))
    with pytest.raises(UserError, match="other layers"):
        LoRA(fresh(), LoRA.Config(rank=2, targets=("to_q",), weights=str(tmp_path / "lora")))
    with pytest.raises(UserError, match="missing or no safetensors"):
        LoRA(fresh(), LoRA.Config(weights=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match=r"fake_score.targets"):
        LoRA(fresh(), LoRA.Config(targets=("no_such_layer",)))


def test_one_unet_takes_one_adapter(models):
    backbone = PixelBackbone("cpu", PixelBackbone.Config(str(models("toybox"))))
    LoRA(backbone, LoRA.Config())
    with pytest.raises(UserError, match="two guides"):
        LoRA(backbone, LoRA.Config())


def test_with_the_plain_prompt_only_the_camera_is_dropped(models):
    """What the fake score is told, in its score and in its loss: never the view's words, sometimes no camera."""
    backbone = PixelBackbone("cpu", PixelBackbone.Config(str(models("toybox"))))
    seen = []

    class Told(nn.Module):
        prediction = "epsilon"

        def forward(self, x_t, t, condition):
            seen.append(condition)
            return torch.zeros_like(x_t)

    unet = Component("fake_score", "unet", SmallUNet.Config(channels=(8, 8)))
    vsd = VSD(backbone, config(unet, dropout=0.5, plain_prompt=True))
    vsd.fake_score = Told()
    plain = backbone.embed(["a dog"]).expand(2, -1, -1)
    condition = replace(told(backbone), plain=plain)
    for seed in range(8):
        vsd(images(backbone), condition, 0, torch.Generator().manual_seed(seed))
    assert all(torch.equal(one.text, plain) for one in seen)
    scored, learned = seen[::2], seen[1::2]
    assert all(torch.equal(one.camera, CAMERAS) for one in scored)
    assert {bool(camera.any()) for one in learned for camera in one.camera} == {True, False}
    with pytest.raises(UserError, match="plain_prompt"):
        vsd(images(backbone), told(backbone), 0, generator())
