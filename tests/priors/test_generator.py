"""GECO's generator and fake_score: both start as the teacher, learn apart from it, and come back from their folders."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from priors.backbones.base import Condition
from priors.backbones.multiview import FoldedMultiview
from priors.backbones.pixel import PixelBackbone
from priors.backbones.zero123plus import Zero123Plus
from priors.generator import LowRank, OneStepConfig, OneStepGenerator
from priors.guidance.fake_score import Copy
from priors.guidance.sds import SDS
from priors.guidance.vsd import VSD, VSDConfig
from threestudio_like.config.registry import Component
from threestudio_like.config.schedule import Schedule
from threestudio_like.errors import UserError

KINDS = {"whole": {}, "low-rank": {"lora": LowRank(rank=2)}}


@pytest.fixture(params=["multiview", "zero123plus"])
def teacher(models, request):
    if request.param == "multiview":
        return FoldedMultiview("cpu", FoldedMultiview.Config(str(models("multiview"))))
    return Zero123Plus("cpu", Zero123Plus.Config(str(models("zero123plus")), view_size=16))


def told(teacher, count=2):
    with torch.no_grad():
        return teacher.condition(torch.rand(count, 3, 20, 20, generator=generator()))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def vsd(teacher, scale=1.0):
    fake_score = Component("fake_score", "copy", Copy.Config())
    return VSD(teacher, VSDConfig(scale=Schedule.constant(scale), fake_score=fake_score, dropout=0.0))


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_as_the_teacher_in_one_step(teacher, kind):
    made = OneStepGenerator(teacher, OneStepConfig(4.0, **KINDS[kind]))
    z, condition = teacher.noise(2, generator()), told(teacher)
    with torch.no_grad():
        torch.testing.assert_close(made(z, condition), teacher.one_step(z, condition, 4.0))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_what_is_loaded(teacher, kind, tmp_path):
    made = OneStepGenerator(teacher, OneStepConfig(2.0, **KINDS[kind]))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_((parameter + 0.05).half())
    made.save(tmp_path)
    z, condition = teacher.noise(1, generator()), told(teacher, 1)
    again = OneStepGenerator(teacher, OneStepConfig(2.0, weights=str(tmp_path)))
    pairs = list(zip(made.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(a, b) and b.requires_grad for a, b in pairs)
    with torch.no_grad():
        expected = made(z, condition)
        torch.testing.assert_close(again(z, condition), expected)
        ready = again.ready(torch.float32)
        torch.testing.assert_close(ready(z, condition), expected, atol=1e-4, rtol=1e-4)
        assert not any(p.requires_grad for p in ready.parameters())
        assert not torch.allclose(teacher.one_step(z, condition, 2.0), expected, atol=1e-3)
    if kind == "whole":
        UNet2DConditionModel.from_pretrained(tmp_path / "unet")


def test_what_does_not_fit_is_refused(models, tmp_path):
    teacher = FoldedMultiview("cpu", FoldedMultiview.Config(str(models("multiview"))))
    with pytest.raises(UserError, match="does not exist"):
        OneStepGenerator(teacher, OneStepConfig(weights=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match="unet"):
        OneStepGenerator(teacher, OneStepConfig(weights=str(tmp_path)))
    with pytest.raises(UserError, match="another size"):
        OneStepGenerator(teacher, OneStepConfig(weights=str(models("zero123plus"))))
    OneStepGenerator(teacher, OneStepConfig(lora=LowRank(2, ("to_q",)))).save(tmp_path)
    other = Zero123Plus("cpu", Zero123Plus.Config(str(models("zero123plus")), view_size=16))
    with pytest.raises(UserError, match="does not fit"):
        OneStepGenerator(other, OneStepConfig(weights=str(tmp_path)))
    with pytest.raises(UserError, match=r"lora.targets"):
        OneStepGenerator(teacher, OneStepConfig(lora=LowRank(2, ("nothing",))))
    with pytest.raises(ValueError, match="not both"):
        OneStepConfig(lora=LowRank(), weights="x")


def test_a_copied_student_starts_as_the_teacher_and_the_generator_rests(teacher):
    """At scale 1 the first step moves nothing."""
    x = teacher.one_step(teacher.noise(2, generator()), told(teacher)).detach().requires_grad_()
    vsd(teacher).distil(x, told(teacher), 0, generator()).distillation.backward()
    assert x.grad.abs().max() < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_generator_and_student_learn_apart(teacher, kind):
    guidance, made = vsd(teacher, 4.0), OneStepGenerator(teacher, OneStepConfig(4.0, **KINDS[kind]))
    condition = told(teacher)
    score = guidance.distil(made(teacher.noise(2, generator()), condition), condition, 0, generator())

    def grads(module):
        return [p.grad for p in module.parameters()]

    score.distillation.backward(retain_graph=True)
    assert any(g is not None and g.abs().max() > 0 for g in grads(made)) and all(g is None for g in grads(guidance))
    made.zero_grad()
    score.fake_score.backward()
    assert all(g is None for g in grads(made)) and all(g is not None for g in grads(guidance.fake_score.unet))
    assert all(g is None for g in grads(teacher.unet))


def test_distilling_images_is_encoding_them_first(models):
    backbone = PixelBackbone("cpu", PixelBackbone.Config(str(models("toybox"))))
    sds = SDS(backbone, SDS.Config())
    text, uncond = backbone.embed(["a red dog", ""])
    condition = Condition(text[None], uncond[None])
    images = torch.rand(1, 32, 32, 3, generator=generator())
    latents = backbone.encode(images.permute(0, 3, 1, 2)).requires_grad_()
    direct = sds.distil(latents, condition, 0, generator(1))
    torch.testing.assert_close(sds(images, condition, 0, generator(1)).distillation, direct.distillation)
    direct.distillation.backward()
    assert latents.grad.flatten(1).norm() == pytest.approx(direct.logs["grad_norm"].item(), rel=1e-4)


def test_a_copied_student_serves_any_prior_and_goes_on(models, tmp_path):
    backbone = PixelBackbone("cpu", PixelBackbone.Config(str(models("toybox"))))
    fake_score = Copy(backbone, Copy.Config())
    with torch.no_grad():
        fake_score.unet.conv_in.weight.add_(1.0)
    fake_score.save(tmp_path)
    again = Copy(backbone, Copy.Config(weights=str(tmp_path)))
    assert torch.equal(again.unet.conv_in.weight, fake_score.unet.conv_in.weight)
    assert not torch.equal(again.unet.conv_in.weight, backbone.unet.conv_in.weight)
    with pytest.raises(UserError, match="another size"):
        Copy(backbone, Copy.Config(weights=str(models("sd21"))))


def test_sampling_may_start_from_a_given_noise(teacher):
    condition, z = told(teacher), teacher.noise(2, generator(5))
    expected = teacher.sample(condition, 2.0, 2, generator(5))
    torch.testing.assert_close(teacher.sample(condition, 2.0, 2, None, z), expected)
