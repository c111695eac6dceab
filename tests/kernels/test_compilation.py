"""All CUDA kernels are compiled ahead of time, for six kinds of GPU and without one, and their code is looked into."""

import importlib
import re
from pathlib import Path

import pytest

from threestudio_like import kernels

pytest.importorskip("triton", reason="Triton is not installed")

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

ARCHITECTURES = (80, 86, 89, 90, 100, 120)
FLOATS, BYTES, INTS, LONGS = "*fp32", "*u8", "*i32", "*i64"
RAYS = {"origins_at": FLOATS, "directions_at": FLOATS, "first_at": FLOATS, "leave_at": FLOATS, "occupancy_at": BYTES}
GRID = {"x_at": FLOATS, "across_points": "i32", "across_columns": "i32", "count": "i32", "levels": "i32"}
READ = GRID | {"table_at": FLOATS, "levels_at": INTS, "features_at": FLOATS, "jacobian_at": FLOATS}
SPREAD = GRID | {"gradient_at": FLOATS, "levels_at": INTS, "to_features_at": FLOATS, "to_jacobian_at": FLOATS}
TILES = [
    {"FEATURES": features, "WIDTH": width, "JACOBIAN": jacobian, "BLOCK": 256}
    for features, width in ((1, 1), (2, 2), (3, 4))
    for jacobian in (False, True)
]
DRAW = {"vertices_at": FLOATS, "faces_at": LONGS, "best_at": LONGS, "count": "i32", "height": "i32", "width": "i32"}
SAMPLES = {"weights_at": FLOATS, "behind_at": FLOATS, "offsets_at": LONGS, "step": "fp32"}
FUSED, ALIKE = {"enable_fp_fusion": True}, {"enable_fp_fusion": False}
ONE_WARP = {"num_warps": 1}

CASES = {
    "hashgrid.interpolate_points": (READ, TILES, FUSED),
    "hashgrid.spread_points": (SPREAD, TILES, FUSED),
    "march.march_rays": (
        RAYS | {"integers_at": LONGS, "distances_at": FLOATS, "step": "fp32", "count": "i32", "resolution": "i32"},
        [{"PLACE": place, "BLOCK": 128, **one} for place in (False, True) for one in ({}, {"resolution": 1})],
        ALIKE,
    ),
    "composite.composite_ray": (SAMPLES | {"density_at": FLOATS}, [{"BLOCK": 32}], FUSED | ONE_WARP),
    "composite.composite_ray_gradient": (
        SAMPLES | {"to_weights_at": FLOATS, "to_density_at": FLOATS},
        [{"BLOCK": 32}],
        FUSED | ONE_WARP,
    ),
    "composite.accumulate_ray": (
        {"weights_at": FLOATS, "values_at": FLOATS, "offsets_at": LONGS, "sums_at": FLOATS, "channels": "i32"},
        [{"BLOCK": 32, "WIDTH": 1, "channels": 1}, {"BLOCK": 32, "WIDTH": 4}],
        FUSED | ONE_WARP,
    ),
    "rasterize.draw": (
        DRAW,
        [{"TILE": 8, "LAST": 0x7FFFFFFF, **one} for one in ({}, {"height": 1}, {"width": 1})],
        ALIKE | ONE_WARP,
    ),
}
"""By op and kernel: its arguments' types, its constants, and the compiler's options. An argument of 1 is a constant, as
Triton makes it one."""


def kernel(name: str):
    op, _, function = name.partition(".")
    return getattr(importlib.import_module(f"{kernels.__name__}.{op}.cuda"), function)


def compiled(name: str, constants: dict, architecture: int):
    types, _, options = CASES[name]
    function = kernel(name)
    signature = {argument: "constexpr" if argument in constants else types[argument] for argument in function.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, type_ in enumerate(signature.values()) if type_[0] == "*"}
    source = ASTSource(function, signature, constants, aligned)
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)


def test_every_kernel_that_is_launched_is_here():
    launched = set()
    for path in Path(kernels.__path__[0]).glob("*/cuda.py"):
        found = re.findall(r"^\s*(\w+)\[[^\]]+\]\(", path.read_text(encoding="utf-8"), re.MULTILINE)
        launched |= {f"{path.parent.name}.{name}" for name in found}
    assert launched == set(CASES)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", CASES)
def test_it_compiles(name, architecture):
    for constants in CASES[name][1]:
        assert len(compiled(name, constants, architecture).asm["cubin"]) > 1000


@pytest.mark.slow
def test_divisions_round_where_implementations_must_agree():
    for name in ("march.march_rays", "rasterize.draw"):
        code = compiled(name, CASES[name][1][0], 80).asm["ptx"]
        assert "div.rn.f32" in code and "div.full" not in code and "div.approx" not in code


@pytest.mark.slow
def test_atomics_order_nothing_but_themselves():
    for name in ("rasterize.draw", "hashgrid.spread_points"):
        atomics = re.findall(r"\b(?:atom|red)\.\S+", compiled(name, CASES[name][1][-1], 80).asm["ptx"])
        assert atomics and all("relaxed" in atomic for atomic in atomics)


@pytest.mark.slow
def test_both_features_of_a_vertex_are_read_at_once():
    constants = {"FEATURES": 2, "WIDTH": 2, "JACOBIAN": False, "BLOCK": 256}
    assert "ld.global.v2" in compiled("hashgrid.interpolate_points", constants, 80).asm["ptx"]
