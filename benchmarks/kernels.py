"""Times the compiled kernels against their PyTorch references: one markdown table a device.

    python benchmarks/kernels.py [--points 131072] [--rays 16384] [--repetitions 7] [--threads 2] [--only rasterise]

Times are medians; both sides of a ratio take turns in one run, after a warm-up that is not counted.
"""

import argparse
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads that spin would spoil the times on a busy machine

import torch
import torch.nn.functional as F
import trimesh

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from threestudio_like.cameras import orbit
from threestudio_like.kernels import backend
from threestudio_like.kernels.composite import accumulate, composite
from threestudio_like.kernels.encoded_mlp import Weights, encoded_mlp, encoded_mlp_with_gradient
from threestudio_like.kernels.hashgrid import HashGrid, encode, encode_with_jacobian
from threestudio_like.kernels.march import march
from threestudio_like.kernels.rasterize import Edges, antialias, rasterize

WARM_UP = 2
"""Calls of each side that are not counted."""


def hashgrid_cases(points: int, device: str) -> dict[str, Callable]:
    """Returns what is timed of the hash grid, by name."""
    grid = HashGrid(n_levels=16, n_features_per_level=2, log2_hashmap_size=17)
    x = torch.rand(points, 3, device=device)
    table = torch.rand(grid.total_entries, grid.n_features_per_level, device=device, requires_grad=True)
    to_features = torch.randn(points, grid.width, device=device)
    to_jacobian = torch.randn(points, grid.width, 3, device=device)
    return {
        "hash grid, forward": lambda: encode(x, table, grid),
        "hash grid, forward + backward": lambda: torch.autograd.grad(encode(x, table, grid), table, to_features),
        "hash grid with jacobian, forward": lambda: encode_with_jacobian(x, table, grid),
        "hash grid with jacobian, forward + backward": lambda: torch.autograd.grad(
            encode_with_jacobian(x, table, grid), table, [to_features, to_jacobian]
        ),
    }


def mlp_cases(points: int, device: str) -> dict[str, Callable]:
    """Returns what is timed of the encoding and MLP in one: the size of `configs/dreamfusion.yaml`, along rays."""
    grid = HashGrid(n_levels=8, log2_hashmap_size=15, base_resolution=8, max_resolution=96)
    start, end = torch.rand(2, points // 64 + 1, 1, 3, device=device)
    x = (start + (end - start) * torch.linspace(0, 1, 64, device=device)[:, None]).flatten(0, 1)[:points]
    shapes = ((grid.total_entries, 2), (32, grid.width), (32,), (4, 32), (4,))
    tensors = [torch.randn(*shape, device=device, requires_grad=True) for shape in shapes]
    weights, to_outputs, to_gradient = Weights(*tensors), torch.randn(points, 4, device=device), torch.randn_like(x)
    return {
        "encoded MLP, forward": lambda: encoded_mlp(x, weights, grid),
        "encoded MLP, forward + backward": lambda: torch.autograd.grad(
            encoded_mlp(x, weights, grid), tensors, to_outputs
        ),
        "encoded MLP with gradient, forward + backward": lambda: torch.autograd.grad(
            encoded_mlp_with_gradient(x, weights, grid), tensors, [to_outputs, to_gradient]
        ),
    }


def ray_cases(rays: int, device: str) -> dict[str, Callable]:
    """Returns what is timed of marching and compositing: rays at a ball of half the cube's size, in a 64^3 grid."""
    axis = (torch.arange(64, device=device) + 0.5) / 32 - 1
    occupancy = sum(square**2 for square in torch.meshgrid(axis, axis, axis, indexing="ij")) < 0.25
    origins = 2.5 * F.normalize(torch.randn(rays, 3, device=device), dim=-1)
    directions = F.normalize(1.6 * torch.rand(rays, 3, device=device) - 0.8 - origins, dim=-1)
    jitter, step = torch.rand(rays, device=device), 0.02
    samples = march(origins, directions, occupancy, step, jitter)
    density = (20 * torch.rand(len(samples.t), device=device)).requires_grad_()
    values = torch.rand(len(samples.t), 8, device=device, requires_grad=True)
    to_sums = torch.randn(rays, 8, device=device)

    def render():
        sums = accumulate(composite(density, step, samples.offsets), values, samples.offsets)
        torch.autograd.grad(sums, [density, values], to_sums)

    return {
        f"march, {len(samples.t):,} samples": lambda: march(origins, directions, occupancy, step, jitter),
        "composite + accumulate, forward + backward": render,
    }


def rasterizer_cases(device: str) -> dict[str, Callable]:
    """Returns what is timed of the rasteriser: a sphere of about 20,000 faces, whose vertices are moved by what its
    picture says."""
    ball = trimesh.creation.uv_sphere(0.7, count=(71, 71))
    vertices = torch.as_tensor(ball.vertices, dtype=torch.float32, device=device).requires_grad_()
    faces = torch.as_tensor(ball.faces, device=device)
    edges = Edges.of(faces)
    cases = {}
    for size in (128, 512):
        cameras = orbit(1, 15.0, 2.7, 41.0, size).to(device)
        to_image = torch.randn(1, size, size, 3, device=device)

        def draw(cameras=cameras, size=size, to_image=to_image):
            screen, depth = cameras.project(vertices[None])
            fragments = rasterize(screen, depth, faces, size, size)
            image = antialias(fragments.image(fragments.interpolate(vertices)), fragments, screen, depth, edges)
            torch.autograd.grad(image, vertices, to_image)

        cases[f"rasterise {len(faces):,} faces, {size} x {size}, forward + backward"] = draw
    return cases


def milliseconds(case: Callable, side: str, device: str) -> float:
    """Times one call of a case by the reference's or the device's kernels."""
    start = time.perf_counter()
    with backend.forced(side):
        case()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start)


