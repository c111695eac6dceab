"""Attention to a condition image: a U-Net's self-attention also reads the image's keys and values in the same U-Net.

Zero123++ (arXiv 2310.15110, section 2.2) sends the image through at the views' own noise and timestep, anew for each.
GECO (arXiv 2405.20327) sends it through clean, so that one pass serves every timestep. No weights are added.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from jaxtyping import Float, Int
from torch import Tensor

Keys = dict[str, tuple[Tensor, Tensor]]
"""The keys and the values `[B, tokens, width]` of every self-attention, by its name."""


class ReferenceProcessor:
    """Scaled dot-product attention; self-attention also records its keys and values, or joins recorded ones to its own.

    The U-Net is called with `cross_attention_kwargs={"write": keys}` or `{"read": keys}`.
    """

    def __init__(self, name: str):
        self.name = name

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        write: Keys | None = None,
        read: Keys | None = None,
    ) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        key, value = attn.to_k(context), attn.to_v(context)
        if encoder_hidden_states is None and write is not None:
            write[self.name] = key, value
        if encoder_hidden_states is None and read is not None:
            key, value = (torch.cat(both, dim=1) for both in zip((key, value), read[self.name], strict=True))
        heads = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (attn.to_q(hidden_states), key, value))
        attended = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](attended))


def enable_reference_attention(unet: UNet2DConditionModel) -> None:
    """Lets the U-Net write and read keys and values; without them it computes the same as before."""
    unet.set_attn_processor({name: ReferenceProcessor(name) for name in unet.attn_processors})


def record_kv(
    unet: UNet2DConditionModel, image: Float[Tensor, "B C h w"], t: Int[Tensor, "B"], text: Float[Tensor, "B L D"]
) -> Keys:
    """Records the keys and values of a condition image, encoded as the U-Net's input and noised for t.

    A U-Net with a mean beside its input gets the image there too: it is the image's mean, given the image.
    """
    keys: Keys = {}
    inputs = image.repeat(1, unet.config.in_channels // image.shape[1], 1, 1)
    unet(inputs, t, encoder_hidden_states=text, cross_attention_kwargs={"write": keys})
    return keys


def with_kv(unet: UNet2DConditionModel, keys: Keys) -> Callable:
    """Returns the U-Net with its self-attention also reading these keys and values."""
    return partial(unet, cross_attention_kwargs={"read": keys})
