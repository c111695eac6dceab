"""Text embeddings, cached on disk by content; the encoders are loaded only for new texts, then freed.

A cached embedding is one safetensors file whose name is a hash of the encoders' identity and the text, under
`$TSL_CACHE` or `~/.cache/threestudio_like/text/`.
"""

import hashlib
import logging
import os
import tempfile
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from priors import text_encoders
from priors.endings import Ended
from priors.text_encoders import Embedding
from threestudio_like import pretrained

log = logging.getLogger(__name__)


def embed(
    config: pretrained.ModelConfig, texts: list[str], device: torch.device, t5: bool = True
) -> Float[Tensor, "N L D"]:
    """Embeds texts by the model's text encoders, float32. Raises UserError where one must load and cannot.

    Texts that are too long are shortened, and what they lose is logged; the endings of `Ended` ones are kept.
    Without `t5`, the third of three encoders is left out.
    """
    encoders = text_encoders.encoders_of(_folder(config), t5)
    cache, identity = cache_folder(), _identity(config, encoders)
    paths = {text: cache / f"{_digest(identity, text)}.safetensors" for text in texts}
    cached = {text: found for text, path in paths.items() if (found := _read(path)) is not None}
    missing = [text for text in paths if text not in cached]
    if missing:
        computed = text_encoders.compute(config, encoders, missing, torch.device(config.text_device or device))
        for text, embedding in zip(missing, computed, strict=True):
            _write(paths[text], embedding)
            cached[text] = embedding
    _warn(cached)
    return torch.stack([cached[text].tokens for text in texts]).to(device)


def cache_folder() -> Path:
    """Returns the folder of cached embeddings."""
    return Path(os.environ.get("TSL_CACHE") or "~/.cache/threestudio_like/text").expanduser()


def _folder(config: pretrained.ModelConfig) -> Path:
    """The model's folder, with at least its index where it is the hub's."""
    folder = pretrained.local(config)
    return folder if folder is not None else pretrained.find(config, ())


def _identity(config: pretrained.ModelConfig, encoders: tuple[str, ...]) -> str:
    """Changes whenever an encoder does: a hub commit, or the names, sizes and times of a folder's files."""
    folder = _folder(config)
    if pretrained.is_hub_id(config):
        return f"{config.model} {folder.name} {config.variant} {config.precision} {' '.join(encoders)}"
    parts = text_encoders.parts_of(encoders)
    files = sorted(path for part in parts for path in (folder / part).glob("*") if path.is_file())
    stamps = [f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return "\n".join([str(folder.resolve()), f"{config.variant} {config.precision}", *stamps])


def _digest(identity: str, text: str) -> str:
    parts = (identity, text.prompt, text.ending, *text.endings) if isinstance(text, Ended) else (identity, text)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]


def _read(path: Path) -> Embedding | None:
    """A cached embedding, or None where there is none that can be read."""
    try:
        with safe_open(path, "pt") as file:
            notes, tokens = file.metadata() or {}, file.get_tensor("tokens")
        found = Embedding(tokens, tuple(notes.get("unknown", "").split()), notes.get("dropped", ""))
        return found if notes.get("checksum") == _checksum(found) else None
    except (OSError, SafetensorError):
        return None


def _checksum(embedding: Embedding) -> str:
    described = repr((tuple(embedding.tokens.shape), embedding.unknown, embedding.dropped)).encode()
    return hashlib.blake2b(embedding.tokens.contiguous().numpy().tobytes() + described, digest_size=16).hexdigest()


def _write(path: Path, embedding: Embedding) -> None:
    """Writes atomically, as other processes may write too; a cache that cannot be written only costs time."""
    notes = {"unknown": " ".join(embedding.unknown), "checksum": _checksum(embedding)}
    notes |= {"dropped": embedding.dropped} if embedding.dropped else {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as beside:
            whole = Path(beside) / path.name
            save_file({"tokens": embedding.tokens.contiguous()}, whole, metadata=notes)
            os.replace(whole, path)
    except OSError as error:
        log.warning("text embeddings are not cached: %s", error)


def _warn(texts: dict[str, Embedding]) -> None:
    unknown = sorted({word for embedding in texts.values() for word in embedding.unknown})
    if unknown:
        log.warning("the text encoder does not know, and ignores: %s", ", ".join(unknown))
    dropped = [embedding.dropped for embedding in texts.values() if embedding.dropped]
    if dropped:
        log.warning("the prompt is longer than the text encoder takes, and is cut; dropped: %s", dropped[0])
