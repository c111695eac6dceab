"""Names a pretrained model and its parts, in diffusers' folder layout."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

DIFFUSERS = ("unet", "transformer", "mean_predictor", "image_encoder", "vae")
TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
WEIGHTS = {part: "diffusion_pytorch_model" for part in DIFFUSERS} | {
    part: "model" for part in (*TEXT_ENCODERS, "vision_encoder", ".")
}
"""The stem of each part's weights. The part `.` is the folder itself, as transformers lays out its models."""
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
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
