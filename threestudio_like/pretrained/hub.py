"""Finds a pretrained model's folder on this machine or on the Hugging Face hub, downloaded where needed."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from threestudio_like.errors import UserError, brief
from threestudio_like.pretrained.checks import wrong
from threestudio_like.pretrained.model import WEIGHTS, ModelConfig
from threestudio_like.utils.paths import find_folder

CONNECT_SECONDS = 5


class NotDownloadedError(UserError):
    """A hub model that is not in the local cache while nothing may be fetched; `model` is its id."""

    def __init__(self, model: str):
        super().__init__(
            f"the model '{model}' is neither a folder nor in the local Hugging Face cache; "
            "fetch it where there is a network, or give `model` a local folder"
        )
        self.model = model


def is_hub_id(config: ModelConfig) -> bool:
    """Tells whether the name is no local folder and has the form of a hub id, `owner/name`."""
    return find_folder(config.model) is None and re.fullmatch(r"\w[\w.-]*/[\w.-]+", config.model) is not None


def local(config: ModelConfig) -> Path | None:
    """Finds the model's folder on this machine, complete or not; touches no network."""
    if not is_hub_id(config):
        return find_folder(config.model)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(config.model, revision=config.revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        # Newer hub clients name an incomplete snapshot in the error; what it lacks is judged part by part.
        partial = getattr(error, "snapshot_path", None)
        return Path(partial) if partial else None


def missing(config: ModelConfig, parts: tuple[str, ...]) -> str | None:
    """Says in one sentence what keeps these parts of the model from loading, or None; touches no network."""
    folder = local(config)
    if folder is not None:
        return wrong(folder, parts, config.variant)
    if is_hub_id(config):
        return str(NotDownloadedError(config.model))
    return f"the model folder '{config.model}' does not exist; give `model` a folder in diffusers' layout or a hub id"


def is_offline() -> bool:
    """Tells whether nothing may be fetched from the hub, by HF_HUB_OFFLINE or by `offline`."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def downloads(config: ModelConfig) -> bool:
    """Tells whether a run downloads the model first, as it is the hub's and not yet in the local cache."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(config.model)
    except HFValidationError:
        return False
    return is_hub_id(config) and local(config) is None and not is_offline()


@contextmanager
def offline() -> Iterator[None]:
    """Lets nothing be fetched from the hub while it lasts, by whatever library."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def find(config: ModelConfig, parts: tuple[str, ...]) -> Path:
    """Finds the folder that holds these parts, downloaded first where needed. Raises UserError."""
    problem, folder = missing(config, parts), local(config)
    if problem is None and folder is not None:
        return folder
    if not is_hub_id(config):
        raise UserError(problem)
    folder = _download(config, parts)
    problem = wrong(folder, parts, config.variant)
    if problem is not None:
        raise UserError(f"the model '{config.model}' is incomplete and could not be completed from the hub: {problem}")
    return folder


def find_whole(name: str | Path, newest: bool = False) -> Path | None:
    """Finds a folder as given, as it came with the code, or, for a hub id, all of it, downloaded first where needed.

    `newest` asks the hub even where the local cache has it. None where there is no such folder. Raises UserError where
    it cannot be downloaded.
    """
    config = ModelConfig(Path(name).as_posix())
    if not is_hub_id(config):
        return find_folder(config.model)
    if not newest and (folder := local(config)) is not None:
        return folder
    return _download(config, None)


def _download(config: ModelConfig, parts: tuple[str, ...] | None) -> Path:
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if is_offline():
        raise NotDownloadedError(config.model)
    name = f"the model '{config.model}'"
    try:
        # Asked first because it takes a time limit: a hub that does not answer would hold the download for ever.
        listed = model_info(config.model, revision=config.revision, timeout=CONNECT_SECONDS).siblings or []
        files = [file.rfilename for file in listed]
        return Path(
            snapshot_download(
                config.model,
                revision=config.revision,
                etag_timeout=CONNECT_SECONDS,
                allow_patterns=None if parts is None else _patterns(parts, config.variant, files),
            )
        )
    except GatedRepoError:
        raise UserError(f"{name} is gated: accept its licence on its hub page, then log in: `hf auth login`") from None
    except RepositoryNotFoundError:
        raise UserError(f"{name} is neither a local folder nor a model on the hub; check its spelling") from None
    except Exception as error:  # every other failure of a network, a proxy or a disk ends here
        raise UserError(
            f"{name} is not in the local Hugging Face cache and cannot be downloaded ({brief(error)}); "
            "fetch it where there is a network, or give `model` a local folder"
        ) from None


def _patterns(parts: tuple[str, ...], variant: str | None, listed: list[str]) -> list[str]:
    """The files to fetch of those that a hub lists; plain weights of the parts that have none of the variant."""
    patterns = ["model_index.json"]
    for part in parts:
        place = "" if part == "." else f"{part}/"
        patterns += [f"{place}*.json", f"{place}*.txt", f"{place}*.model"]
        if part in WEIGHTS:
            stem = f"{WEIGHTS[part]}.{variant}"
            if not any(name.startswith(place + stem) and name.endswith(".safetensors") for name in listed):
                stem = WEIGHTS[part]
            patterns += [f"{place}{stem}.safetensors", f"{place}{stem}-*-of-*.safetensors"]
    return patterns
