"""Finds pretrained models in diffusers' folder layout, says in a sentence what is wrong with one, loads its parts.

A model is a local folder, or a name on the Hugging Face hub, which becomes a folder of the local hub cache. Weights are
safetensors only: nothing is ever unpickled.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from safetensors import SafetensorError, safe_open

from threestudio_like.errors import UserError, brief
from threestudio_like.utils import files
from threestudio_like.utils.paths import find_folder

DIFFUSERS = ("unet", "transformer", "mean_predictor", "image_encoder", "vae")
TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
WEIGHTS = {part: "diffusion_pytorch_model" for part in DIFFUSERS} | {
    part: "model" for part in (*TEXT_ENCODERS, "vision_encoder", ".")
}
"""The stem of each part's weights. The part `.` is the folder itself, as transformers lays out its models."""
CONFIGS = {
    "scheduler": "scheduler_config.json",
    "feature_extractor_clip": "preprocessor_config.json",
    "feature_extractor_vae": "preprocessor_config.json",
} | {part: "tokenizer_config.json" for part in TOKENIZERS}
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",))
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
CONNECT_SECONDS = 5
CompileMode = Literal["default", "reduce-overhead"]
"""Modes of `torch.compile`."""


@dataclass(frozen=True)
class ModelConfig:
    """A pretrained model and its precision."""

    untrained: ClassVar[tuple[str, ...]] = ("text_device", "compiled")

    model: str
    """A folder (as given, or of the repository), or a hub id."""
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    """Precision of the weights."""
    variant: str | None = None
    """One of several weight files, such as `fp16`; a local folder that has the plain file only uses that."""
    revision: str | None = None
    """The hub's branch, tag or commit."""
    text_device: Literal["cpu"] | None = None
    """Where texts are embedded: on the CPU, which takes a large text encoder (T5) minutes and no memory of the GPU; by
    default where the model is, before it is loaded. Embeddings are kept, so that it is once a prompt."""
    compiled: CompileMode | None = None
    """Compiles network and VAE at their first step, which then takes minutes: `default`, or `reduce-overhead`, which
    also captures CUDA graphs, for models in half precision. Null compiles nothing."""


def dtype_on(device: torch.device, precision: str) -> torch.dtype:
    """Returns the dtype to compute in; fp16 saves nothing on a CPU, which computes in fp32 instead."""
    return torch.float32 if device.type == "cpu" and precision == "fp16" else DTYPES[precision]


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
        return _wrong(folder, parts, config.variant)
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
    problem = _wrong(folder, parts, config.variant)
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


def _wrong(folder: Path, parts: tuple[str, ...], variant: str | None) -> str | None:
    try:
        for part in parts:
            refuse_special(folder / part)
            read_json(folder / part / CONFIGS.get(part, "config.json"))
            if part in TOKENIZERS:
                _check_tokenizer(folder / part)
            if part in WEIGHTS:
                _check_weights(folder / part, WEIGHTS[part], variant)
        if "text_encoder" in parts:
            read_json(folder / "model_index.json")
    except UserError as error:
        return str(error)
    return None


def refuse_special(place: Path) -> None:
    """Raises UserError where a part's folder holds what is no file: a reader of a pipe could wait for ever."""
    special = [path for path in place.iterdir() if not path.is_file() and not path.is_dir()] if place.is_dir() else []
    if special:
        raise UserError(f"{special[0]} is not a file; fetch the model again")


def _check_tokenizer(place: Path) -> None:
    if not any(all((place / name).is_file() for name in names) for names in VOCABULARIES):
        raise UserError(
            f"{place} has no tokenizer.json, no vocab.json with merges.txt and no spiece.model; "
            "fetch the model again or give `model` another"
        )


def _check_weights(place: Path, stem: str, variant: str | None) -> None:
    found = next((files for name in dict.fromkeys((variant, None)) if (files := _files(place, stem, name))), None)
    if found is None and any(place.glob("*.bin")):
        raise UserError(f"{place} holds pickled weights (.bin) only, which are never loaded; convert to safetensors")
    if found is None:
        raise UserError(f"{place / stem}.safetensors is missing; fetch the model again or give `model` another")
    for path in found:
        try:
            with safe_open(path, "pt"):
                pass
        except FileNotFoundError:
            raise UserError(f"{path} is missing; fetch the model again") from None
        except (SafetensorError, OSError):
            raise UserError(f"{path} is truncated or corrupt; delete it and fetch the model again") from None


def _files(place: Path, stem: str, variant: str | None) -> list[Path]:
    """The safetensors files of a variant, through their index where there are several; none where it is not there."""
    single = place / (f"{stem}.{variant}.safetensors" if variant else f"{stem}.safetensors")
    index = place / f"{stem}.safetensors.index{f'.{variant}' if variant else ''}.json"
    if single.is_file():
        return [single]
    shards = read_json(index).get("weight_map") if index.is_file() else {}
    names = shards.values() if isinstance(shards, dict) else [None]
    if not all(isinstance(name, str) and name == Path(name).name for name in names):
        raise UserError(f"{index} names no files beside it; fetch the model again")
    return [place / name for name in sorted(set(names))]


def read_json(path: Path) -> dict:
    """Reads a JSON file's map. Raises UserError."""
    try:
        node = files.read_json(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; fetch the model again or give `model` another") from None
    except (OSError, ValueError):
        raise UserError(f"{path} cannot be read as JSON; fetch the model again") from None
    if not isinstance(node, dict):
        raise UserError(f"{path} is not a map; fetch the model again")
    return node


def load(kind: type[Any], folder: Path, part: str, variant: str | None, dtype: torch.dtype):
    """Loads a part's model, frozen and in evaluation mode, on the CPU. Raises UserError where weights and config
    disagree."""
    import transformers

    place = folder / part
    named = {"dtype": dtype} if issubclass(kind, transformers.PreTrainedModel) else {"torch_dtype": dtype}
    with reading(place, f"a {kind.__name__}"), _quiet():
        model, report = kind.from_pretrained(
            place,
            variant=variant if _files(place, WEIGHTS[part], variant) else None,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **named,
        )
    amiss = [key if isinstance(key, str) else key[0] for key in (*report["mismatched_keys"], *report["missing_keys"])]
    if amiss:
        raise UserError(
            f"{place}: the weights do not fit config.json ({len(amiss)} tensors, such as {min(amiss)}, are "
            "missing or of another shape); take both files from one release"
        )
    return model.requires_grad_(False).eval()


@contextmanager
def reading(place: Path, what: str) -> Iterator[None]:
    """Turns whatever a library raises over a damaged part of a model into UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a config of another class, of another version, or damaged
        raise UserError(f"{place} cannot be loaded as {what} ({brief(error)}); fetch the model again") from None


@contextmanager
def _quiet():
    """The libraries print tables and bars about what is told here in one sentence; they are silent meanwhile."""
    import diffusers
    import transformers

    talkers = [diffusers.utils.logging, transformers.utils.logging]
    before = [(talker.get_verbosity(), talker.is_progress_bar_enabled()) for talker in talkers]
    for talker in talkers:
        talker.set_verbosity_error()
        talker.disable_progress_bar()
    try:
        yield
    finally:
        for talker, (verbosity, bar) in zip(talkers, before, strict=True):
            talker.set_verbosity(verbosity)
            if bar:
                talker.enable_progress_bar()
