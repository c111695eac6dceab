"""Attention to a reference image: deaf without one, and otherwise the published mechanism."""

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.utils import logging

from priors.reference import ReferenceProcessor, enable_reference_attention, record_kv, with_kv
from priors.toybox import views


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return (
        views.unet(views.MultiviewSize(view=16, patch=2, channels=(16, 16), tokens_width=16))
        .eval()
        .requires_grad_(False)
    )


T = torch.tensor([300, 700])


def inputs(unet, height, width):
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(2, *shape, generator=generator)

    return draw(unet.config.in_channels, height, width), draw(16, 16)


def test_without_a_reference_it_is_diffusers_attention(unet):
    x, text = inputs(unet, 24, 16)
    unet.set_attn_processor(AttnProcessor2_0())
    before = unet(x, T, encoder_hidden_states=text).sample
    enable_reference_attention(unet)
    torch.testing.assert_close(unet(x, T, encoder_hidden_states=text).sample, before)


def test_kept_keys_equal_appended_hidden_states(unet):
    """Zero123++ appends the reference's hidden states to what keys and values are made of."""
    attn = unet.mid_block.attentions[0].transformer_blocks[0].attn1
    own, other = torch.randn(2, 12, 16), torch.randn(2, 5, 16)
    expected = AttnProcessor2_0()(attn, own, torch.cat([own, other], dim=1))
    processor, keys = ReferenceProcessor("here"), {}
    processor(attn, other, write=keys)
    torch.testing.assert_close(processor(attn, own, read=keys), expected)


def test_every_self_attention_is_kept_and_heard(unet):
    enable_reference_attention(unet)
    x, text = inputs(unet, 24, 16)
    image = torch.randn(2, unet.config.in_channels // 2, 8, 8)
    keys = record_kv(unet, image, torch.zeros_like(T), text)
    assert set(keys) == {name for name in unet.attn_processors if "attn1" in name} and len(keys) == 4
    assert {tuple(key.shape) for key, _ in keys.values()} == {(2, 16, 16)}  # 4 x 4 places, 16 wide
    plain = unet(x, T, encoder_hidden_states=text).sample
    heard = with_kv(unet, keys)(x, T, encoder_hidden_states=text).sample
    assert not torch.allclose(plain, heard)
    for name in keys:  # without any of them the answer is another
        kept = {**keys, name: tuple(torch.zeros_like(x) for x in keys[name])}
        assert not torch.equal(with_kv(unet, kept)(x, T, encoder_hidden_states=text).sample, heard)


def test_gradients_reach_the_image(unet):
    enable_reference_attention(unet)
    x, text = inputs(unet, 24, 16)
    image = torch.randn(2, unet.config.in_channels // 2, 8, 8, requires_grad=True)
    with_kv(unet, record_kv(unet, image, T, text))(x, T, encoder_hidden_states=text).sample.sum().backward()
    assert image.grad.abs().max() > 0


def test_diffusers_has_nothing_to_complain_of(unet, caplog):
    enable_reference_attention(unet)
    x, text = inputs(unet, 24, 16)
    logging.enable_propagation()
    with_kv(unet, record_kv(unet, x[:, : unet.config.in_channels // 2], T, text))(x, T, encoder_hidden_states=text)
    logging.disable_propagation()
    assert not caplog.records
