"""Measures how fast toys are photographed: `python benchmarks/toybox.py`. Prints a markdown table of images a
second."""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see launch.py

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from threestudio_like.data.toybox.catalogue import random_toy
from threestudio_like.data.toybox.photographs import CaptureConfig, pack
from threestudio_like.data.toybox.render import render_toys


def rate(device: str, size: int, samples: int, count: int = 256) -> float:
    """Measures images a second, after a warm-up; the median of three."""
    rng = np.random.default_rng(0)
    capture = CaptureConfig(size=size)
    toys = pack([random_toy(rng) for _ in range(count)])
    cameras = capture.cameras(count, rng)
    light = capture.light(cameras, rng)
    cameras = cameras.to(device)
    seconds = []
    for _ in range(4):
        begin = time.perf_counter()
        render_toys(toys, cameras, light, samples).rgb.sum().item()
        seconds.append(time.perf_counter() - begin)
    return count / float(np.median(seconds[1:]))


def main() -> None:
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    print(f"{torch.get_num_threads()} threads\n")
    print("| pixels | rays a pixel | " + " | ".join(f"{device}, images/s" for device in devices) + " |")
    print("|---|---|" + "---|" * len(devices))
    for size in (32, 64, 128):
        for samples in (1, 2):
            rates = " | ".join(f"{rate(device, size, samples):.0f}" for device in devices)
            print(f"| {size} x {size} | {samples**2} | {rates} |")


if __name__ == "__main__":
    main()
