"""Reads a model folder's text encoders, and joins what they say of a text into one embedding, as it was trained on.

- One encoder (Stable Diffusion, DeepFloyd IF, the Toybox): its last hidden state.
- Two (Stable Diffusion XL; Podell et al. 2023, table 1): the penultimate hidden states of both CLIPs, feature beside
  feature, and the second's pooled embedding.
- Three (Stable Diffusion 3; Esser et al. 2024, section 5): the same of both CLIPs, filled up with zeros to the T5's
  width, then the T5's tokens; and both pooled embeddings, one beside the other. The T5 may be left out: zeros stand in
  its tokens' place.

A pooled embedding is one more token, the last, filled up with zeros to the others' width. So a text is always one
tensor `[L, D]`, which is cached, blended by view and dropped as a whole; `split_pooled` takes it apart again.
"""

import gc
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from priors.endings import shorten
from threestudio_like import pretrained
from threestudio_like.errors import UserError

KINDS = ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel")
TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast", "T5Tokenizer", "T5TokenizerFast", "PreTrainedTokenizerFast")
FIRST, SECOND, T5 = pretrained.TEXT_ENCODERS
TOKENIZER_OF = dict(zip(pretrained.TEXT_ENCODERS, pretrained.TOKENIZERS, strict=True))
PARTS = (FIRST, TOKENIZER_OF[FIRST])
"""The parts of a model with one text encoder."""
T5_TOKENS = 77
"""Length of a T5's texts, which sets none itself; DeepFloyd IF was trained on this many tokens."""
JOINED_T5_TOKENS = 256
"""The same beside two CLIPs, as Stable Diffusion 3 is sampled."""


@dataclass(frozen=True)
class Embedding:
    """A text's token embeddings, its words that the tokenizer does not know, and the end that did not fit in."""

    tokens: Float[Tensor, "L D"]
    unknown: tuple[str, ...] = ()
    dropped: str = ""


def split_pooled(text: Float[Tensor, "N L D"], width: int) -> tuple[Float[Tensor, "N T D"], Float[Tensor, "N P"]]:
    """Separates the tokens (T = L - 1) from the pooled embedding of `width` features P, which is the last token."""
    return text[:, :-1], text[:, -1, :width]


def encoders_of(folder: Path | None, t5: bool = True) -> tuple[str, ...]:
    """Lists the text encoders that a model folder names; the first alone where there is no index that can be read.

    `t5`: whether the third, Stable Diffusion 3's T5, is to be among them.
    """
    try:
        index = {} if folder is None else read_index(folder)
    except UserError:  # told when the encoder is looked for
        index = {}
    named = [part for part in (SECOND, T5) if index.get(part) not in (None, [None, None])]
    return (FIRST, *(part for part in named if t5 or part != T5))


def parts_of(encoders: tuple[str, ...]) -> tuple[str, ...]:
    """Lists the parts of a model folder that these encoders need: themselves, and their tokenizers."""
    return *encoders, *(TOKENIZER_OF[part] for part in encoders)


def read_index(folder: Path) -> dict:
    """Reads which classes the parts of a model folder are of. Raises UserError."""
    return pretrained.read_json(folder / "model_index.json")


def compute(
    config: pretrained.ModelConfig, encoders: tuple[str, ...], texts: list[str], device: torch.device
) -> list[Embedding]:
    """Embeds texts by these encoders, loaded and freed one after the other. Raises UserError.

    Each encoder shortens the texts that are too long for it.
    """
    folder = pretrained.find(config, parts_of(encoders))
    index = read_index(folder)
    readings = [read(config, part, texts, device, joined=len(encoders) > 1) for part in encoders]
    tokens = readings[0].hidden if len(encoders) == 1 else join(readings, t5_width(folder) if T5 in index else None)
    if index.get("force_zeros_for_empty_prompt"):  # what Stable Diffusion XL's pipeline takes for no text
        tokens[[not text for text in texts]] = 0
    unknown = [tuple(dict.fromkeys(sum(words, ()))) for words in zip(*(each.unknown for each in readings), strict=True)]
    dropped = [next(filter(None, ends), "") for ends in zip(*(each.dropped for each in readings), strict=True)]
    return [Embedding(*parts) for parts in zip(tokens, unknown, dropped, strict=True)]


@dataclass(frozen=True)
class Reading:
    """Holds what one encoder says of N texts, on the CPU; what it does not know of each, and what did not fit in."""

    hidden: Float[Tensor, "N L D"]
    pooled: Float[Tensor, "N P"] | None
    unknown: list[tuple[str, ...]]
    dropped: tuple[str, ...]


def read(
    config: pretrained.ModelConfig, part: str, texts: list[str], device: torch.device, joined: bool = False
) -> Reading:
    """Reads texts by one encoder, which is loaded, and freed again; `joined`: as one of several. Raises UserError."""
    tokenizer, encoder = load_encoder(config, device, part)
    length = max_length(encoder, joined)

    def fits(text: str) -> bool:
        return len(tokenizer(normalized(encoder, text, joined), verbose=False).input_ids) <= length

    fitted, dropped = zip(*(shorten(text, fits) for text in texts), strict=True)
    whole = [normalized(encoder, text, joined) for text in fitted]
    unknown = unknown_words(tokenizer, whole)
    hidden, pooled = encode(tokenizer, encoder, whole, joined)
    del encoder
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return Reading(hidden.cpu(), None if pooled is None else pooled.cpu(), unknown, dropped)


