"""The mean of models' weights: of equal parts, in the first one's format, and of models that fit each other only."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from priors.averaging import average
from threestudio_like.errors import UserError


def model(folder, value, shape=(2, 3)):
    (folder / "unet").mkdir(parents=True)
    weights = {"a": torch.full(shape, value, dtype=torch.float16), "b": torch.tensor([value, -value])}
    save_file(weights, folder / "unet" / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(f'{{"value": {value}}}')
    return folder


def test_the_mean_has_the_first_ones_format(tmp_path):
    folders = [model(tmp_path / str(value), value) for value in (1.0, 2.0, 6.0)]
    average(tmp_path / "out", folders)
    found = load_file(tmp_path / "out" / "unet" / "model.safetensors")
    assert found["a"].dtype == torch.float16 and (found["a"] == 3.0).all()
    assert torch.equal(found["b"], torch.tensor([3.0, -3.0]))
    with safe_open(tmp_path / "out" / "unet" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert (tmp_path / "out" / "config.json").read_text() == '{"value": 1.0}'


def test_what_has_no_mean_is_refused_before_anything_is_written(tmp_path):
    one, other = model(tmp_path / "one", 1.0), model(tmp_path / "other", 1.0, shape=(3, 2))
    (tmp_path / "empty").mkdir()
    for folders, says in (
        ([one, other], "other names or shapes"),
        ([one, tmp_path / "empty"], "different models"),
        ([tmp_path / "empty", one], "no safetensors"),
    ):
        with pytest.raises(UserError, match=says):
            average(tmp_path / "out", folders)
        assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="exists already"):
        average(one, [one, one])
