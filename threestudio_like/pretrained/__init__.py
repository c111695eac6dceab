"""Finds pretrained models in diffusers' folder layout, says in a sentence what is wrong with one, loads its parts.

A model is a local folder, or a name on the Hugging Face hub, which becomes a folder of the local hub cache. Weights are
safetensors only: nothing is ever unpickled.
"""

from threestudio_like.pretrained.checks import read_json, refuse_special
from threestudio_like.pretrained.hub import (
    NotDownloadedError,
    downloads,
    find,
    find_whole,
    is_hub_id,
    is_offline,
    local,
    missing,
    offline,
)
from threestudio_like.pretrained.loading import load, quiet, reading, without_place
from threestudio_like.pretrained.model import DTYPES, TEXT_ENCODERS, TOKENIZERS, WEIGHTS, ModelConfig, dtype_on

__all__ = [
    "DTYPES",
    "TEXT_ENCODERS",
    "TOKENIZERS",
    "WEIGHTS",
    "ModelConfig",
    "NotDownloadedError",
    "downloads",
    "dtype_on",
    "find",
    "find_whole",
    "is_hub_id",
    "is_offline",
    "load",
    "local",
    "missing",
    "offline",
    "quiet",
    "read_json",
    "reading",
    "refuse_special",
    "without_place",
]
