"""A small share of the campaign of `benchmarks/kills.py`: whatever disturbs a run, it ends as the undisturbed one."""

import random
from pathlib import Path

import pytest
import torch

from benchmarks import kills


@pytest.mark.parametrize("disturbance", ["SIGKILL", pytest.param("full disk", marks=pytest.mark.slow)])
def test_a_disturbed_run_ends_as_the_undisturbed_one(tmp_path, monkeypatch, disturbance):
    monkeypatch.setitem(
        kills.KINDS, "playground", (*kills.KINDS["playground"], "steps=24", "imports=[]", "expected_seconds=null")
    )
    found = kills.campaign("playground", 1, tmp_path, random.Random(0), (disturbance,))
    assert not found.wrong and sum(found.counts.values()) == 1


def test_what_differs_is_found(tmp_path):
    """The campaign's own eyes: a figure, a tensor, a picture, a missing file; a clock is none."""

    def leave(folder: Path, value: float, seconds: float) -> Path:
        folder.mkdir()
        (folder / "metrics.json").write_text(f'{{"error": {value}, "wall_seconds": {seconds}}}')
        torch.save({"step": 3, "system": {"point": torch.tensor(value)}}, folder / "main.pt")
        (folder / "images.png").write_bytes(str(value).encode())
        return folder

    whole = leave(tmp_path / "whole", 1.0, 2.0)
    found = kills.Findings("fit")
    kills.compare(whole, leave(tmp_path / "same", 1.0, 9.0), found)
    assert not found.wrong
    other = leave(tmp_path / "other", 1.5, 2.0)
    (other / "mesh.glb").write_bytes(b"")
    kills.compare(whole, other, found)
    assert [line.split(": ", 1)[1] for line in found.wrong] == [
        "other files: ['mesh.glb']",
        "images.png differs",
        "main.pt differs",
        "metrics.json differs",
    ]


def test_a_flipped_bit_is_one_bit(tmp_path):
    for name in ("checkpoints/main.pt", "checkpoints/previous/main.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(bytes(100))
    kills.flip_a_bit(tmp_path, random.Random(0))
    assert sum(byte.bit_count() for byte in (tmp_path / "checkpoints/main.pt").read_bytes()) == 1
    assert (tmp_path / "checkpoints/previous/main.pt").read_bytes() == bytes(100)
