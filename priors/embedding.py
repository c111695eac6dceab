"""Text embeddings, cached on disk by content; the encoder is loaded only for new texts, then freed.

A cached embedding is one safetensors file whose name is a hash of the encoder's identity and the text, under
`$TSL_CACHE` or `~/.cache/threestudio_like/text/`.
"""

import gc
import hashlib
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from priors.endings import Ended, shorten
from threestudio_like import pretrained
from threestudio_like.errors import UserError

PARTS = ("text_encoder", "tokenizer")
ENCODERS = ("CLIPTextModel", "T5EncoderModel")
TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast", "T5Tokenizer", "T5TokenizerFast", "PreTrainedTokenizerFast")
T5_TOKENS = 77
"""Length of a T5's texts, which sets none itself; DeepFloyd IF was trained on this many tokens."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedding:
    """A text's token embeddings, its words that the tokenizer does not know, and the end that did not fit in."""

    tokens: Float[Tensor, "L D"]
    unknown: tuple[str, ...] = ()
    dropped: str = ""


def embed(config: pretrained.ModelConfig, texts: list[str], device: torch.device) -> Float[Tensor, "N L D"]:
    """Embeds texts by the model's text encoder, float32. Raises UserError where it must load and cannot.

    Texts that are too long are shortened, and what they lose is logged; the endings of `Ended` ones are kept.
    """
    cache = cache_folder()
    identity = _identity(config)
    paths = {text: cache / f"{_digest(identity, text)}.safetensors" for text in texts}
    cached = {text: found for text, path in paths.items() if (found := _read(path)) is not None}
    missing = [text for text in paths if text not in cached]
    if missing:
        for text, embedding in zip(missing, _compute(config, missing, device), strict=True):
            _write(paths[text], embedding)
            cached[text] = embedding
    _warn(cached)
    return torch.stack([cached[text].tokens for text in texts]).to(device)


def cache_folder() -> Path:
    """Returns the folder of cached embeddings."""
    return Path(os.environ.get("TSL_CACHE") or "~/.cache/threestudio_like/text").expanduser()


def _identity(config: pretrained.ModelConfig) -> str:
    """Changes whenever the encoder does: a hub commit, or the names, sizes and times of a folder's files."""
    folder = pretrained.local(config)
    if folder is None or pretrained.is_hub_id(config):
        folder = folder or pretrained.find(config, PARTS)
        return f"{config.model} {folder.name} {config.variant} {config.precision}"
    files = sorted(path for part in PARTS for path in (folder / part).glob("*") if path.is_file())
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
    """Whole or not at all, whoever else writes; a cache that cannot be written is only slower."""
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


def _compute(config: pretrained.ModelConfig, texts: list[str], device: torch.device) -> list[Embedding]:
    tokenizer, encoder = load_encoder(config, device)

    def fits(text: str) -> bool:
        return len(tokenizer(normalized(encoder, text), verbose=False).input_ids) <= max_length(encoder)

    fitted, dropped = zip(*(shorten(text, fits) for text in texts), strict=True)
    unknown = unknown_words(tokenizer, encoder, list(fitted))
    tokens = encode(tokenizer, encoder, list(fitted)).cpu()
    del encoder
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return [Embedding(*parts) for parts in zip(tokens, unknown, dropped, strict=True)]


def load_encoder(config: pretrained.ModelConfig, device: torch.device):
    """Loads the tokenizer and the text encoder that the model's `model_index.json` names. Raises UserError."""
    import transformers

    folder = pretrained.find(config, PARTS)
    index = pretrained.read_json(folder / "model_index.json")
    named = {part: index.get(part) for part in PARTS}
    names = {part: str(pair[1]) if isinstance(pair, list) and len(pair) == 2 else None for part, pair in named.items()}
    if names["text_encoder"] not in ENCODERS or names["tokenizer"] not in TOKENIZERS:
        raise UserError(
            f"{folder / 'model_index.json'}: no text encoder of a known kind ({names['tokenizer']}, "
            f"{names['text_encoder']}); known: {', '.join(ENCODERS)}"
        )
    with pretrained.reading(folder / "tokenizer", f"a {names['tokenizer']}"):
        try:
            kind = getattr(transformers, names["tokenizer"])
            tokenizer = kind.from_pretrained(folder / "tokenizer", local_files_only=True)
        except ImportError:
            needed = "pip install sentencepiece protobuf"
            raise UserError(f"{folder / 'tokenizer'}: this tokenizer needs `{needed}`") from None
    dtype = pretrained.dtype_on(device, config.precision)
    kind = getattr(transformers, names["text_encoder"])
    return tokenizer, pretrained.load(kind, folder, "text_encoder", config.variant, dtype).to(device)


def normalized(encoder, text: str) -> str:
    """Lower-cases and strips a text for a T5, as DeepFloyd IF's was trained; CLIP's tokenizers do that themselves."""
    return text.lower().strip() if encoder.config.model_type == "t5" else text


def max_length(encoder) -> int:
    """Returns the encoder's longest text in tokens."""
    return getattr(encoder.config, "max_position_embeddings", None) or T5_TOKENS


@torch.no_grad()
def encode(tokenizer, encoder, texts: list[str]) -> Float[Tensor, "N L D"]:
    """Computes the last hidden state, float32, of texts cut or padded to `max_length`; padding is masked for T5 only,
    as trained."""
    batch = tokenizer(
        [normalized(encoder, text) for text in texts],
        padding="max_length",
        truncation=True,
        max_length=max_length(encoder),
        return_tensors="pt",
    ).to(encoder.device)
    mask = batch.attention_mask if encoder.config.model_type == "t5" else None
    return encoder(input_ids=batch.input_ids, attention_mask=mask).last_hidden_state.float()


def unknown_words(tokenizer, encoder, texts: list[str]) -> list[tuple[str, ...]]:
    """Finds, for each text, the words that the tokenizer does not know."""
    whole = [normalized(encoder, text) for text in texts]
    batch = tokenizer(whole, return_offsets_mapping=True, verbose=False)
    # An end-of-text token that doubles as the unknown one (CLIP) spans no letters.
    return [
        tuple(text[a:b] for token, (a, b) in zip(ids, spans, strict=True) if token == tokenizer.unk_token_id and b > a)
        for text, ids, spans in zip(whole, batch.input_ids, batch.offset_mapping, strict=True)
    ]
