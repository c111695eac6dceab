"""Coordinate maps of any folder of mesh files with captions (SweetDreamer, section 3.2, and appendix).

An object's maps are rendered once and cached in a file of their own, from which training reads the rows that it needs:
a folder may be larger than the memory, grow, and be rendered by several processes.
"""

import functools
import hashlib
import logging
import math
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import trimesh
from annotated_types import Ge
from jaxtyping import Int, UInt8
from torch import Tensor

from threestudio_like.cameras import Cameras, orbit_cameras
from threestudio_like.config.ranges import (
    Count,
    DistanceRange,
    ElevationRange,
    FieldOfView,
    Pixels,
    Positive,
    Samples,
    Seed,
)
from threestudio_like.config.registry import configure
from threestudio_like.data.cache import cached, cached_memmap, sources
from threestudio_like.data.captions import captioned, skipped
from threestudio_like.data.ccm import CoordinateMaps
from threestudio_like.errors import UserError
from threestudio_like.renderers.ccm import canonical_coordinates
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.base import MeshSettings
from threestudio_like.scenes.mesh import Mesh, Surface
from threestudio_like.scenes.signed_distance import BOX_LENGTH, read_mesh
from threestudio_like.utils.paths import expanded
from threestudio_like.utils.progress import progress

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".dae")
RENDERING_SOURCES = (
    "data/meshes.py",
    "scenes/signed_distance.py",
    "scenes/unread.py",
    "renderers/mesh.py",
    "renderers/ccm.py",
    "cameras.py",
    *(f"kernels/rasterize/{name}.py" for name in ("__init__", "antialias", "fragments", "reference", "cpu", "cuda")),
)
NOT_IN_KEY = ("folder", "captions", "without_tags", "held_out_every", "workers")
"""Keys that select objects or say how they are worked on; an object's maps do not depend on them."""
log = logging.getLogger(__name__)


