"""Says in a sentence what is wrong with the folder of a pretrained model."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from threestudio_like.errors import UserError
from threestudio_like.pretrained.model import TOKENIZERS, WEIGHTS
from threestudio_like.utils import files

CONFIGS = {
    "scheduler": "scheduler_config.json",
    "feature_extractor_clip": "preprocessor_config.json",
    "feature_extractor_vae": "preprocessor_config.json",
} | {part: "tokenizer_config.json" for part in TOKENIZERS}
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",))


def wrong(folder: Path, parts: tuple[str, ...], variant: str | None) -> str | None:
    """Says in one sentence what keeps these parts of the folder from loading, or None."""
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
    found = next((files for name in dict.fromkeys((variant, None)) if (files := files_of(place, stem, name))), None)
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


def files_of(place: Path, stem: str, variant: str | None) -> list[Path]:
    """Lists the safetensors files of a variant, through their index where there are several; none where it has none."""
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
