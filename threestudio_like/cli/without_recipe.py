"""The things that a command line can ask for without a recipe: they share, show or convert what is there."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threestudio_like.config.loading import parse_override
from threestudio_like.config.registry import find, parse_component, registered
from threestudio_like.errors import UserError, nearest
from threestudio_like.utils.paths import expanded
from threestudio_like.viewer.address import PORT, Address

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShareRequest:
    """A run or a trained model that is copied to the hub, or from it."""

    action: str
    """`push` or `pull`."""
    name: str
    to: str
    private: bool = True
    """Whether a new repository is private."""
    licence: str | None = None

    @staticmethod
    def of(action: str, name: str, keys: tuple[str, ...]) -> "ShareRequest":
        """Reads `to=`, and to push `private=` and `license=`. Raises UserError."""
        given = {key: value for key, _, value in (text.partition("=") for text in keys)}
        known = ("to", "private", "license") if action == "push" else ("to",)
        unknown = next((key for key in given if key not in known), None)
        if unknown is not None:
            raise UserError(f"--{action}: unknown key '{unknown}'{nearest(unknown, known)}")
        if not given.get("to"):
            raise UserError(f"--{action}: say where to, as to={'OWNER/NAME or to=FOLDER' if known[1:] else 'FOLDER'}")
        if given.get("private", "true") not in ("true", "false"):
            raise UserError(f"--{action}: private is true or false, got '{given['private']}'")
        return ShareRequest(action, name, given["to"], given.get("private") != "false", given.get("license"))

    def carry_out(self) -> int:
        """Copies it and prints where it is now; returns the exit code."""
        from threestudio_like.export import hub

        if self.action == "push":
            print(hub.push(self.name, self.to, self.private, self.licence))
        else:
            print(hub.pull(self.name, self.to))
        return 0


@dataclass(frozen=True)
class GalleryRequest:
    """One page over all runs under a folder."""

    folder: Path
    page: Path

    @staticmethod
    def of(action: str, name: str, keys: tuple[str, ...]) -> "GalleryRequest":
        """Reads `out=`, the page's file or folder; by default it lies in the runs' folder. Raises UserError."""
        folder = expanded(name)
        for key in keys:
            if not key.startswith("out="):
                raise UserError(f"--gallery: '{key}' means nothing for it; out=FILE.html is where the page goes")
        out = expanded(keys[-1].removeprefix("out=")) if keys else folder
        return GalleryRequest(folder, out if out.suffix == ".html" and not out.is_dir() else out / "gallery.html")

    def carry_out(self) -> int:
        """Writes the page; returns the exit code."""
        from threestudio_like.experiments import gallery

        log.info("%s", gallery.write(self.folder, self.page))
        print(self.page)
        return 0


@dataclass(frozen=True)
class ConvertRequest:
    """A model's published file, into a folder that recipes can name."""

    file: Path
    out: Path
    keys: dict[str, Any]
    """Those of the converter that recognises the file."""

    @staticmethod
    def of(action: str, name: str, keys: tuple[str, ...]) -> "ConvertRequest":
        """Reads `out=`, and what a converter takes. Raises UserError."""
        file = expanded(name)
        asked: dict[str, Any] = {}
        for key in keys:
            asked |= {"out": key.removeprefix("out=")} if key.startswith("out=") else parse_override(key)
        out = asked.pop("out", "") or f"outputs/converted/{file.stem}"
        return ConvertRequest(file, expanded(out), asked)

    def carry_out(self) -> int:
        """Writes the folder whole or not at all, and prints it; returns the exit code."""
        from threestudio_like.utils.files import new_folder
        from threestudio_like.utils.pickled import read_tensors

        tensors, known = read_tensors(self.file), registered("converter")
        kind = next((name for name in known if find("converter", name).recognises(tensors)), None)
        if kind is None:
            names = ", ".join(known)
            raise UserError(f"{self.file}: these weights are of no model that can be converted; known: {names}")
        converter = parse_component("converter", {"type": kind} | self.keys, "").build()
        with new_folder(self.out) as folder:
            try:
                converter.convert(tensors, folder)
            except UserError as error:
                raise UserError(f"{self.file}: {error}") from None
        print(self.out)
        return 0


@dataclass(frozen=True)
class ViewRequest:
    """A page about a finished run, a file of a mesh, or a folder of runs."""

    path: Path
    address: Address

    def carry_out(self) -> int:
        """Serves the page until it is interrupted; returns the exit code."""
        from threestudio_like.viewer.finished import show

        show(self.path, self.address)
        return 0


@dataclass(frozen=True)
class DemoRequest:
    """A page on which visitors make meshes."""

    folder: Path
    """Where the runs' folders go."""
    address: Address

    @staticmethod
    def of(action: str, name: str, keys: tuple[str, ...]) -> "DemoRequest":
        """Reads the address, and `out=`, the folder of the runs. Raises UserError."""
        for key in keys:
            if not key.startswith("out="):
                raise UserError(f"--demo: '{key}' means nothing for it; out=FOLDER is where its runs go")
        out = expanded((keys[-1].removeprefix("out=") if keys else "") or "outputs/demo")
        return DemoRequest(out, Address.read(name, "--demo"))

    def carry_out(self) -> int:
        """Serves the page until it is interrupted; returns the exit code."""
        from threestudio_like.demo.server import serve

        serve(self.folder, self.address)
        return 0


NamedRequest = ShareRequest | GalleryRequest | ConvertRequest | DemoRequest
Request = NamedRequest | ViewRequest


@dataclass(frozen=True)
class Option:
    """An option of the launcher that names what it is about, and needs no recipe."""

    metavar: str
    about: str
    request: type[NamedRequest]
    otherwise: str | None = None
    """What counts where nothing stands after the option; None where something must."""


OPTIONS = {
    "push": Option(
        "FOLDER",
        "copy a finished run or a trained model to the hub, to=OWNER/NAME, or to a folder, to=FOLDER",
        ShareRequest,
    ),
    "pull": Option("NAME", "copy such a one from the hub (OWNER/NAME) or from a folder, to=FOLDER", ShareRequest),
    "gallery": Option(
        "FOLDER", "one page over all runs in FOLDER, which turn in 3D; out=FILE.html names it", GalleryRequest
    ),
    "convert": Option(
        "FILE",
        "a model's published file (InstantMesh's .ckpt, its U-Net .bin) to a model folder, out=FOLDER",
        ConvertRequest,
    ),
    "demo": Option(
        "[HOST:]PORT",
        f"serve a page on which visitors make meshes of images and texts (port {PORT}); out=FOLDER has their runs",
        DemoRequest,
        str(PORT),
    ),
}
"""By their names."""
