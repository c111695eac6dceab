"""The captions of a folder's files, from its `captions.json`.

Files of inner folders are named by their paths from there. A value is a text: `{"chairs/red.glb": "a chair"}`, a list
of texts, of which one is drawn at random each time, or `{"chairs/red.glb": {"captions": [...], "tags": [...]}}`.
"""

import logging
from pathlib import Path

from threestudio_like.config.scalars import is_unicode
from threestudio_like.errors import UserError
from threestudio_like.utils import files

NAMED = 5
log = logging.getLogger(__name__)


def captioned(
    folder: Path, suffixes: tuple[str, ...], captions: str, without_tags: tuple[str, ...]
) -> dict[Path, tuple[str, ...]]:
    """Reads the captions of each file of these suffixes that has some, and none of the tags, in the order of their
    names.

    Files that are left out are logged. Raises UserError where the folder or its captions are not there or do not fit.
    """
    if not folder.is_dir():
        raise UserError(f"data.folder: '{folder}' is not a folder")
    there = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {name: path for name, path in there.items() if path.suffix.lower() in suffixes}
    entries = read_captions(folder / captions)
    unwanted = {name for name, (_, tags) in entries.items() if set(tags) & set(without_tags)}
    skipped("have no caption", [name for name in files if name not in entries])
    skipped(
        f"are none of {', '.join(suffixes)}; export them as GLB",
        [name for name in entries if name in {*there} - {*files}],
    )
    skipped("are captioned but not there", [name for name in entries if name not in there])
    skipped(f"have one of the tags {', '.join(without_tags)}", sorted(unwanted))
    objects = {path: entries[name][0] for name, path in files.items() if name in entries and name not in unwanted}
    if not objects:
        raise UserError(f"{folder / captions} names none of the {len(files)} meshes of its folder")
    return objects


def read_captions(path: Path) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Reads captions and tags by file name. Raises UserError where the file is missing or malformed."""
    try:
        node = files.read_json(path)
    except FileNotFoundError:
        raise UserError(f'{path} is missing; it says what each mesh shows: {{"chair.glb": "a chair"}}') from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error})") from None
    if not isinstance(node, dict):
        raise UserError(f"{path} is not a map from file names to captions")
    entries, bad = {}, []
    for name, value in node.items():
        value = value if isinstance(value, dict) else {"captions": value}
        captions, tags = (
            [value] if isinstance(value, str) else value or [] for value in (value.get("captions"), value.get("tags"))
        )
        are_lists = isinstance(captions, list) and isinstance(tags, list)
        if not are_lists or not captions or not all(isinstance(text, str) and is_unicode(text) for text in captions):
            bad.append(name)
            continue
        entries[name] = tuple(captions), tuple(str(tag).lower() for tag in tags)
    skipped("have captions or tags that are neither a text nor a list of texts", bad)
    return entries


def skipped(reason: str, names: list[str]) -> None:
    """Logs that files are skipped, naming the first few."""
    if names:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        log.warning("skipped: %d files %s: %s%s", len(names), reason, ", ".join(names[:NAMED]), more)
