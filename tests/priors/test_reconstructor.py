"""The reconstructor: its sizes, its files, and that views, their cameras and nothing else make the planes."""

import copy
from dataclasses import replace

import pytest
import torch
from transformers import ViTConfig, ViTModel

from priors.reconstructor import Reconstructor, ReconstructorSize
from priors.view_encoder import POSE_NUMBERS, CameraNorm, pose_numbers, shape_fields
from tests.tiny import RECONSTRUCTOR_SIZE
from threestudio_like.cameras import orbit, zero123plus_rig
from threestudio_like.errors import UserError
from threestudio_like.evaluate.perceptual import LPIPS, ScorerDistance
from threestudio_like.evaluate.scorer import Scorer, ScorerSize

TINY = replace(RECONSTRUCTOR_SIZE, tokens=2, channels=4, hidden=8, grid=6)


def tiny(**how) -> Reconstructor:
    torch.manual_seed(0)
    return Reconstructor.of(replace(TINY, **how))


def six(size=16):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 6, 3, size, size, generator=generator), pose_numbers(
        zero123plus_rig(torch.zeros(2), 2.7, 41.0, size)
    ).unflatten(0, (2, 6))


def test_the_toybox_size_fits_the_repository():
    model = Reconstructor.of(ReconstructorSize())
    assert sum(p.numel() for p in model.parameters()) < 2.5e6
    images, poses = six(64)
    with torch.no_grad():
        assert model(images, poses).planes.shape == (2, 3, 24, 32, 32)


def test_shapes_start_as_a_ball():
    decoder = tiny().decoder
    x = torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.0, -0.5, 0.0], [0.6, 0.6, 0.6]])
    with torch.no_grad():
        for parameter in decoder.distance_net[-1].parameters():
            parameter.zero_()
        found = decoder.distance(x, torch.randn(4, decoder.distance_net[0].in_features))
    torch.testing.assert_close(found, torch.tensor([-0.5, -0.2, 0.0, 0.6 * 3**0.5 - 0.5]))


def test_the_papers_size_can_be_said():
    """InstantMesh-large, without its weights: a ViT-B/16 and sixteen layers."""
    with torch.device("meta"):
        model = Reconstructor(
            shape_fields(ViTConfig(image_size=320)),
            width=1024,
            layers=16,
            heads=16,
            tokens=32,
            upsample=2,
            channels=80,
            hidden_layers=3,
            grid=128,
        )
        planes = model(torch.empty(1, 6, 3, 320, 320), torch.empty(1, 6, POSE_NUMBERS))
    assert planes.planes.shape == (1, 3, 80, 64, 64)
    assert 3e8 < sum(p.numel() for p in model.parameters()) < 5e8


