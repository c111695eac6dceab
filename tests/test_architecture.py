"""Reads the import graph from the source: which room may import which, and what inference never reaches."""

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import priors
import systems
import threestudio_like
from threestudio_like.config.registry import find

ROOT = Path(__file__).resolve().parents[1]
FLOORS = (
    ("threestudio_like.errors", "threestudio_like.utils"),
    ("threestudio_like.config", "threestudio_like.pretrained", "threestudio_like.kernels"),
    ("threestudio_like.cameras", "threestudio_like.scenes", "threestudio_like.engine"),
    ("threestudio_like.renderers", "priors"),
    ("threestudio_like.data", "threestudio_like.export", "threestudio_like.viewer"),
    ("threestudio_like.evaluate",),
    ("threestudio_like.experiments", "threestudio_like.demo"),
    ("threestudio_like",),
    ("systems",),
    ("threestudio_like.cli",),
    ("launch",),
)
"""From the ground up; a room imports from its own floor or from those below it."""


def modules() -> dict[str, Path]:
    """Every module of the product by its dotted name."""
    found = {"launch": ROOT / "launch.py"}
    for room in ("threestudio_like", "priors", "systems"):
        for path in (ROOT / room).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
FACES = ("threestudio_like", "priors", "systems")
"""Hand on names of all their rooms, lazily."""


def imports_of(name: str) -> set[str]:
    """The product's modules that a module names in its import statements, wherever they stand."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in MODULES else node.module for name in whole}
    return {module for module in found if module in MODULES and module not in FACES} - {name}


IMPORTS = {name: imports_of(name) for name in MODULES}


def room_of(name: str) -> str:
    rooms = [room for floor in FLOORS for room in floor if name == room or name.startswith(room + ".")]
    return max(rooms, key=len)


def floor_of(name: str) -> int:
    return next(i for i, floor in enumerate(FLOORS) if room_of(name) in floor)


def reached_from(name: str) -> set[str]:
    """All that a module imports, directly or through others."""
    reached, left = set(), [name]
    while left:
        for module in IMPORTS[left.pop()] - reached:
            reached.add(module)
            left.append(module)
    return reached


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_run_downwards(name):
    for module in IMPORTS[name]:
        assert floor_of(module) <= floor_of(name), f"{name} imports {module}, which stands above it"


def test_the_core_imports_neither_priors_nor_systems():
    wrong = {
        (name, module)
        for name in MODULES
        if name.startswith("threestudio_like")
        for module in IMPORTS[name]
        if module.startswith(("priors", "systems"))
    }
    assert not wrong


def test_there_are_no_circles():
    for name in MODULES:
        assert name not in reached_from(name), f"{name} imports itself through others"
    rooms = {room_of(name): set() for name in MODULES}
    for name, imported in IMPORTS.items():
        rooms[room_of(name)] |= {room_of(module) for module in imported} - {room_of(name)}
    for room in rooms:
        reached, left = set(), [room]
        while left:
            for other in rooms[left.pop()] - reached:
                reached.add(other)
                left.append(other)
        assert room not in reached, f"the room {room} imports itself through others"


@pytest.mark.parametrize("name", ["systems.geco.pipeline", "systems.geco.drawing", "systems.geco.generate"])
def test_inference_reaches_no_evaluation_and_no_training(name):
    rooms = ("threestudio_like.evaluate", "threestudio_like.experiments", "systems.training", "systems.geco.evaluation")
    wrong = [module for module in reached_from(name) for room in rooms if f"{module}.".startswith(f"{room}.")]
    assert not wrong, f"{name} reaches {wrong}"


def test_the_files_of_systems_are_methods():
    """Each has a system that recipes can name, but for the loop that per-scene methods share and what it optimises."""
    named = {place.partition(":")[0] for place in systems.COMPONENTS["system"].values()}
    files = {f"systems.{path.stem}" for path in (ROOT / "systems").glob("*.py")}
    assert files - {"systems.__init__", "systems.particle", "systems.per_scene"} <= named


def test_every_component_is_where_its_table_says():
    for package in (threestudio_like, priors, systems):
        for slot, classes in package.COMPONENTS.items():
            for name in classes:
                assert dataclasses.is_dataclass(find(slot, name).Config), f"{slot} {name}"


@pytest.mark.slow
def test_importing_everything_needs_no_cuda_package():
    code = """
import sys
for name in ("triton", "tinycudann", "nerfacc", "kaolin", "nvdiffrast"):
    sys.modules[name] = None  # importing it now fails
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
    names = [name for name in MODULES if not name.endswith((".cuda", ".nvdiffrast"))]
    subprocess.run([sys.executable, "-c", code, *names], check=True, cwd=ROOT)