def join(readings: list[Reading], t5_width: int | None) -> Float[Tensor, "N L D"]:
    """Joins what two CLIPs, and perhaps a T5, say; `t5_width` is that of a T5's tokens, None for Stable Diffusion XL.

    Raises UserError where the encoders do not belong together.
    """
    (one, other), t5 = readings[:2], readings[2:]
    if one.hidden.shape[:2] != other.hidden.shape[:2] or other.pooled is None:
        raise UserError("text_encoder and text_encoder_2 are not a pair of CLIPs; take both from one release")
    tokens = torch.cat([one.hidden, other.hidden], dim=-1)
    pooled = torch.cat([each.pooled for each in (one, other) if each.pooled is not None], dim=-1)
    if t5_width is not None:
        missing = tokens.new_zeros(len(tokens), JOINED_T5_TOKENS, t5_width)
        tokens = torch.cat([widened(tokens, t5_width), t5[0].hidden if t5 else missing], dim=1)
    return torch.cat([tokens, widened(pooled, tokens.shape[-1])[:, None]], dim=1)


def widened(features: Float[Tensor, "*N D"], width: int) -> Float[Tensor, "*N W"]:
    """Fills features up with zeros. Raises UserError where they are wider than that."""
    if features.shape[-1] > width:
        raise UserError(
            f"the text encoders give {features.shape[-1]} features where {width} are the most; "
            "take all parts of the model from one release"
        )
    return F.pad(features, (0, width - features.shape[-1]))


def t5_width(folder: Path) -> int:
    """Reads the width of the tokens that a transformer takes. Raises UserError."""
    path = folder / "transformer" / "config.json"
    width = pretrained.read_json(path).get("joint_attention_dim")
    if not isinstance(width, int):
        raise UserError(f"{path} has no joint_attention_dim, the width of its text; fetch the model again")
    return width


def load_encoder(config: pretrained.ModelConfig, device: torch.device, part: str = FIRST):
    """Loads a text encoder and its tokenizer, of the classes that `model_index.json` names. Raises UserError."""
    import transformers

    tokens = TOKENIZER_OF[part]
    folder = pretrained.find(config, parts_of((part,)))
    index = read_index(folder)
    named = {name: index.get(name) for name in (part, tokens)}
    names = {
        name: str(pair[1]) if isinstance(pair, list) and len(pair) == 2 else "none" for name, pair in named.items()
    }
    if names[part] not in KINDS or names[tokens] not in TOKENIZERS:
        raise UserError(
            f"{folder / 'model_index.json'}: no text encoder of a known kind ({names[tokens]}, {names[part]}); "
            f"known: {', '.join(KINDS)}"
        )
    with pretrained.reading(folder / tokens, f"a {names[tokens]}"):
        try:
            kind = getattr(transformers, names[tokens])
            tokenizer = kind.from_pretrained(folder / tokens, local_files_only=True)
        except ImportError:
            needed = "pip install sentencepiece protobuf"
            raise UserError(f"{folder / tokens}: this tokenizer needs `{needed}`") from None
    dtype, kind = encoders_dtype(device, config.precision), getattr(transformers, names[part])
    return tokenizer, pretrained.load(kind, folder, part, config.variant, dtype).to(device)


def encoders_dtype(device: torch.device, precision: str) -> torch.dtype:
    """Returns the dtype of a text encoder: in half precision on a CPU too, where a T5 would take 19 GB in fp32."""
    return torch.bfloat16 if device.type == "cpu" and precision == "fp16" else pretrained.DTYPES[precision]


def is_t5(encoder) -> bool:
    """Tells a T5 from a CLIP."""
    return encoder.config.model_type == "t5"


def normalized(encoder, text: str, joined: bool = False) -> str:
    """Lower-cases and strips a text for a lone T5, as DeepFloyd IF's was trained; CLIP's tokenizers do so, too."""
    return text.lower().strip() if is_t5(encoder) and not joined else str(text)


def max_length(encoder, joined: bool = False) -> int:
    """Returns the encoder's longest text in tokens."""
    if is_t5(encoder):
        return JOINED_T5_TOKENS if joined else T5_TOKENS
    return encoder.config.max_position_embeddings


@torch.no_grad()
def encode(
    tokenizer, encoder, texts: list[str], joined: bool = False
) -> tuple[Float[Tensor, "N L D"], Float[Tensor, "N P"] | None]:
    """Computes hidden states and, of a CLIP with a projection, pooled embeddings, float32.

    Texts are cut or padded to `max_length`. The state is the last, of a joined CLIP the one before it. Padding is
    masked for a lone T5 only, as trained.
    """
    batch = tokenizer(
        texts, padding="max_length", truncation=True, max_length=max_length(encoder, joined), return_tensors="pt"
    ).to(encoder.device)
    mask = batch.attention_mask if is_t5(encoder) and not joined else None
    penultimate = joined and not is_t5(encoder)
    said = encoder(input_ids=batch.input_ids, attention_mask=mask, output_hidden_states=penultimate)
    hidden = said.hidden_states[-2] if penultimate else said.last_hidden_state
    pooled = getattr(said, "text_embeds", None)
    return hidden.float(), None if pooled is None else pooled.float()


def unknown_words(tokenizer, texts: list[str]) -> list[tuple[str, ...]]:
    """Finds, for each text, the words that the tokenizer does not know."""
    batch = tokenizer(texts, return_offsets_mapping=True, verbose=False)
    # An end-of-text token that doubles as the unknown one (CLIP) spans no letters.
    return [
        tuple(text[a:b] for token, (a, b) in zip(ids, spans, strict=True) if token == tokenizer.unk_token_id and b > a)
        for text, ids, spans in zip(texts, batch.input_ids, batch.offset_mapping, strict=True)
    ]