def test_poses_are_what_the_cameras_say():
    numbers = pose_numbers(orbit(1, 0.0, 2.0, 90.0, 32).resized(32, 64))[0]
    right, _, back, place = numbers[:12].view(3, 4).unbind(1)
    torch.testing.assert_close(place, torch.tensor([2.0, 0.0, 0.0]))
    torch.testing.assert_close(back, torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(right, torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(numbers[12:], torch.tensor([0.25, 0.5, 0.5, 0.5]))


@pytest.mark.parametrize("count", [1, 3, 6])
def test_any_number_of_views_in_any_order(count):
    """The planes are of the views and their cameras together: a set, to which every view adds."""
    model = tiny().eval()
    images, poses = (x[:, :count] for x in six())
    with torch.no_grad():
        planes = model(images, poses).planes
        order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(model(images[:, order], poses[:, order]).planes, planes, atol=1e-5, rtol=1e-4)
        if count > 1:
            assert (model(images[:, :-1], poses[:, :-1]).planes - planes).abs().max() > 1e-4
            assert (model(images, poses[:, order]).planes - planes).abs().max() > 1e-4


def test_every_norm_of_the_encoder_learns_from_the_cameras():
    model, (images, poses) = tiny(), six()
    model(images, poses).planes.square().mean().backward()
    norms = [module for module in model.modules() if isinstance(module, CameraNorm)]
    assert len(norms) == 3 and all(norm.modulation.weight.grad.abs().sum() > 0 for norm in norms)
    copy.deepcopy(model)  # holds no activations


def test_gradients_reach_every_parameter():
    model, (images, poses) = tiny(), six()
    for out in model.decoder.modules():
        if isinstance(out, torch.nn.Linear):
            torch.nn.init.normal_(out.weight)
    features = model(images, poses).planes.flatten(2).mean(-1).repeat(1, 4)  # [2, 12]
    decoder = model.decoder
    everything = (
        decoder.distance(torch.rand(2, 3), features).sum()
        + decoder.color(features).sum()
        + decoder.deformation(features).sum()
        + decoder.weights(features.repeat(1, 8)).square().sum()
    )
    everything.backward()
    # a shift of all of a row's logits changes no attention; one image needs no mask token
    idle = {name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0}
    assert idle <= {name for name, _ in model.named_parameters() if name.endswith("key.bias")}


def test_saves_and_loads_as_a_diffusers_model(tmp_path):
    model, (images, poses) = tiny().eval(), six()
    model.save_pretrained(tmp_path, safe_serialization=True)
    again = Reconstructor.load(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(images, poses).planes, model(images, poses).planes)
    assert again.config.grid == TINY.grid and (tmp_path / "diffusion_pytorch_model.safetensors").exists()
    again.save_pretrained(tmp_path / "again")
    assert str(tmp_path) not in (tmp_path / "again" / "config.json").read_text()


def test_starts_from_a_dino_folder(tmp_path):
    torch.manual_seed(1)
    dino = ViTModel(
        ViTConfig(
            image_size=16,
            patch_size=8,
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
        ),
        add_pooling_layer=False,
    ).eval()
    dino.save_pretrained(tmp_path / "dino")
    model = tiny(dino=str(tmp_path / "dino"), epipolar=False, back_projection=False).eval()
    images, poses = six()
    with torch.no_grad():
        seen = model.encoder(images[0], poses[0])
        normal = (images[0] - model.encoder.mean) / model.encoder.std
        torch.testing.assert_close(seen, model.encoder.out(dino(normal).last_hidden_state), atol=1e-5, rtol=1e-4)
        planes = model(images, poses).planes
        torch.testing.assert_close(planes, model(images, poses.roll(1, dims=1)).planes)  # no camera matters yet
        larger = torch.rand(1, 2, 3, 32, 32)
        assert model(larger, poses[:1, :2]).planes.shape == (1, 3, 4, 4, 4)  # positions are interpolated
    model.save_pretrained(tmp_path / "model")
    with torch.no_grad():
        again = Reconstructor.load(tmp_path / "model").eval()
        torch.testing.assert_close(again(images, poses).planes, model(images, poses).planes)


def test_what_cannot_be_is_said(tmp_path):
    with pytest.raises(UserError, match=r"size.dino.*safetensors"):
        tiny(dino=str(tmp_path))
    with pytest.raises(ValueError, match="multiple of patch"):
        ReconstructorSize(image=60)
    with pytest.raises(ValueError, match=r"encoder_width .* multiple of its heads"):
        ReconstructorSize(encoder_width=90)


def test_the_perceptual_distance_is_one(tmp_path):
    """Zero of an image to itself, symmetric, larger for what differs more; gradients lead to the image."""
    torch.manual_seed(0)
    Scorer(ScorerSize(image=32, channels=(8, 8)), ["a"]).save(tmp_path)
    distance = ScorerDistance(torch.device("cpu"), ScorerDistance.Config(str(tmp_path)))
    image, noise = torch.rand(2, 3, 32, 32), torch.randn(2, 3, 32, 32)
    near, far = (image + 0.02 * noise).requires_grad_(), image + 0.5 * noise
    assert distance(image, image).abs().max() < 1e-6
    torch.testing.assert_close(distance(image, far), distance(far, image))
    assert (distance(near, image) < distance(far, image)).all() and (distance(near, image) > 0).all()
    distance(near, image).sum().backward()
    assert near.grad.abs().sum() > 0


def test_lpips_says_what_it_misses(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install torchmetrics torchvision"):
        LPIPS(torch.device("cpu"), LPIPS.Config())


def test_lpips_says_which_weights_it_misses(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    told = LPIPS.missing(LPIPS.Config())
    assert "vgg16-397923af.pth is missing" in told and "VGG16_Weights as w; w.IMAGENET1K_V1" in told
    assert "AlexNet_Weights as w; w.IMAGENET1K_V1" in LPIPS.missing(LPIPS.Config(net="alex"))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/vgg16-397923af.pth").write_bytes(b"nothing")
    assert "damaged" in LPIPS.missing(LPIPS.Config())
