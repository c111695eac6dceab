"""Finds the meshes that were made elsewhere: the file of each prompt and seed of a comparison.

A file's name has the prompt in small letters and digits, its first 60, with `-` or `_` for all else:
`a-red-chair-0.glb` or `a_red_chair-0.glb` is seed 0 of "a red chair".
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from threestudio_like.config.recipe import slug
from threestudio_like.errors import UserError
from threestudio_like.utils.paths import expanded

SUFFIXES = (".glb", ".gltf", ".obj", ".ply")
"""Formats that are looked for, in this order, where the path names none."""
PLACES = ("{prompt}", "{seed}")


def find(meshes: str, prompts: Sequence[str], seeds: Sequence[int], beside: Path | None) -> str:
    """Returns the whole path of a comparison's `meshes:`, in this folder or `beside` its file, with `{prompt}` and
    `{seed}` in it.

    Raises UserError where no prompt has a mesh, or two have the same.
    """
    own = meshes if any(place in meshes for place in PLACES) else f"{meshes}/{'-'.join(PLACES)}"
    runs = list(itertools.product(prompts, seeds))
    for base in (Path(), *([beside] if beside else [])):
        pattern = str((base / expanded(own)).absolute())
        files = {run: file for run in runs if (file := file_of(pattern, *run)).is_file()}
        if files:
            refuse_shared(files)
            return pattern
    first = next(paths_of(own, prompts[0], seeds[0]))
    raise UserError(f"meshes: there is no mesh of any prompt; the first is looked for as {first}")


def file_of(pattern: str, prompt: str, seed: int) -> Path:
    """Returns the mesh of a prompt and seed; where there is none, the path that it would have."""
    paths = list(paths_of(pattern, prompt, seed))
    return next((path for path in paths if path.is_file()), paths[0])


def paths_of(pattern: str, prompt: str, seed: int) -> Iterator[Path]:
    """Yields all paths that the mesh of a prompt and seed may have."""
    for name in (slug(prompt), slug(prompt).replace("-", "_")):
        path = pattern.replace("{prompt}", name).replace("{seed}", str(seed))
        for suffix in ("",) if path.lower().endswith(SUFFIXES) else SUFFIXES:
            yield Path(f"{path}{suffix}")


def refuse_shared(files: dict[tuple[str, int], Path]) -> None:
    """Raises UserError where two runs have the same file."""
    owner: dict[Path, tuple[str, int]] = {}
    for run, file in files.items():
        other = owner.setdefault(file, run)
        if other != run:
            said = " and ".join(f"'{prompt}', seed {seed}," for prompt, seed in (other, run))
            raise UserError(
                f"meshes: {said} have the same mesh, {file}; put {{prompt}} and {{seed}} where the paths differ"
            )


def stamp(file: Path) -> str:
    """Returns letters that differ where the file's content does, for a folder's name; none where there is no file."""
    if not file.is_file():
        return ""
    with file.open("rb") as data:
        return f"-{hashlib.file_digest(data, 'sha256').hexdigest()[:8]}"