class MeshFolder:
    """The objects of a folder, each rendered from several cameras. Built as `cls(config)`.

    Files that cannot be read, are too large, have no caption or a tag of `without_tags` are logged and skipped.
    """

    @dataclass(frozen=True)
    class Config:
        """The objects that are rendered, and their cameras."""

        folder: str
        """Folder of GLB, OBJ, PLY, STL, OFF or COLLADA (.dae) files, also in inner folders."""
        captions: str = "captions.json"
        """JSON file of captions (and tags) in the folder; see `data/captions.py`."""
        without_tags: tuple[str, ...] = ("point cloud", "low poly", "lowpoly", "scan")
        """Objects with one of these tags are skipped."""
        views: Count = 16
        """Cameras of each object."""
        seed: Seed = 0
        """Seed of the cameras."""
        size: Pixels = 64
        """Side length in pixels of the maps."""
        supersample: Samples = 2
        """Maps are rendered this many times larger and averaged."""
        up: Literal["y", "z"] = "y"
        """The files' upward axis: y, with the front at +z, as in glTF, or z, with the front at -y, as in Blender. Files
        that say it themselves (COLLADA) are read as they say."""
        distance: DistanceRange = (1.0, 1.2)
        """Range of the cameras' distances, 1 where the ball around the object just fills the view, so that nothing is
        cut off. The paper's (0.9 to 1.1 times the longest side) cut most objects."""
        fov_deg: FieldOfView = 45.0
        """Vertical field of view."""
        elevation_deg: ElevationRange = (-10.0, 45.0)
        """Range of the elevations, uniform in angle."""
        max_faces: Count = 1_000_000
        """Meshes with more faces are skipped."""
        max_megabytes: Positive = 200.0
        """Larger files are skipped."""
        held_out_every: Annotated[int, Ge(2)] = 20
        """One object in this many, but at least one, is held out for evaluation."""
        workers: Count = 1
        """Processes that render the maps; 1 is this one."""

    def __init__(self, config: Config | None = None, **fields):
        """Raises UserError where the folder or its captions are not there or do not fit."""
        self.config = config = configure(self, config, fields)
        self.objects = captioned(expanded(config.folder), SUFFIXES, config.captions, config.without_tags)

    @functools.cache
    def maps(self, held_out: bool | None = False) -> CoordinateMaps:
        """Returns the maps of the training objects, of the held-out ones (True), or of all (None).

        Raises UserError where none can be read, or none are left.
        """
        names, c2w = self.rendered["names"].tolist(), self.rendered["c2w"]
        numbers = list(range(len(names)))
        if held_out is not None:
            if len(names) < 2:
                raise UserError(
                    f"data.folder: only {len(names)} mesh in '{self.config.folder}' can be used; training needs one "
                    "more, to be held out"
                )
            every = min(self.config.held_out_every, len(names))
            numbers = [i for i in numbers if (i % every == every - 1) == held_out]
        paths = [Path(names[i]) for i in numbers]
        return CoordinateMaps(
            MapFiles(self.config, {path: self.keys[path] for path in paths}),
            c2w[numbers].reshape(-1, 16),
            np.arange(len(paths)).repeat(self.config.views),
            tuple(self.objects[path] for path in paths),
        )

    @functools.cached_property
    def keys(self) -> dict[Path, str]:
        """Texts that say all that each object's maps depend on."""
        chosen = {name: value for name, value in asdict(self.config).items() if name not in NOT_IN_KEY}
        code = sources(Path(__file__).parent.parent, *RENDERING_SOURCES)
        stamps = ((path, path.stat()) for path in self.objects)
        return {path: repr((chosen, str(path), stamp.st_size, stamp.st_mtime_ns)) + code for path, stamp in stamps}

    @functools.cached_property
    def rendered(self) -> dict[str, np.ndarray]:
        """`names` of the M usable objects, in order, and `c2w` [M, V, 16]; their maps are cached by then."""
        return cached("meshes", repr(list(self.keys.values())), self.render_all)

    def render_all(self) -> dict[str, np.ndarray]:
        """Renders the maps that are not cached yet. Raises UserError where no object can be used."""
        paths = list(self.objects)
        order = np.random.default_rng(os.getpid()).permutation(len(paths))  # other processes begin elsewhere
        shuffled = [paths[i] for i in order]
        keyed = [(path, self.keys[path]) for path in shuffled]
        reasons = in_processes(functools.partial(failure_reason, self.config), keyed, self.config.workers)
        unusable = set()
        for path, reason in zip(shuffled, progress(reasons, "drawing meshes", len(shuffled)), strict=True):
            if reason is not None:
                unusable.add(path)
                log.warning("%s", reason)
        skipped("cannot be used, for the reasons above", sorted(path.name for path in unusable))
        if len(unusable) == len(paths):
            raise UserError(
                f"data.folder: none of the {len(paths)} meshes in '{self.config.folder}' can be used; see the reasons "
                "above"
            )
        paths = [path for path in paths if path not in unusable]
        c2w = np.stack([random_cameras(self.config, path).c2w.reshape(-1, 16).numpy() for path in paths])
        return {"names": np.array([str(path) for path in paths]), "c2w": c2w}


class MapFiles:
    """The maps of many objects, one after the other, read from their files row by row."""

    def __init__(self, config: MeshFolder.Config, keys: dict[Path, str]):
        self.config, self.objects = config, list(keys.items())

    def __getitem__(self, rows: Int[np.ndarray, "B"]) -> UInt8[np.ndarray, "B S S 4"]:
        indices = (divmod(row, self.config.views) for row in rows)
        return np.stack([cached_maps(self.config, *self.objects[i])[view] for i, view in indices])


def in_processes(function: Callable, items: list, workers: int) -> Iterator:
    """Applies a function to each item in a pool, in order. Raises UserError where a process is killed."""
    if workers == 1:
        yield from map(function, items)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=init_worker) as pool:
        try:
            yield from pool.map(function, items, chunksize=8)
        except BrokenProcessPool:
            raise UserError(
                f"data.workers: one of {workers} processes was killed, perhaps for want of memory; take fewer, or a "
                "smaller max_faces; what is drawn is kept"
            ) from None


