"""Meshes as files that other tools open, in each tool's own frame and units."""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from trimesh.visual import ColorVisuals

from threestudio_like.errors import NoSurfaceError, UserError, nearest
from threestudio_like.export.frames import in_gltf_frame, in_printers_frame
from threestudio_like.export.gltf import write_glb
from threestudio_like.export.obj import write_obj
from threestudio_like.export.origin import Origin
from threestudio_like.export.pictures import to_bytes
from threestudio_like.export.usdz import write_usdz
from threestudio_like.scenes.mesh import Mesh
from threestudio_like.utils.files import write_atomically

log = logging.getLogger(__name__)
FORMATS = ("glb", "obj", "ply", "stl", "usdz")
FILES = (*(f"mesh.{name}" for name in (*FORMATS, "mtl", "png")), "mesh_roughness.png", "mesh_metallic.png")
"""All that an export may consist of."""
SIZE_MM = 100.0
"""Millimetres of an object's longest side in formats that have a unit, where nothing else is said."""
UNKNOWN = Origin()


def check_formats(formats: Iterable[str]) -> None:
    """Raises UserError for a format that is not written."""
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"formats: cannot write '{name}'{nearest(name, FORMATS)}")


def write_meshes(
    mesh: Mesh, folder: Path, formats: Iterable[str], origin: Origin = UNKNOWN, size_mm: float = SIZE_MM
) -> None:
    """Writes `mesh.<format>` in each format; what an earlier export left does not stay beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in FILES:
        (folder / earlier).unlink(missing_ok=True)
    for suffix in formats:
        write_mesh(mesh, folder / f"mesh.{suffix}", origin, size_mm)


def no_mesh(folder: Path, error: NoSurfaceError) -> None:
    """Logs that there is no mesh. Raises NoSurfaceError where an earlier one would stand beside the figures of none."""
    earlier = next((folder / name for name in FILES if (folder / name).exists()), None)
    if earlier is not None:
        raise NoSurfaceError(f"no mesh was written: {error}; {earlier} is left as it was") from None
    log.warning("no mesh was written: %s", error)


def write_mesh(mesh: Mesh, path: str | Path, origin: Origin = UNKNOWN, size_mm: float = SIZE_MM) -> None:
    """Writes a mesh atomically, in the format of the path's suffix; the origin goes with it where the format has room.

    GLB, OBJ and PLY are y up, front +z, in scene units. STL is z up, front -y, in millimetres, and USDZ y up, front
    +z, in metres; in both the longest side is `size_mm` long, and the object stands on the floor.

    The texture goes with it where it has one (not in PLY and STL), else colours at vertices (not in STL): linear in
    GLB, as glTF says, and sRGB elsewhere. Raises UserError for another suffix.
    """
    path = Path(path)
    check_formats([path.suffix[1:]])
    match path.suffix:
        case ".glb":
            write_glb(mesh, path, origin)
        case ".obj":
            write_obj(mesh, path, origin)
        case ".ply":
            write_ply(mesh, path)
        case ".stl":
            body = in_printers_frame(mesh, size_mm)
            write_atomically(path, lambda unfinished: body.export(unfinished, file_type="stl"))
        case ".usdz":
            write_usdz(mesh, path, origin, size_mm)


def write_ply(mesh: Mesh, path: Path) -> None:
    """Writes a mesh with normals, and sRGB colours at its vertices."""
    body = in_gltf_frame(mesh)
    rgba = np.concatenate([mesh.colors, np.ones((len(mesh.colors), 1))], axis=1)
    body.visual = ColorVisuals(body, vertex_colors=to_bytes(rgba))
    write_atomically(path, lambda unfinished: body.export(unfinished, file_type="ply", vertex_normal=True))
