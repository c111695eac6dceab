"""InstantMesh's U-Net in a folder of Zero123++: its weights, the other parts' files, and what does not fit."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

import launch
from priors.backbones.zero123plus import Zero123Plus


@pytest.fixture
def published(models, tmp_path):
    """A U-Net of the folder's shape with other weights, pickled as it is published."""
    torch.manual_seed(7)
    config = UNet2DConditionModel.load_config(models("zero123plus") / "unet")
    unet = UNet2DConditionModel.from_config(config)
    torch.save(unet.state_dict(), tmp_path / "diffusion_pytorch_model.bin")
    return unet


def convert(tmp_path, model, *keys):
    file = tmp_path / "diffusion_pytorch_model.bin"
    return launch.main(["--convert", str(file), f"model={model}", f"out={tmp_path / 'white'}", *keys])


def test_the_folder_loads_and_has_the_new_unet(published, models, tmp_path):
    base = models("zero123plus")
    assert convert(tmp_path, base) == 0
    prior = Zero123Plus(model=str(tmp_path / "white"), view_size=16)
    old = dict(Zero123Plus(model=str(base), view_size=16).unet.named_parameters())
    for name, parameter in published.named_parameters():
        assert torch.equal(prior.unet.get_parameter(name), parameter)
    assert any(not torch.equal(old[name], parameter) for name, parameter in published.named_parameters())
    for path in (tmp_path / "white").rglob("*.*"):
        if path.parts[-2:] != ("unet", "diffusion_pytorch_model.safetensors"):
            assert path.read_bytes() == (base / path.relative_to(tmp_path / "white")).read_bytes()
    images = torch.rand(1, 3, 16, 16)
    noise, condition = prior.noise_for("a"), prior.condition(images)
    assert prior.one_step(noise, condition, 2.0).isfinite().all()


def test_the_precision_of_the_file_stays(published, models, tmp_path):
    torch.save(published.half().state_dict(), tmp_path / "diffusion_pytorch_model.bin")
    assert convert(tmp_path, models("zero123plus")) == 0
    tensors = load_file(tmp_path / "white/unet/diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}


@pytest.mark.parametrize(
    "spoil, says",
    [
        (lambda state: state.pop("mid_block.resnets.0.conv1.weight"), "mid_block.resnets.0.conv1.weight is missing"),
        (lambda state: state.update({"conv_in.weight": torch.ones(3)}), "conv_in.weight has the shape [3] instead of"),
        (
            lambda state: state.pop("conv_in.weight"),
            "no model that can be converted; known: instantmesh, zero123plus",
        ),
    ],
)
def test_weights_of_another_shape_are_a_sentence(published, models, tmp_path, capsys, spoil, says):
    state = dict(published.state_dict())
    spoil(state)
    torch.save(state, tmp_path / "diffusion_pytorch_model.bin")
    assert convert(tmp_path, models("zero123plus")) == 2
    told = capsys.readouterr().err
    assert says in told and "Traceback" not in told
    assert not (tmp_path / "white").exists()


def test_a_missing_base_is_a_sentence(published, tmp_path, capsys):
    assert convert(tmp_path, tmp_path / "nowhere") == 2
    assert "does not exist" in capsys.readouterr().err
    assert convert(tmp_path, tmp_path / "nowhere", "modle=a") == 2
    assert "unknown key 'modle'; did you mean 'model'?" in capsys.readouterr().err


def test_a_pickle_with_code_is_a_sentence_and_exit_code_2(tmp_path, capsys):
    class Code:
        def __reduce__(self):
            return print, ("it ran",)

    torch.save({"conv_in.weight": torch.ones(1), "code": Code()}, tmp_path / "diffusion_pytorch_model.bin")
    assert convert(tmp_path, tmp_path) == 2
    captured = capsys.readouterr()
    assert "is refused: it holds" in captured.err and captured.err.count("\n") == 1 and "it ran" not in captured.out
    assert not (tmp_path / "white").exists()
