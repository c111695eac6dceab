"""Compiled models compute what they compute otherwise, and so do the fake score's two ways through one of them."""

import pytest
import torch

from priors.backbones.latent import LatentBackbone
from priors.guidance.fake_score import LoRA
from threestudio_like.cameras import orbit


@pytest.fixture
def modes(monkeypatch) -> list[str]:
    """The modes of all that is compiled, by torch's own tracer but without a compiler behind it."""
    found, compile_ = [], torch.compile

    def traced(function, mode):
        found.append(mode)
        return compile_(function, backend="eager")

    monkeypatch.setattr(torch, "compile", traced)
    yield found
    torch.compiler.reset()


@pytest.mark.slow
def test_compiled_models_compute_the_same(models, modes):
    plain, compiled = (
        LatentBackbone("cpu", LatentBackbone.Config(str(models("sd21")), compiled=mode)) for mode in (None, "default")
    )
    assert modes == ["default"] * 3  # network, encoder, decoder
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 64, 64, generator=generator).requires_grad_()
    latents = [backbone.encode(images) for backbone in (plain, compiled)]
    gradients = [torch.autograd.grad(one.square().sum(), images)[0] for one in latents]
    for one, two in (latents, gradients, [backbone.decode(latents[0].detach()) for backbone in (plain, compiled)]):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
    x_t, t = torch.randn(latents[0].shape, generator=generator), torch.tensor([3, 70])
    condition = plain.condition("a red duck", orbit(2, 10.0, 2.0, 40.0, 8))
    scores = [LoRA(backbone, rank=2) for backbone in (plain, compiled)]
    with torch.no_grad():
        for one, two in zip(scores[0].adapter, scores[1].adapter, strict=True):
            one.copy_(torch.randn(one.shape, generator=generator))
            two.copy_(one)
        for _ in range(2):  # to and fro
            teachers = [backbone.predict(x_t, t, condition.text) for backbone in (plain, compiled)]
            fakes = [score(x_t, t, condition) for score in scores]
            torch.testing.assert_close(*teachers, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(*fakes, atol=1e-5, rtol=1e-4)
            assert not torch.allclose(teachers[1], fakes[1], atol=1e-3)
