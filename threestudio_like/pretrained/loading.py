"""Loads a part of a pretrained model, and tells in a sentence why it cannot be."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from threestudio_like.errors import UserError, brief
from threestudio_like.pretrained.checks import files_of
from threestudio_like.pretrained.model import WEIGHTS


def load(kind: type[Any], folder: Path, part: str, variant: str | None, dtype: torch.dtype):
    """Loads a part's model, frozen and in evaluation mode, on the CPU. Raises UserError where weights and config
    disagree."""
    import transformers

    place = folder / part
    named = {"dtype": dtype} if issubclass(kind, transformers.PreTrainedModel) else {"torch_dtype": dtype}
    with reading(place, f"a {kind.__name__}"), quiet():
        model, report = kind.from_pretrained(
            place,
            variant=variant if files_of(place, WEIGHTS[part], variant) else None,
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
    return without_place(model).requires_grad_(False).eval()


def without_place(model):
    """Returns a diffusers model whose config has forgotten the folder that it was read from, or a copy that is saved
    would name a path of this machine."""
    import diffusers

    if isinstance(model, diffusers.ModelMixin):
        model.register_to_config(_name_or_path="")
    return model


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
def quiet() -> Iterator[None]:
    """Silences diffusers and transformers, whose tables, bars and warnings say what is told elsewhere, or is not so."""
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
