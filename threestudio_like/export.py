"""Meshes as files that other tools open: GLB, OBJ and PLY, y up and front +z as in glTF."""

from pathlib import Path

import numpy as np
import trimesh

from threestudio_like.checkpoint import write_atomically
from threestudio_like.errors import UserError, nearest
from threestudio_like.scenes.mesh import Mesh

FORMATS = ("glb", "obj", "ply")


def check_formats(formats) -> None:
    """Raises UserError for a format that is not written."""
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"formats: cannot write '{name}'{nearest(name, FORMATS)}")


def linear_from_srgb(color: np.ndarray) -> np.ndarray:
    """The sRGB transfer function undone (IEC 61966-2-1); values in 0..1."""
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def write_mesh(mesh: Mesh, path: Path) -> None:
    """Writes by the path's suffix, atomically. Vertex colours are linear in GLB, as glTF says, and sRGB elsewhere."""
    colors = linear_from_srgb(mesh.colors) if path.suffix == ".glb" else mesh.colors
    rgba = np.concatenate([colors, np.ones((len(colors), 1))], axis=1)
    body = trimesh.Trimesh(mesh.vertices[:, [1, 2, 0]], mesh.faces, process=False,
                           vertex_colors=(rgba.clip(0, 1) * 255).round().astype(np.uint8))
    write_atomically(path, lambda unfinished: body.export(unfinished, file_type=path.suffix[1:]))
