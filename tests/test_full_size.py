"""Full-size runs on the CPU: the models' sizes, and the command itself on tiny ones."""

import json

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks import full_models, full_size
from priors.reconstructor import Reconstructor
from priors.view_encoder import rig_poses
from systems.memory.published import INSTANTMESH_LARGE, VIT_B16
from threestudio_like.config.recipe import parse_recipe

PUBLISHED = {
    ("sd21", "unet"): 865_910_724,
    ("sd21", "vae"): 83_653_863,
    ("sd21", "text_encoder"): 340_387_840,
    ("zero123plus", "unet"): 865_910_724,
    ("sdxl", "unet"): 2_567_463_684,
    ("sdxl", "vae"): 83_653_863,
    ("sd35", "vae"): 83_819_683,
}
"""Parameters of the published files."""
KINDS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "transformer": SD3Transformer2DModel}


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name, part", PUBLISHED)
def test_models_have_the_published_sizes(name, part):
    """They are built without numbers, of what the folders' writers are given."""
    config = full_models.parts(name)[part]
    with torch.device("meta"):
        model = CLIPTextModel(CLIPTextConfig(**config)) if part == "text_encoder" else KINDS[part](**config)
    assert parameters(model) == PUBLISHED[name, part]


def test_the_reconstructor_has_instantmeshs_shape():
    """Planes of 64 x 64 cells and 80 channels, 16 layers of 1024 on a ViT-B/16 that is told the camera."""
    with torch.device("meta"):
        model = Reconstructor(**INSTANTMESH_LARGE)
    assert model.queries.shape == (3 * 32**2, 1024) and len(model.blocks) == 16
    assert model.up.weight.shape == (1024, 80, 2, 2)
    assert 350e6 < parameters(model) < 450e6


def test_its_object_is_about_a_ball():
    """So its surface takes as long as an object's."""
    torch.manual_seed(0)
    vit = VIT_B16 | {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    vit |= {"num_attention_heads": 2, "image_size": 32}
    sizes = dict(width=512, layers=2, heads=4, tokens=16, upsample=2, channels=8, hidden=16, hidden_layers=3, grid=24)
    model = Reconstructor(vit, design="instantmesh", **sizes)
    full_models.shape_as_a_ball(model)
    with torch.no_grad():
        mesh = model.scene(model(torch.rand(1, 6, 3, 32, 32), rig_poses(4.0, 30.0, 32)[None])).mesh()
    radius = np.linalg.norm(mesh.vertices, axis=-1)
    assert len(mesh.faces) > 500 and radius.min() > 0.35 and radius.max() < 0.65


@pytest.mark.parametrize("name", full_models.WRITERS)
def test_a_model_is_written_once(name, tmp_path):
    folder = full_models.model(name, tmp_path, small=True)
    (folder / "mine").touch()
    assert full_models.model(name, tmp_path, small=True) == folder and (folder / "mine").exists()
    assert sorted(path.name for path in folder.parent.iterdir()) == [name]


def test_the_commands_are_recipes_that_parse(tmp_path):
    from threestudio_like.cli.arguments import read_arguments
    from threestudio_like.cli.resolve import resolve

    for case in full_size.cases(tmp_path, True, tmp_path / "out"):
        request = resolve(read_arguments(list(case.argv), "launch.py"))
        recipe = parse_recipe(request.plain, request.name)
        assert case.argv[-1].startswith("image=") or all(one.config.steps == 2 for one in recipe.stages.values())
    names = [case.name for case in full_size.cases(tmp_path, True, tmp_path / "out")]
    assert names == ["dreamfusion-sd", *(f"prolificdreamer-sd, {s}" for s in full_size.STAGES), names[-1]]


@pytest.mark.slow
def test_a_run_is_measured_and_one_that_takes_too_much_memory_ends(tmp_path, capfd):
    assert full_size.main(["--tiny", "--only", "geco", "--folder", str(tmp_path)]) == 0
    row = capfd.readouterr().out.splitlines()[-1]
    assert "| geco-zero123plus, one pass | ended |" in row and "reconstruction" in row
    peak = float(row.split("|")[-2])
    assert 0.1 < peak < 4
    assert full_size.main(["--tiny", "--only", "geco", "--folder", str(tmp_path), "--limit", "0.2"]) == 1
    assert "| failed (" in capfd.readouterr().out.splitlines()[-1]


def test_figures_are_told_by_step_or_by_part():
    assert full_size.own_seconds({"seconds_per_step": 12.34}) == "12.3 a step"
    parts = json.loads('{"views_seconds": 1, "reconstruction_seconds": 2.25, "mesh_seconds": 3, "total_seconds": 9}')
    assert full_size.own_seconds(parts) == "views 1.0, reconstruction 2.2, mesh 3.0"
