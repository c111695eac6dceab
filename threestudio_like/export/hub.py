"""Copies runs and trained models to the Hugging Face hub and back, in the hub's folder conventions.

A repository is the folder itself with a model card, `README.md`, at its top. A local folder may take the hub's place.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from threestudio_like import pretrained
from threestudio_like.engine.run_folder import METRICS, RECIPE, is_run, names_in, read_map, status_of
from threestudio_like.errors import UserError, brief
from threestudio_like.export.model_card import CARD, card
from threestudio_like.pretrained import ModelConfig, is_hub_id
from threestudio_like.utils.files import write_atomically, write_text
from threestudio_like.utils.paths import expanded, find_folder

LEFT_HERE = {"log.txt", "sweep.json", "tensorboard", "wandb", "scalars.csv", "previews"}
"""What only says how a run went; the log and the curves may name this machine."""
CHECKPOINTS = Path("checkpoints")


def push(folder: str | Path, to: str, private: bool = True, licence: str | None = None) -> str:
    """Copies a finished run or a trained model to the hub's repository `owner/name`, or into a local folder.

    Writes the model card where the folder has none; `licence` is the hub's name of one, such as `apache-2.0`. A new
    repository is `private`. Returns its address, or the local folder. Raises UserError.
    """
    place = find_folder(folder)
    if place is None:
        raise UserError(f"--push {folder}: there is no such folder")
    check_whole(place)
    files = {path.relative_to(place).as_posix(): path for path in chosen(place)}
    own = files.pop(CARD, None)
    written = own.read_text(encoding="utf-8") if own is not None else card(place, to, sorted(files), licence)
    if not is_hub_id(ModelConfig(to)):
        return str(copied(files, written, expanded(to), f"--push: to={to}"))
    return uploaded(files, written, to, private)


def pull(name: str, to: str | Path) -> Path:
    """Copies a run or a trained model from the hub's repository `owner/name`, or from a local folder, to a new folder.

    Returns the new folder. Raises UserError.
    """
    source = pretrained.find_whole(name, newest=True)
    if source is None:
        raise UserError(f"--pull {name}: this is neither a folder nor a name on the hub, owner/name")
    check_whole(source)
    files = {path.relative_to(source).as_posix(): path for path in chosen(source)}
    return copied(files, None, expanded(to), f"--pull: to={to}")


def check_whole(folder: Path) -> None:
    """Raises UserError for a folder that holds neither a finished run nor a trained model."""
    if is_run(folder):
        status = status_of(folder, read_map(folder / METRICS)) or "unfinished"
        if status != "done":
            raise UserError(f"{folder}: this run is {status}; only one that is done can be shared")
    elif not any(folder.rglob("*.safetensors")) or (folder / RECIPE).exists():
        raise UserError(f"{folder}: this is neither a finished run nor a folder of trained weights (safetensors)")


def chosen(folder: Path) -> Iterator[Path]:
    """Lists the files of a folder that others need, but for hidden ones, links to folders, and older checkpoints."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in LEFT_HERE:
            continue
        if path.is_file():
            yield path
        elif path.is_dir() and not path.is_symlink():
            older = path.name == CHECKPOINTS.name and is_run(folder)
            inner = sorted(path.glob("*.pt")) if older else sorted(path.rglob("*"))
            yield from (
                file
                for file in inner
                if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
            )


def copied(files: dict[str, Path], written: str | None, to: Path, asked: str) -> Path:
    """Copies files by their names into a folder, with the card. Raises UserError where others are there already."""
    if to.exists() and (not to.is_dir() or names_in(to)):
        raise UserError(f"{asked}: it is there already; give a new or an empty folder")
    for name, path in files.items():
        write_atomically(to / name, copier(path))
    if written is not None:
        write_text(to / CARD, written)
    return to


def copier(path: Path) -> Callable[[Path], object]:
    """Returns what copies a file's content, also where it is a link, as in the hub's cache."""
    return lambda unfinished: shutil.copyfile(path, unfinished)


def uploaded(files: dict[str, Path], written: str, name: str, private: bool) -> str:
    """Uploads files and card in one commit; returns the repository's address. Raises UserError."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    operations = [CommitOperationAdd(path_in_repo=path, path_or_fileobj=file) for path, file in files.items()]
    operations.append(CommitOperationAdd(path_in_repo=CARD, path_or_fileobj=written.encode()))
    try:
        api.create_repo(name, private=private, exist_ok=True)
        api.create_commit(name, operations, commit_message="Upload by threestudio_like")
    except Exception as error:  # whatever a network, a proxy, the hub or its login raises
        raise UserError(
            f"--push: to={name} cannot be written ({brief(error)}); log in with `hf auth login`, or give `to` a folder"
        ) from None
    return f"{api.endpoint}/{name}"
