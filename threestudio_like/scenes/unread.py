"""Names what a mesh file holds that its reader passes over, before it is read as something else than it is."""

import json
import logging
import re
import struct
from pathlib import Path
from typing import Literal

from threestudio_like.errors import UserError
from threestudio_like.utils.files import read_json, regular

log = logging.getLogger(__name__)
GEOMETRY = {
    "KHR_draco_mesh_compression": "compressed by Draco",
    "EXT_meshopt_compression": "compressed by meshopt",
    "KHR_meshopt_compression": "compressed by meshopt",
    "EXT_mesh_gpu_instancing": "drawn as instances",
}
"""Extensions of glTF that change the geometry and are not read."""
HARMLESS = ("KHR_materials_", "KHR_texture_", "KHR_lights_", "EXT_texture_", "KHR_mesh_quantization", "KHR_xmp")
"""Beginnings of the names of extensions that leave the geometry as it is, or that are read."""


def refuse_unread(path: Path) -> None:
    """Raises UserError for a glTF or PLY file whose geometry would be read in part only; logs that joints are ignored.

    Other files, and damaged ones, are left to their reader.
    """
    suffix = path.suffix.lower()
    if suffix in (".glb", ".gltf"):
        tree = gltf_tree(path)
        needed = {*extensions(tree, "Required"), *(GEOMETRY.keys() & set(extensions(tree, "Used")))}
        for name in sorted(needed):
            if not name.startswith(HARMLESS):
                said = f"is {GEOMETRY[name]} ({name})" if name in GEOMETRY else f"needs the extension {name}"
                raise UserError(f"{path} {said}, which is not read; export it without")
        if tree.get("skins"):
            log.warning("%s: its joints are ignored; it is read as it was modelled", path)
    elif suffix == ".ply" and b"element tristrips" in head(path, 4096):
        raise UserError(f"{path} holds triangle strips, which are not read; export it with faces")


def extensions(tree: dict, how: Literal["Used", "Required"]) -> list[str]:
    """Lists the extensions that a glTF tree uses, or requires."""
    found = tree.get(f"extensions{how}")
    return [str(name) for name in found] if isinstance(found, list) else []


def stated_up(path: Path) -> str | None:
    """Returns the upward axis that a COLLADA file states; None for other files. Raises UserError where that is x."""
    if path.suffix.lower() != ".dae":
        return None
    said = re.search(rb"<up_axis>\s*([XYZ])_UP", regular(path).read_bytes())
    if said is not None and said[1] == b"X":
        raise UserError(f"{path} has x up, which is not read; export it with y or z up")
    return "y" if said is None else said[1].decode().lower()


def gltf_tree(path: Path) -> dict:
    """Reads the JSON of a glTF file, binary or not; empty where there is none."""
    try:
        start = head(path, 20)
        binary = start[:4] == b"glTF"
        tree = json.loads(head(path, 20 + struct.unpack("<I", start[12:16])[0])[20:]) if binary else read_json(path)
    except (OSError, ValueError, struct.error, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}


def head(path: Path, count: int) -> bytes:
    """Reads the first bytes of a file; nothing of one that is not there."""
    try:
        with regular(path).open("rb") as file:
            return file.read(count)
    except OSError:
        return b""
