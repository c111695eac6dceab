"""Two processes on one machine train as one with twice the batch."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from threestudio_like.config.loading import CONFIGS

KEYS = [
    "steps=3",
    "mean_steps=1",
    "mean_batch=2",
    "data.count=12",
    "data.capture.samples=1",
    "data.capture.size=16",
    "size={image: 16, patch: 4, channels: [16, 16], text_width: 16}",
    "sample_steps=1",
    "scorer=null",
    "device=cpu",
    "lr=1.0e-3",
    "optimizer.eps=1.0e-3",
    "optimizer.clip_norm=null",
    "preview_every=0",
]


def train(folder, *keys):
    command = [sys.executable, "launch.py", "--config", "priors/toybox.yaml", *KEYS, f"out={folder}", *keys]
    done = subprocess.run(command, cwd=CONFIGS.parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return load_file(folder / "model/unet/diffusion_pytorch_model.safetensors"), (folder / "log.txt").read_text()


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(tmp_path, monkeypatch):
    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    one, log = train(tmp_path / "one", "batch=4", "mean_batch=4")
    two, log_of_two = train(tmp_path / "two", "batch=2", "devices=2")
    assert json.loads((tmp_path / "two/metrics.json").read_text())["status"] == "done"

    def lines(text):
        return [line.split("  ")[1].split(" memory")[0] for line in text.splitlines() if "denoising" in line]

    assert lines(log) == lines(log_of_two) != []  # the losses, to three digits
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=2e-4, rtol=0)
    assert not (tmp_path / "two.1").exists()  # one folder, made once
