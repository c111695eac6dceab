"""The shipped weights: small enough, whole, and as good as their cards say (with room for chance)."""

import re

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from priors.backbones.base import Condition
from priors.backbones.geometric import GeometricBackbone
from priors.backbones.multiview import FoldedMultiview, MultiviewConfig
from priors.backbones.pixel import PixelBackbone
from priors.sampling import ddim
from priors.toybox.views import untile
from systems.geco.pipeline import load_pipeline
from threestudio_like.cameras import orbit
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.data.toybox.catalogue import caption
from threestudio_like.data.toybox.multiview import MultiviewSet
from threestudio_like.data.toybox.photographs import CaptureConfig, render_dataset
from threestudio_like.data.toybox.reconstruction import ReconstructionSet
from threestudio_like.evaluate.ccm import view_direction
from threestudio_like.evaluate.images import psnr
from threestudio_like.evaluate.scorer import Scorer
from threestudio_like.evaluate.shapes import compare
from threestudio_like.evaluate.toybox import COLOR_CAPTIONS
from threestudio_like.pretrained import ModelConfig
from threestudio_like.utils.paths import WEIGHTS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def test_the_weights_fit_their_limits():
    def size(*folders):
        return sum(p.stat().st_size for folder in folders for p in folder.rglob("*.safetensors"))

    assert size(WEIGHTS / "toybox", WEIGHTS / "scorer") <= 11 * 2**20
    assert size(WEIGHTS) <= 40 * 2**20
    assert all((folder / "README.md").exists() for folder in WEIGHTS.iterdir() if folder.is_dir())


def test_no_config_names_a_folder_of_the_machine_that_trained_it():
    configs = list(WEIGHTS.rglob("*.json"))
    assert len(configs) > 10
    assert not [place for place in configs if re.search(r'"(/|[A-Za-z]:\\\\)', place.read_text())]


def test_the_scorer_knows_true_toys():
    photographs = render_dataset(CaptureConfig(samples=1, front_share=0.0), 200, seed=987, held_out=None)
    images = photographs.images(np.arange(200), torch.full((200, 3), 0.8))
    scorer = Scorer.load(WEIGHTS / "scorer")
    found = (scorer.image(images) @ scorer.text(COLOR_CAPTIONS).T).argmax(dim=-1)
    assert (found == photographs.target(np.arange(200))).float().mean() > 0.85


def test_the_prior_paints_what_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("TSL_CACHE", str(tmp_path))
    backbone = PixelBackbone("cpu", ModelConfig("priors/weights/toybox"))
    asked = [
        ("lamp", "purple"),
        ("mushroom", "red"),
        ("penguin", "blue"),
        ("boat", "red"),
        ("snowman", "white"),
        ("house", "green"),
        ("table", "green"),
        ("tree", "pink"),
    ]
    embedded = backbone.embed([caption(*pair, view="left side view") for pair in asked] + [""])
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="epsilon")
    text, uncond = embedded[:-1], embedded[-1:].expand(len(asked), -1, -1)
    images = backbone.decode(
        ddim(
            backbone.predict,
            scheduler,
            text,
            uncond,
            (48, 16, 16),
            scale=3.0,
            steps=20,
            generator=torch.Generator().manual_seed(0),
        )
    )
    scorer = Scorer.load(WEIGHTS / "scorer")
    found = (scorer.image(images) @ scorer.text(COLOR_CAPTIONS).T).argmax(dim=-1)
    wanted = [COLOR_CAPTIONS.index(caption(*pair)) for pair in asked]
    assert (found == torch.tensor(wanted)).float().mean() >= 0.5


def test_the_prior_tells_left_from_right(tmp_path, monkeypatch):
    """Its mean images from the left are those from the right, mirrored, and not the same."""
    monkeypatch.setenv("TSL_CACHE", str(tmp_path))
    backbone = PixelBackbone("cpu", ModelConfig("priors/weights/toybox"))
    for category, color in (
        ("duck", "yellow"),
        ("dog", "blue"),
        ("chair", "red"),
        ("truck", "green"),
        ("elephant", "pink"),
    ):
        text = backbone.embed([caption(category, color, view=f"{side} side view") for side in ("left", "right")])
        left, right = backbone.decode(backbone.mean_predictor(text))
        assert (left - right.flip(-1)).square().mean() < 0.5 * (left - right).square().mean(), category


def test_the_geometric_prior_obeys_the_camera(tmp_path, monkeypatch):
    """Maps of a duck and of a chair, asked from eight sides, show them from there by their coordinates."""
    monkeypatch.setenv("TSL_CACHE", str(tmp_path))
    backbone = GeometricBackbone("cpu", ModelConfig("priors/weights/agp"))
    cameras = orbit(8, 15.0, 2.7, 41.0, 64).c2w.reshape(-1, 16)
    embedded = backbone.embed(["a yellow duck", "a red chair", ""])
    text, uncond = embedded[:2].repeat_interleave(8, dim=0), embedded[2:].expand(16, -1, -1)
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="epsilon")
    condition = Condition(text, uncond, camera=cameras.repeat(2, 1))

    def predict(x, t, both):
        return backbone.predict(x, t, both, condition)

    maps = backbone.decode(
        ddim(
            predict,
            scheduler,
            text,
            uncond,
            (64, 16, 16),
            scale=3.0,
            steps=20,
            generator=torch.Generator().manual_seed(0),
        )
    )
    seen, asked = view_direction(maps), 2 * torch.pi * torch.arange(8).repeat(2) / 8
    rotated = torch.atan2(seen[:, 1], seen[:, 0]) - asked
    assert (rotated.cos() > 0.5**0.5).float().mean() >= 0.8


def held_out(count: int):
    """Condition images and six views of toys in pairs that no prior was shown."""
    data = MultiviewSet(held_out_count=count, samples=1).images("held_out")
    chosen = np.arange(count)
    return data.images(chosen), data.six_views(chosen)


def test_the_multiview_prior_turns_what_it_sees(tmp_path, monkeypatch):
    """Its views are nearer to the true ones than to the true ones in another order."""
    monkeypatch.setenv("TSL_CACHE", str(tmp_path))
    prior = FoldedMultiview("cpu", MultiviewConfig("priors/weights/multiview"))
    images, truth = held_out(12)
    with torch.no_grad():
        views = untile(
            prior.decode(prior.one_step(prior.noise(12, torch.Generator().manual_seed(0)), prior.condition(images)))
        )
    right = psnr(views.flatten(0, 1), truth.flatten(0, 1)).mean()
    rotated = psnr(views.flatten(0, 1), truth.roll(3, dims=1).flatten(0, 1)).mean()
    assert right > 18 and right > rotated + 2


def test_geco_makes_the_object_of_an_image(tmp_path, monkeypatch):
    monkeypatch.setenv("TSL_CACHE", str(tmp_path))
    pipeline = load_pipeline(
        list(parse_recipe(load("geco.yaml", []), "geco").stages.values())[-1].config, torch.device("cpu")
    )
    data = ReconstructionSet(views=MultiviewSet(held_out_count=4, samples=1), samples=1, points=16, targets=1).objects(
        "held_out"
    )
    overlap = []
    for i, image in enumerate(data.views.images(np.arange(4))):
        mesh = pipeline(image, 0).mesh
        assert mesh.to_trimesh().is_watertight
        overlap.append(compare(mesh.to_trimesh(), data.mesh(i, resolution=64).to_trimesh()).volume_iou)
    assert np.mean(overlap) > 0.4
