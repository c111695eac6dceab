"""Counts the memory of published models on fake tensors, for `benchmarks/memory.py`."""

import sys
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import ViTModel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.counter import line, peak_of
from priors.reconstructor import Reconstructor
from systems.memory.published import INSTANTMESH_LARGE, MODELS

HALF = torch.float16


def build(name: str, part: str, dtype: torch.dtype = HALF):
    """Builds a part of a published model, frozen; on fake tensors inside their mode."""
    from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel

    kinds = {"unet": UNet2DConditionModel, "transformer": SD3Transformer2DModel, "vae": AutoencoderKL}
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return kinds[part](**MODELS[name][part]).requires_grad_(False).eval()
    finally:
        torch.set_default_dtype(before)


def network_of(name: str) -> str:
    """Returns which part of a model predicts."""
    return "transformer" if "transformer" in MODELS[name] else "unet"


def asked(name: str, network, count: int) -> dict:
    """Makes the inputs of a model's network for `count` images, as its backbone does."""
    config, (tokens, width), half = network.config, MODELS[name]["tokens"], network.dtype
    side = config.sample_size
    x, t = torch.empty(count, config.in_channels, side, side, dtype=half), torch.zeros(count, dtype=torch.long)
    text = torch.empty(count, tokens, width, dtype=half)
    if network_of(name) == "transformer":
        pooled = torch.empty(count, config.pooled_projection_dim, dtype=half)
        return {
            "hidden_states": x,
            "timestep": t.float(),
            "encoder_hidden_states": text,
            "pooled_projections": pooled,
        }
    inputs = {"sample": x, "timestep": t, "encoder_hidden_states": text}
    if config.addition_embed_type == "text_time":
        pooled = torch.empty(count, 1280, dtype=half)
        inputs["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": torch.empty(count, 6, dtype=half)}
    if config.class_embed_type == "projection":
        inputs["class_labels"] = torch.empty(count, config.projection_class_embeddings_input_dim, dtype=half)
    return inputs


def adapt(network) -> None:
    """Adds VSD's adapter to a network on fake tensors."""
    from peft import LoraConfig

    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    with mock.patch.object(torch.nn.Module, "_apply", lambda module, *given: module):  # it is where it should be
        network.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=targets))


def count_network(name: str) -> dict:
    """Counts a network: its parameters, a prediction without gradients, and one that an adapter learns from (VSD)."""
    with FakeTensorMode():
        network = build(name, network_of(name))
        found = {"parameters": sum(p.numel() for p in network.parameters())}
        with torch.no_grad():
            found["predict"] = line(lambda n: peak_of(lambda: network(**asked(name, network, n)).sample, network)[0])
        adapt(network)

        def learn(n):
            return network(**asked(name, network, n)).sample

        found["learn_kept"] = line(lambda n: peak_of(lambda: learn(n), network)[1])
        found["learn"] = line(lambda n: peak_of(lambda: learn(n).float().square().mean().backward(), network)[0])
    return found


GECO = "zero123plus"
TILED, SEEN = (120, 80), (64, 64)
"""Latents of six views of 320 x 320 pixels, and of the image that they attend to."""


def count_training(
    name: str, sides: list[tuple[int, int]], counts: tuple[int, int], checkpointing: bool = False, parts: int = 1
) -> dict:
    """Counts the training of all of a U-Net in single precision under autocast, which sees images of these sides.

    The peak includes the gradients, and is that of several parts of a batch, one after the other.
    """
    from diffusers import UNet2DConditionModel

    with FakeTensorMode():
        network = UNet2DConditionModel(**MODELS[name]["unet"]).requires_grad_(True).train()
        if checkpointing:
            network.enable_gradient_checkpointing()

        def learn(n):
            seen = asked(name, network, n)
            with torch.autocast("cpu", torch.bfloat16):
                outputs = [network(**seen | {"sample": torch.empty(n, 4, *side)}).sample for side in sides]
            return sum(output.float().square().mean() for output in outputs)

        return {
            "parameters": sum(p.numel() for p in network.parameters()),
            "kept": line(lambda n: peak_of(lambda: learn(n), network)[1], *counts),
            "peak": line(lambda n: peak_of(lambda: [learn(n).backward() for _ in range(parts)], network)[0], *counts),
        }