def init_worker() -> None:
    """Sets up a process of the pool: one thread, and Ctrl-C is left to its parent."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def failure_reason(config: MeshFolder.Config, keyed: tuple[Path, str]) -> str | None:
    """Returns the reason why an object cannot be rendered; None where its maps are cached now."""
    try:
        cached_maps(config, *keyed)
    except UserError as error:
        return str(error)
    return None


def cached_maps(config: MeshFolder.Config, path: Path, key: str) -> UInt8[np.ndarray, "V S S 4"]:
    """Reads an object's maps as bytes, rendered at the first use. Raises UserError."""
    return cached_memmap("mesh", key, (config.size, config.size, 4), lambda: [render_maps(config, path)])


def render_maps(config: MeshFolder.Config, path: Path) -> UInt8[np.ndarray, "V S S 4"]:
    """Renders an object's maps. Raises UserError for a mesh that cannot be read or seen."""
    maps = coordinate_maps(read_checked(config, path), random_cameras(config, path), config.supersample)
    if not maps[..., 3].any():
        raise UserError(f"{path} is seen from no side; its faces have no area")
    return (maps * 255).round().byte().numpy()


def read_checked(config: MeshFolder.Config, path: Path) -> trimesh.Trimesh:
    """Reads the mesh in the scene's frame, the ball around it `BOX_LENGTH` wide.

    Raises UserError, in one sentence, where it is too large or damaged.
    """
    if path.stat().st_size > config.max_megabytes * 1e6:
        raise UserError(
            f"{path} has {path.stat().st_size / 1e6:.0f} MB, more than max_megabytes {config.max_megabytes:g}"
        )
    mesh = read_mesh(path, config.up)
    if len(mesh.faces) > config.max_faces:
        raise UserError(f"{path} has {len(mesh.faces)} faces, more than max_faces {config.max_faces}")
    radius = np.linalg.norm(mesh.vertices[np.unique(mesh.faces)], axis=1).max()
    mesh.vertices *= 0.5 * BOX_LENGTH / radius
    return mesh


def random_cameras(config: MeshFolder.Config, path: Path) -> Cameras:
    """Draws the cameras of one object; they do not depend on the others."""
    name = path.relative_to(expanded(config.folder)).as_posix()
    rng = np.random.default_rng([config.seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])])

    def uniform(low, high):
        return torch.from_numpy(rng.uniform(low, high, config.views).astype(np.float32))

    fov = torch.full((config.views,), math.radians(config.fov_deg))
    fits = 0.5 * BOX_LENGTH / math.sin(0.5 * math.radians(config.fov_deg))
    return orbit_cameras(
        uniform(-math.pi, math.pi),
        torch.deg2rad(uniform(*config.elevation_deg)),
        fits * uniform(*config.distance),
        fov,
        config.size,
        config.size,
    )


class Shape:
    """A mesh as the mesh renderer takes one; without colours."""

    surface_fields: frozenset[str] = frozenset()

    def __init__(self, mesh: trimesh.Trimesh):
        self.vertices = torch.from_numpy(np.asarray(mesh.vertices, dtype=np.float32))
        self.faces = torch.from_numpy(np.asarray(mesh.faces, dtype=np.int64))

    def surface(self) -> Surface:
        """Returns the mesh as a surface."""
        return Surface.of(self.vertices, self.faces)

    def material(self, x: Tensor) -> Tensor:
        """Returns black: maps need no colour."""
        return torch.zeros_like(x)

    def background(self, directions: Tensor, generator: torch.Generator | None) -> Tensor:
        """Returns black."""
        return torch.zeros_like(directions)

    def mesh(self, settings: MeshSettings | None = None) -> Mesh:
        """Returns the mesh in black, whatever the settings."""
        return Mesh(self.vertices.numpy(), self.faces.numpy(), np.zeros_like(self.vertices.numpy()))


@torch.no_grad()
def coordinate_maps(mesh: trimesh.Trimesh, cameras: Cameras, supersample: int = 2) -> Tensor:
    """Renders maps `[B, H, W, 4]` in 0..1, scaled to the mesh's own tight box."""
    view = MeshRenderer(MeshRenderer.Config(supersample))(Shape(mesh), cameras, Shading())
    low, high = (torch.as_tensor(0.5 * bound + 0.5, dtype=torch.float32)[None] for bound in mesh.bounds)
    return canonical_coordinates(view, low, high)
