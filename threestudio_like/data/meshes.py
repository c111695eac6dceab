"""Coordinate maps of any folder of GLB, OBJ or PLY files with captions (SweetDreamer, section 3.2, and appendix).

`captions.json` in the folder says what each file shows, files of inner folders by their paths from there:
`{"chairs/red.glb": "a chair"}`, a list of captions, of which one is taken at random each time, or
`{"chairs/red.glb": {"captions": [...], "tags": [...]}}`.
"""

import functools
import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from torch import Tensor
from tqdm import tqdm

from threestudio_like.cameras import Cameras, orbit_cameras
from threestudio_like.config import register
from threestudio_like.data.cache import kept, sources
from threestudio_like.data.coordinates import CoordinateMaps
from threestudio_like.errors import UserError
from threestudio_like.renderers.ccm import canonical_coordinates
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.mesh import Surface
from threestudio_like.scenes.signed_distance import BOX_LENGTH, read_mesh

SUFFIXES = (".glb", ".gltf", ".obj", ".ply")
NAMED = 5
DRAWN_BY = ("data/meshes.py", "scenes/signed_distance.py", "renderers/mesh.py", "renderers/ccm.py", "cameras.py",
            *(f"kernels/rasterize/{name}.py" for name in ("__init__", "antialias", "fragments", "reference", "cpu", "cuda")))
log = logging.getLogger(__name__)


@register("coordinates", "meshes")
class MeshFolder:
    """The objects of a folder, each seen by several cameras. Built as `cls(config)`.

    Files that cannot be read, are too large, have no caption or a tag of `without_tags` are named and skipped.
    """

    @dataclass(frozen=True)
    class Config:
        """Distances are relative to where a ball as long as the object just fills the view; files above `max_faces` or
        `max_megabytes` are skipped; one object in `held_out_every`, but at least one, is kept for evaluation."""

        folder: str
        captions: str = "captions.json"
        without_tags: tuple[str, ...] = ("point cloud", "low poly", "lowpoly", "scan")
        views: int = 16
        seed: int = 0
        size: int = 64
        supersample: int = 2
        distance: tuple[float, float] = (0.9, 1.1)
        fov_deg: float = 45.0
        elevation_deg: tuple[float, float] = (-10.0, 45.0)
        max_faces: int = 1_000_000
        max_megabytes: float = 200.0
        held_out_every: int = 20

        def __post_init__(self):
            if min(self.views, self.size, self.supersample) < 1:
                raise ValueError(f"views, size and supersample must be at least 1, got {self.views}, {self.size}, {self.supersample}")
            if not 0 < self.fov_deg < 180:
                raise ValueError(f"fov_deg must lie between 0 and 180, got {self.fov_deg}")
            if self.held_out_every < 2:
                raise ValueError(f"held_out_every must be at least 2, got {self.held_out_every}")

    def __init__(self, config: Config):
        """Raises UserError where the folder or its captions are not there or do not fit."""
        self.config = config
        self.objects = chosen_objects(config)

    @functools.cache
    def maps(self, held_out: bool | None = False) -> CoordinateMaps:
        """Of the training objects, of the held-out ones (True), or of all (None). Raises UserError where none can be read, or
        none are left."""
        if held_out is None:
            return self.all
        count = len(self.all.captions)
        if count < 2:
            raise UserError(f"data.folder: only {count} mesh in '{self.config.folder}' can be used; training needs one more, to be "
                            "held out")
        every = min(self.config.held_out_every, count)
        return self.all.of([i for i in range(count) if (i % every == every - 1) == held_out])

    @functools.cached_property
    def all(self) -> CoordinateMaps:
        """Of every object that can be read; made or read from the cache at the first use."""
        stamps = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in self.objects]
        key = repr((asdict(self.config), stamps)) + sources(Path(__file__).parent.parent, *DRAWN_BY)
        stored = kept("meshes", key, lambda: take(self.config, list(self.objects)))
        captions = tuple(self.objects[Path(name)] for name in stored["names"].tolist())
        return CoordinateMaps(stored["maps"], stored["c2w"], stored["object"], captions)


def chosen_objects(config: MeshFolder.Config) -> dict[Path, tuple[str, ...]]:
    """The captions of each file that is to be used, in the order of their names."""
    folder = Path(config.folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"data.folder: '{config.folder}' is not a folder")
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))
             if path.suffix.lower() in SUFFIXES and path.is_file()}
    told = read_captions(folder / config.captions)
    unwanted = {name for name, (_, tags) in told.items() if set(tags) & set(config.without_tags)}
    skipped("have no caption", [name for name in files if name not in told])
    skipped("are captioned but not there", [name for name in told if name not in files])
    skipped(f"have one of the tags {', '.join(config.without_tags)}", sorted(unwanted))
    objects = {path: told[name][0] for name, path in files.items() if name in told and name not in unwanted}
    if not objects:
        raise UserError(f"{folder / config.captions} names none of the {len(files)} GLB, OBJ and PLY files of its folder")
    return objects


