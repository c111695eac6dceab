"""Saves the mesh of an object that is looked at."""

import logging
from pathlib import Path

from threestudio_like.errors import NoSurfaceError, brief
from threestudio_like.export.mesh_io import write_mesh
from threestudio_like.export.origin import Origin
from threestudio_like.scenes.convert import remove_small_components
from threestudio_like.viewer.images import Viewable, presentation

log = logging.getLogger(__name__)
FOLDER = "meshes"
"""The place of the saved meshes, in the run's folder."""


def save_mesh(system: Viewable, place: int, folder: Path, name: str) -> str:
    """Writes `meshes/<name>.glb` of one of a system's objects; returns a sentence on what became of it."""
    several = f"-{place + 1}" if len(system.objects) > 1 else ""
    path, show = folder / FOLDER / f"{name}{several}.glb", presentation(system)
    try:
        mesh = remove_small_components(system.objects[place].visible(show).mesh(), show.smallest_part)
        path.parent.mkdir(exist_ok=True)
        write_mesh(mesh, path, Origin(system.prompt, system.prompt))
    except (NoSurfaceError, OSError) as error:
        told = f"no mesh was saved: {brief(error)}"
    else:
        told = f"saved {path}"
    log.info("%s", told)
    return told
