"""Shows what is finished: a run by its own renderer; files of meshes, and folders of runs, by the browser."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trimesh

from threestudio_like.config.recipe import read_stored
from threestudio_like.engine.run import Run
from threestudio_like.engine.run_folder import METRICS, RECIPE, is_run, read_map, status_of, touches_in
from threestudio_like.errors import UserError, brief
from threestudio_like.export.presentation import Presentation
from threestudio_like.viewer.address import Address
from threestudio_like.viewer.budget import Unbounded
from threestudio_like.viewer.images import presentation, viewable
from threestudio_like.viewer.page import Page
from threestudio_like.viewer.painter import Painter
from threestudio_like.viewer.panel import Look, Status, plain

log = logging.getLogger(__name__)
SUFFIXES = (".glb", ".gltf", ".obj", ".ply")
"""Formats that are y up, front +z, in scene units, as we write them; STL is for printers."""
MESH = "mesh.glb"
FROM_GLTF = (0.5, 0.5, 0.5, 0.5)
"""The rotation, as a quaternion w x y z, from glTF's frame (y up, front +z) into ours (z up, front +x)."""


@dataclass(frozen=True)
class Exhibit:
    """A file of a mesh, and what visitors call it."""

    name: str
    path: Path


def show(path: Path, address: Address) -> None:
    """Serves a page about a finished run, a mesh, or all meshes below a folder, until it is interrupted.

    Raises UserError where there is nothing to show, or nothing can be served.
    """
    if path.is_dir() and is_run(path) and "asked" not in read_map(path / METRICS):
        run = Run.open(path)
        if hasattr(list(run.recipe.stages.values())[-1].cls, "objects"):
            show_run(run, address)
            return
    show_meshes(exhibits(path), address)


def show_run(run: Run, address: Address) -> None:
    """Shows a finished run's object, drawn by the run's own renderer."""
    address.check_free()  # before the model is loaded
    system = viewable(run.system)
    assert system is not None, "it has objects"
    page = Page(address, run.recipe.name)
    Status(page).say(*described(run.folder))
    look, painter = Look(page), Painter(page)
    look.begin(len(system.objects))
    page.stand_at_front(presentation(system))
    serve(page, lambda: painter.paint(system, 0, look.mode, look.place, Unbounded()))


def show_meshes(found: list[Exhibit], address: Address) -> None:
    """Shows meshes, one at a time, drawn by the browser."""
    first = glb(found[0].path)  # a broken file is told before anything is served
    page = Page(address, "meshes" if len(found) > 1 else found[0].name)
    status = Status(page)
    names = tuple(exhibit.name for exhibit in found)
    chosen = page.server.gui.add_dropdown("Shown", names, initial_value=names[0], visible=len(found) > 1)

    def put(data: bytes, path: Path) -> None:
        page.server.scene.add_glb("/mesh", data, wxyz=FROM_GLTF)
        status.say(*described(path.parent), plain(str(path)))

    def change() -> None:
        path = found[names.index(chosen.value)].path
        try:
            put(glb(path), path)
        except UserError as error:
            status.say(plain(str(error)))

    chosen.on_update(lambda event: page.ask(change))
    page.stand_at_front(Presentation())
    put(first, found[0].path)
    serve(page, lambda: None)


def exhibits(path: Path) -> list[Exhibit]:
    """Finds the meshes to show: that of a file, or all runs' below a folder. Raises UserError where there are none."""
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise UserError(f"--view: {path} is not a mesh; give a folder of runs, or a file {', '.join(SUFFIXES)}")
        return [Exhibit(path.name, path)]
    if not path.is_dir():
        raise UserError(f"--view: {path} does not exist")
    found = [
        Exhibit(str(mesh.parent.relative_to(path)) if mesh.parent != path else path.name, mesh)
        for mesh in sorted(path.rglob(MESH))
    ]
    if not found:
        raise UserError(f"--view: {path} holds no run with a {MESH}; give the folder that the launcher printed")
    return found


def glb(path: Path) -> bytes:
    """Reads a mesh as binary glTF, converted where it is of another format. Raises UserError."""
    try:
        if path.suffix.lower() == ".glb":
            data = path.read_bytes()
            trimesh.load_scene(path)  # a browser would show nothing, and say nothing
            return data
        return trimesh.load_scene(path).export(file_type="glb")
    except Exception as error:  # a damaged file fails in as many ways as there are formats
        raise UserError(f"--view: {path} cannot be read as a mesh ({brief(error)})") from None


def described(folder: Path) -> list[str]:
    """Says in a few lines what a run's folder holds; nothing of a folder that is no run's."""
    if not (folder / METRICS).is_file():
        return []
    metrics = read_map(folder / METRICS)
    try:
        prompt = str(read_stored(folder / RECIPE).get("prompt") or "")
    except UserError:
        prompt = ""
    touches = touches_in(metrics)
    figures = {key: value for key, value in metrics.items() if type(value) in (int, float)}
    return [
        f"**{plain(prompt or folder.name)}**",
        f"{plain(status_of(folder, metrics) or 'unfinished')}, {plain(str(folder))}",
        f"changed by hand, so not reproducible: {plain('; '.join(touches))}" if touches else "",
        "\n".join(["| figure | value |", "|---|---|", *(f"| {plain(k)} | {v:.4g} |" for k, v in figures.items())]),
    ]


def serve(page: Page, tend: Callable[[], None]) -> None:
    """Does what visitors ask for until it is interrupted, which is how a page of something finished ends."""
    log.info("open %s; Ctrl-C ends it", page.url)
    try:
        while True:
            page.carry_out()
            tend()
            page.wait(0.1)
    except KeyboardInterrupt:
        log.info("the page is closed")
    finally:
        page.close()
