"""Averages the weights of models that were trained on from one another: `python -m priors.averaging OUT FOLDER FOLDER
[FOLDER ...]`.

A mean of what several trainings ended at is often better than each ("model soups", Wortsman et al. 2022, arXiv
2203.05482), as an average along one training is. Everything but the weights is the first folder's.
"""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from threestudio_like.errors import UserError


def average(out: Path, folders: list[Path]) -> None:
    """Writes the first folder to `out`, each tensor of its safetensors files replaced by the mean over all folders.

    Raises UserError where `out` exists, or a folder lacks a file or has tensors of other names or shapes.
    """
    if out.exists():
        raise UserError(f"{out} exists already; name a new folder")
    first, *others = folders
    names = sorted(file.relative_to(first) for file in first.rglob("*.safetensors"))
    if not names:
        raise UserError(f"{first}: there are no safetensors files in this folder")
    for folder in others:
        for name in names:
            refuse_other(first / name, folder / name)
    shutil.copytree(first, out)
    for name in names:
        with safe_open(first / name, "pt") as file:
            metadata = file.metadata()
        models = [load_file(folder / name) for folder in folders]
        mean = {
            key: torch.stack([model[key].double() for model in models]).mean(0).to(tensor.dtype)
            for key, tensor in models[0].items()
        }
        save_file(mean, out / name, metadata)


def refuse_other(first: Path, other: Path) -> None:
    """Raises UserError where `other` has not the tensors that `first` has."""
    if not other.exists():
        raise UserError(f"{other} does not exist, and {first} does: the folders hold different models")
    shapes = []
    for place in (first, other):
        with safe_open(place, "pt") as file:
            shapes.append({key: file.get_slice(key).get_shape() for key in file.keys()})  # noqa: SIM118
    if shapes[0] != shapes[1]:
        raise UserError(f"{first} and {other} have tensors of other names or shapes, so they have no mean")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    given = parser.parse_args()
    try:
        average(given.out, given.folders)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
