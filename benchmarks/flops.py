"""Counts the floating-point operations of published models on fake tensors, for `benchmarks/costs.py`.

A product and a sum are two operations. Attention counts with its matrix of weights; norms and activations do not count.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import ViTModel

HALF = torch.float16
ADAPTED = ("sd15", "sd21")
"""Models on which recipes use VSD."""
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.memory_of_models import GECO, SEEN, TILED, adapt, asked, build, network_of
from priors.reconstructor import Reconstructor
from systems.memory.published import INSTANTMESH_LARGE, MODELS


def attend(query: Tensor, key: Tensor, value: Tensor, *more, **named) -> Tensor:
    """Stands for `scaled_dot_product_attention`, by products that the counter knows."""
    return (query @ key.mT).softmax(-1) @ value


def flops_of(function: Callable[[], object]) -> int:
    """Counts the operations of a function, which may go backwards in it."""
    with mock.patch.object(F, "scaled_dot_product_attention", attend), FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def loss_of(result: Tensor) -> Tensor:
    """Makes a number of what a network made, to go backwards from."""
    return result.float().square().mean()


def network_flops(name: str) -> dict[str, int]:
    """Counts a network's prediction for one image, training all of it, and an adapter where VSD is done with it."""
    with FakeTensorMode():
        network = build(name, network_of(name))

        def predict() -> Tensor:
            return network(**asked(name, network, 1)).sample

        with torch.no_grad():
            found = {"predict": flops_of(predict)}
        if name in ADAPTED:
            adapt(network)
            found["adapt"] = flops_of(lambda: loss_of(predict()).backward())
    return found


def training_flops(name: str, sides: list[tuple[int, int]]) -> dict[str, int]:
    """Counts a U-Net that sees images of these sides: a prediction, and one with the gradients of all its weights."""
    with FakeTensorMode():
        network = build(name, "unet").requires_grad_(True)

        def predict() -> list[Tensor]:
            seen = asked(name, network, 1)
            return [
                network(**seen | {"sample": torch.empty(1, 4, *side, dtype=network.dtype)}).sample for side in sides
            ]

        with torch.no_grad():
            found = {"predict": flops_of(predict)}
        found["train"] = flops_of(lambda: sum(map(loss_of, predict())).backward())
    return found


def vae_flops(name: str) -> dict[str, int]:
    """Counts a VAE for one image: encoding it with the gradient by its pixels, and decoding."""
    with FakeTensorMode():
        vae = build(name, "vae")
        side, latents = MODELS[name][network_of(name)]["sample_size"], MODELS[name]["vae"]["latent_channels"]
        image = torch.empty(1, 3, 8 * side, 8 * side, dtype=vae.dtype, requires_grad=True)
        found = {"learn": flops_of(lambda: loss_of(vae.encode(image).latent_dist.mean).backward())}
        with torch.no_grad():
            found["encode"] = flops_of(lambda: vae.encode(image))
            found["decode"] = flops_of(lambda: vae.decode(torch.empty(1, latents, side, side, dtype=vae.dtype)))
    return found


def reconstructor_flops() -> dict[str, int]:
    """Counts a reconstructor of InstantMesh-large's size: planes of six views, without and with all gradients."""
    with FakeTensorMode(), mock.patch.object(ViTModel, "post_init"):  # whose initial values depend on each other
        model: nn.Module = Reconstructor(**INSTANTMESH_LARGE).requires_grad_(False)

        def planes() -> Tensor:
            return model(torch.empty(1, 6, 3, 320, 320), torch.empty(1, 6, 16)).planes

        found = {"predict": flops_of(planes)}
        model.requires_grad_(True)
        found["train"] = flops_of(lambda: loss_of(planes()).backward())
    return found


def count() -> dict[str, dict[str, dict[str, int]]]:
    """Counts everything that the recipes for large models use, by model and part."""
    found = {
        name: {"network": network_flops(name)} | ({"vae": vae_flops(name)} if "vae" in MODELS[name] else {})
        for name in MODELS
    }
    found["agp"]["training"] = training_flops("agp", [(64, 64)])
    found[GECO]["training"] = training_flops(GECO, [SEEN, TILED])
    found["reconstructor"] = {"network": reconstructor_flops()}
    return found