def read_captions(path: Path) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Captions and tags by file name. Raises UserError."""
    try:
        node = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; it says what each mesh shows: {{\"chair.glb\": \"a chair\"}}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error})") from None
    if not isinstance(node, dict):
        raise UserError(f"{path} is not a map from file names to captions")
    told, bad = {}, []
    for name, value in node.items():
        value = value if isinstance(value, dict) else {"captions": value}
        captions, tags = ([said] if isinstance(said, str) else said or [] for said in (value.get("captions"), value.get("tags")))
        texts = isinstance(captions, list) and captions and all(isinstance(text, str) for text in captions)
        if not texts or not isinstance(tags, list):
            bad.append(name)
            continue
        told[name] = tuple(captions), tuple(str(tag).lower() for tag in tags)
    skipped("have captions or tags that are neither a text nor a list of texts", bad)
    return told


def skipped(why: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        log.warning("skipped: %d files %s: %s%s", len(names), why, ", ".join(names[:NAMED]), more)


def take(config: MeshFolder.Config, paths: list[Path]) -> dict[str, np.ndarray]:
    """The arrays of a `CoordinateMaps`, and the `names` of the files that could be read."""
    rng = np.random.default_rng(config.seed)
    maps, c2w, names, bad = [], [], [], []
    for path in tqdm(paths, desc="meshes", disable=None):
        cameras = random_cameras(config, rng)
        try:
            seen = coordinate_maps(checked(config, path), cameras, config.supersample)
            if not seen[..., 3].any():
                raise UserError(f"{path} is seen from no side; its faces have no area")
        except UserError as error:
            bad.append(path.name)
            log.warning("%s", error)
            continue
        maps.append((seen * 255).round().byte().numpy())
        c2w.append(cameras.c2w.reshape(-1, 16).numpy())
        names.append(str(path))
    skipped("cannot be used, for the reasons above", bad)
    if not maps:
        raise UserError(f"data.folder: none of the {len(paths)} meshes in '{config.folder}' can be used; see the reasons above")
    return {"maps": np.concatenate(maps), "c2w": np.concatenate(c2w), "names": np.array(names),
            "object": np.arange(len(maps)).repeat(config.views)}


def checked(config: MeshFolder.Config, path: Path) -> trimesh.Trimesh:
    """The mesh in the scene's frame. Raises UserError, in one sentence."""
    if path.stat().st_size > config.max_megabytes * 1e6:
        raise UserError(f"{path} has {path.stat().st_size / 1e6:.0f} MB, more than max_megabytes {config.max_megabytes:g}")
    mesh = read_mesh(path)
    if len(mesh.faces) > config.max_faces:
        raise UserError(f"{path} has {len(mesh.faces)} faces, more than max_faces {config.max_faces}")
    return mesh


def random_cameras(config: MeshFolder.Config, rng: np.random.Generator) -> Cameras:
    uniform = lambda low, high: torch.from_numpy(rng.uniform(low, high, config.views).astype(np.float32))
    fov = torch.full((config.views,), math.radians(config.fov_deg))
    fits = 0.5 * BOX_LENGTH / math.sin(0.5 * math.radians(config.fov_deg))
    return orbit_cameras(uniform(-math.pi, math.pi), torch.deg2rad(uniform(*config.elevation_deg)),
                         fits * uniform(*config.distance), fov, config.size, config.size)


class Shape:
    """A mesh as the mesh renderer takes one; without colours."""

    def __init__(self, mesh: trimesh.Trimesh):
        self.vertices = torch.from_numpy(np.asarray(mesh.vertices, dtype=np.float32))
        self.faces = torch.from_numpy(np.asarray(mesh.faces, dtype=np.int64))

    def surface(self) -> Surface:
        return Surface.of(self.vertices, self.faces)

    def material(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def background(self, directions: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.zeros_like(directions)


@torch.no_grad()
def coordinate_maps(mesh: trimesh.Trimesh, cameras: Cameras, supersample: int = 2) -> Tensor:
    """`[B, H, W, 4]` in 0..1, scaled to the mesh's own tight box."""
    view = MeshRenderer(MeshRenderer.Config(supersample))(Shape(mesh), cameras, Shading())
    low, high = (torch.as_tensor(0.5 * bound + 0.5, dtype=torch.float32)[None] for bound in mesh.bounds)
    return canonical_coordinates(view, low, high)
