"""Geometric priors start as their base model, obey the camera once trained, and load as a backbone."""

import pytest
import torch

from priors.backbones.base import Condition
from priors.backbones.geometric import GeometricBackbone, camera_numbers, geometric_mean_predictor, geometric_unet
from priors.backbones.pixel import PixelBackbone
from threestudio_like.cameras import orbit
from threestudio_like.pretrained import ModelConfig

CAMERAS = orbit(3, 20.0, 2.7, 41.0, 8).c2w.reshape(-1, 16)


@pytest.fixture
def base(models):
    return PixelBackbone("cpu", ModelConfig(str(models("toybox"))))


def test_camera_numbers_do_not_depend_on_the_worlds_scale():
    nearer = orbit(3, 20.0, 1.1, 41.0, 8).c2w.reshape(-1, 16)
    numbers = camera_numbers(CAMERAS)
    torch.testing.assert_close(numbers, camera_numbers(nearer))
    assert numbers.shape == (3, 12)
    torch.testing.assert_close(numbers.view(3, 3, 4)[..., 3].norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(numbers.view(3, 3, 4)[..., :3], CAMERAS.view(3, 4, 4)[:, :3, :3])


def test_a_geometric_unet_starts_with_the_bases_weights_and_deaf_to_the_camera(base):
    torch.manual_seed(0)
    unet = geometric_unet(base.unet, True, base.patch)
    new = {"conv_in", "conv_out", "class_embedding"}
    for name, tensor in unet.state_dict().items():
        if name.split(".")[0] not in new:
            assert torch.equal(tensor, base.unet.state_dict()[name]), name
    x, text = torch.randn(3, 128, 8, 8), torch.randn(3, 16, 16)
    camera = camera_numbers(CAMERAS)
    one, two = (unet(x, 5, encoder_hidden_states=text, class_labels=c).sample for c in (camera, camera.flip(0)))
    assert torch.equal(one, two) and one.shape == (3, 128, 8, 8)  # maps and their gate


def test_a_geometric_layout_keeps_what_words_mean(base):
    mean_predictor = geometric_mean_predictor(base.mean_predictor, base.patch)
    assert torch.equal(mean_predictor.cells[0].weight[:, :16], base.mean_predictor.cells[0].weight)
    text = torch.randn(3, 16, 16)
    assert mean_predictor(text, camera_numbers(CAMERAS)).shape == (3, 64, 8, 8)


def test_the_saved_model_is_a_backbone_that_hears_the_camera(models):
    prior = GeometricBackbone("cpu", ModelConfig(str(models("agp"))))
    x = prior.encode(torch.rand(3, 4, 32, 32))
    text = prior.embed(["a dog"]).expand(3, -1, -1)

    def condition(c2w):
        return Condition(text, text, camera=c2w)

    t = torch.full((6,), 900)

    def eps(c2w):
        return prior.predict(x.repeat(2, 1, 1, 1), t, text.repeat(2, 1, 1), condition(c2w))

    assert eps(CAMERAS).shape == (6, 64, 8, 8)
    assert torch.equal(eps(CAMERAS)[:3], eps(CAMERAS)[3:])
    assert not torch.allclose(eps(CAMERAS), eps(CAMERAS.flip(0)))
    torch.testing.assert_close(prior.decode(x), torch.nn.functional.pixel_shuffle(x, 4) / 2 + 0.5)
