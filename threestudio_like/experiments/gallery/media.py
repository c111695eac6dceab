"""Shrinks what a run left to what a page can carry.

Imports nothing heavy, as each of a gallery's processes does.
"""

from dataclasses import dataclass
from pathlib import Path

from threestudio_like.experiments.gallery.meshes import packed, read_mesh, simplified
from threestudio_like.experiments.gallery.sheets import Sheet, lay_out, read_frames, read_picture


@dataclass(frozen=True)
class Size:
    """Limits what a page carries of each result."""

    frames: int
    """Frames of a turntable, at most."""
    pixels: int
    """Their side, at most."""
    faces: int
    """Faces of a mesh, at most."""
    sheet_bytes: int
    """Bytes of a turntable, at most, where the lowest quality allows it."""


@dataclass(frozen=True)
class Shrunk:
    """Holds what a page carries of one result."""

    sheet: Sheet | None
    mesh: str
    """The mesh as `meshes.packed` has it; empty where there is none."""
    note: str
    """What is there and cannot be read, in a sentence; empty where all could."""


def shrink(folder: Path, still: Path | None, mesh: Path | None, size: Size) -> Shrunk:
    """Shrinks a result's turntable, or `still` where it has none, and its mesh. What cannot be read is told."""
    notes, packed_mesh = [], ""
    frames = read_frames(folder)
    if frames is None and still is not None:
        try:
            frames = [read_picture(still)]
        except Exception:  # readers of damaged files raise what they like
            notes.append(f"{still.name} cannot be read.")
    if mesh is not None:
        try:
            packed_mesh = packed(*simplified(*read_mesh(mesh), size.faces))
        except Exception:
            notes.append(f"{mesh.name} cannot be read as a mesh.")
    sheet = lay_out(frames, size.frames, size.pixels, size.sheet_bytes) if frames else None
    return Shrunk(sheet, packed_mesh, " ".join(notes))