def reference_calls(name: str, device: str, calls: int) -> int:
    """Returns how often a case's reference is called: on a GPU the rasteriser's takes minutes for a large picture."""
    if device == "cpu" or "rasterise" not in name:
        return calls
    return 1 if "128 x 128" in name else 0


def compare(name: str, case: Callable, device: str, repetitions: int) -> tuple[float, float]:
    """Measures the median milliseconds of the reference and of the device's kernels, in turns.

    A side that is called once has no warm-up; the reference's time is nan where it is never called.
    """
    calls = repetitions + WARM_UP
    times: dict[str, list[float]] = {"reference": [], device: []}
    for turn in range(calls):
        for side, count in (("reference", reference_calls(name, device, calls)), (device, calls)):
            if turn < count:
                times[side].append(milliseconds(case, side, device))
    reference, own = (statistics.median(each[WARM_UP:] or each or [math.nan]) for each in times.values())
    return reference, own


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=131072)
    parser.add_argument("--rays", type=int, default=16384)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--only", default="", help="the operations whose names contain this")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="this device alone")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    there = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in [arguments.device] if arguments.device else there:
        machine = f"{platform.machine()}, {arguments.threads} threads"
        machine = torch.cuda.get_device_name() if device == "cuda" else machine
        print(
            f"\n{device} ({machine}), torch {torch.__version__}, {arguments.points:,} points, 16 levels x 2 of 2^17 "
            f"entries, {arguments.rays:,} rays, median of {arguments.repetitions}\n"
        )
        print(f"| operation | reference, ms | {device}, ms | reference : {device} |\n|---|---:|---:|---:|")
        cases = hashgrid_cases(arguments.points, device) | mlp_cases(arguments.points, device)
        cases |= ray_cases(arguments.rays, device) | rasterizer_cases(device)
        for name, case in cases.items():
            if arguments.only not in name:
                continue
            reference, compiled = compare(name, case, device, arguments.repetitions)
            print(f"| {name} | {reference:.1f} | {compiled:.1f} | {reference / compiled:.1f} |", flush=True)


if __name__ == "__main__":
    main()
