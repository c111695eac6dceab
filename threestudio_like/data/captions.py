"""Which files of a folder show what.

`captions.json` in the folder says it, of files of inner folders by their paths from there: `{"chairs/red.glb": "a chair"}`, a
list of captions, of which one is taken at random each time, or `{"chairs/red.glb": {"captions": [...], "tags": [...]}}`.
"""

import json
import logging
from pathlib import Path

from threestudio_like.errors import UserError

NAMED = 5
log = logging.getLogger(__name__)


def captioned(
    folder: Path, suffixes: tuple[str, ...], captions: str, without_tags: tuple[str, ...]
) -> dict[Path, tuple[str, ...]]:
    """The captions of each file of these suffixes that has some, and none of the tags, in the order of their names.

    What is left out is named. Raises UserError where the folder or its captions are not there or do not fit.
    """
    if not folder.is_dir():
        raise UserError(f"data.folder: '{folder}' is not a folder")
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in suffixes and path.is_file()
    }
    told = read_captions(folder / captions)
    unwanted = {name for name, (_, tags) in told.items() if set(tags) & set(without_tags)}
    skipped("have no caption", [name for name in files if name not in told])
    skipped("are captioned but not there", [name for name in told if name not in files])
    skipped(f"have one of the tags {', '.join(without_tags)}", sorted(unwanted))
    objects = {path: told[name][0] for name, path in files.items() if name in told and name not in unwanted}
    if not objects:
        raise UserError(f"{folder / captions} names none of the {len(files)} meshes of its folder")
    return objects


def read_captions(path: Path) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Captions and tags by file name. Raises UserError."""
    try:
        node = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f'{path} is missing; it says what each mesh shows: {{"chair.glb": "a chair"}}') from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error})") from None
    if not isinstance(node, dict):
        raise UserError(f"{path} is not a map from file names to captions")
    told, bad = {}, []
    for name, value in node.items():
        value = value if isinstance(value, dict) else {"captions": value}
        captions, tags = (
            [said] if isinstance(said, str) else said or [] for said in (value.get("captions"), value.get("tags"))
        )
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