def count_vae(name: str) -> dict:
    """Counts a VAE: its parameters, and an image's encoding without gradients, with them, and decoding."""
    with FakeTensorMode():
        vae = build(name, "vae")
        pixels = MODELS[name][network_of(name)]["sample_size"]

        def images(n, grad):
            return torch.empty(n, 3, 8 * pixels, 8 * pixels, dtype=HALF, requires_grad=grad)

        def encode(n, grad):
            return vae.encode(images(n, grad)).latent_dist.mean

        found = {"parameters": sum(p.numel() for p in vae.parameters())}
        with torch.no_grad():
            found["encode"] = line(lambda n: peak_of(lambda: encode(n, False), vae)[0], 1, 2)
            latents = MODELS[name]["vae"]["latent_channels"]

            def decode(n):
                return vae.decode(torch.empty(n, latents, pixels, pixels, dtype=HALF)).sample

            found["decode"] = line(lambda n: peak_of(lambda: decode(n), vae)[0], 1, 2)
        found["learn_kept"] = line(lambda n: peak_of(lambda: encode(n, True), vae)[1], 1, 2)
        found["learn"] = line(lambda n: peak_of(lambda: encode(n, True).float().sum().backward(), vae)[0], 1, 2)
    return found


def count_reconstructor(design: str) -> dict:
    """Counts a reconstructor of InstantMesh-large's size, of a design: its parameters, and planes from six views."""
    with FakeTensorMode(), mock.patch.object(ViTModel, "post_init"):  # whose initial values depend on each other
        model = Reconstructor(**INSTANTMESH_LARGE | {"design": design}).train()

        def learn(n):
            with torch.autocast("cpu", torch.bfloat16):
                return model(torch.empty(n, 6, 3, 320, 320), torch.empty(n, 6, 16)).planes

        return {
            "parameters": sum(p.numel() for p in model.parameters()),
            "kept": line(lambda n: peak_of(lambda: learn(n), model)[1], 1, 2),
            "peak": line(lambda n: peak_of(lambda: learn(n).float().square().mean().backward(), model)[0], 1, 2),
        }


def count_perceptual() -> dict:
    """Counts the networks of perceptual losses, in single precision: bytes a pixel of an image that learns.

    The scorer makes all images small, and takes next to nothing.
    """

    def each(network):
        def learn(n):
            maps = network(torch.rand(n, 3, 256, 256, requires_grad=True))
            sum(F.normalize(one, dim=1).square().mean() for one in maps).backward()

        return line(lambda n: peak_of(lambda: learn(n))[0], 1, 2)[1] / 256**2

    with FakeTensorMode():
        return {"scorer": 0, "lpips": round(each(Vgg()))}


class Vgg(torch.nn.Module):
    """VGG16's convolutions (Simonyan and Zisserman 2014, table 1, D); gives the five maps that LPIPS compares."""

    def __init__(self):
        super().__init__()
        widths = [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3]
        into = [3, 64, 128, 256, 512]
        self.blocks = torch.nn.ModuleList(
            torch.nn.ModuleList(
                torch.nn.Conv2d(a, b, 3, padding=1) for a, b in zip([first, *block], block, strict=False)
            )
            for first, block in zip(into, widths, strict=True)
        ).requires_grad_(False)

    def forward(self, x):
        maps = []
        for i, block in enumerate(self.blocks):
            x = F.max_pool2d(x, 2) if i else x
            for conv in block:
                x = F.relu(conv(x), inplace=True)
            maps.append(x)
        return maps
