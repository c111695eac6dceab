"""Reads the tensors of a file that PyTorch has pickled, and refuses one that holds anything which could run."""

import pickle
import re
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from threestudio_like.errors import UserError, brief
from threestudio_like.utils.files import regular


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads named tensors: a state dict, or the `state_dict` of a Lightning checkpoint; they are on the CPU.

    Nothing else is read, and no code of the file is run. Raises UserError.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    try:
        found = torch.load(regular(path), map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = (
            f"it holds {named[1]}, which is not a tensor and could run code" if named else "it is not a file of tensors"
        )
        raise UserError(
            f"{path} is refused: {what}; nothing of it was run. Where you trust it, save its state_dict alone"
        ) from None
    except Exception as error:  # of torch's own readers, over a damaged file
        raise UserError(f"{path} cannot be read as a file of PyTorch's ({brief(error)}); fetch it again") from None
    inner = found.get("state_dict", found) if isinstance(found, dict) else None
    inner = inner if isinstance(inner, dict) else {}
    tensors = {name: value for name, value in inner.items() if isinstance(value, Tensor)}
    if not tensors or not all(isinstance(name, str) for name in tensors):
        raise UserError(f"{path} holds no named tensors; give a model's weights")
    return tensors
