"""Files of PyTorch's: tensors are read in both formats, and nothing in a file is ever run."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from threestudio_like.errors import UserError
from threestudio_like.utils.pickled import read_tensors

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.float16)}


class Wrecker:
    """What makes a folder when it is unpickled."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("lightning", [True, False])
def test_tensors_are_read(zipped, lightning, tmp_path):
    node = {"state_dict": TENSORS, "epoch": 4, "hyper_parameters": {"lr": 1e-3}} if lightning else TENSORS
    torch.save(node, tmp_path / "model.ckpt", _use_new_zipfile_serialization=zipped)
    found = read_tensors(tmp_path / "model.ckpt")
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)


WAYS = {
    "zip": lambda node, path: torch.save(node, path),
    "legacy": lambda node, path: torch.save(node, path, _use_new_zipfile_serialization=False),
    "plain": lambda node, path: path.write_bytes(pickle.dumps(node)),
}
TOLD = r"bad.ckpt is refused: it (holds (posix|nt|os).mkdir, which is not a tensor|is not a file of tensors)"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("beside", [True, False])
def test_code_is_refused_and_not_run(way, beside, tmp_path):
    """As a tensor's neighbour in the state dict, or elsewhere in the checkpoint."""
    code = Wrecker(tmp_path / "made")
    WAYS[way](
        {"state_dict": TENSORS | {"c": code}} if beside else {"state_dict": TENSORS, "callbacks": code},
        tmp_path / "bad.ckpt",
    )
    with pytest.raises(UserError, match=TOLD):
        read_tensors(tmp_path / "bad.ckpt")
    assert not (tmp_path / "made").exists()
    assert pickle.loads(pickle.dumps(code)) is None and (tmp_path / "made").exists()  # it would have been made


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_damaged_file_is_a_sentence(keep, tmp_path):
    torch.save(TENSORS, tmp_path / "whole.bin")
    data = (tmp_path / "whole.bin").read_bytes()
    (tmp_path / "model.bin").write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(UserError, match=r"model.bin (cannot be read|is refused)"):
        read_tensors(tmp_path / "model.bin")


@pytest.mark.parametrize(
    "node", [{}, [torch.ones(2)], {"state_dict": {}}, {"state_dict": 3}, {"a": 1}, {3: torch.ones(1)}]
)
def test_a_file_without_named_tensors_is_a_sentence(node, tmp_path):
    torch.save(node, tmp_path / "model.bin")
    with pytest.raises(UserError, match="holds no named tensors"):
        read_tensors(tmp_path / "model.bin")


@pytest.mark.parametrize("name", ["nowhere.bin", "."])
def test_what_is_no_file_is_a_sentence(name, tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        read_tensors(tmp_path / name)
