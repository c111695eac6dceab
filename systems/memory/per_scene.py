"""Estimates what a stage of a per-scene method takes of a GPU's memory, from what was counted of its parts.

A stage keeps its models, and the scene with its gradients and Adam's moments. A step renders, then each guidance term
encodes and predicts one after the other, then all is gone through backwards; the largest sum of what is alive at once
is the estimate. Only models whose sizes are in `published.py` are known.
"""

import math
from collections.abc import Iterable
from typing import Any

from systems.memory.counted import BYTES, TRAINED, TYPICAL_SAMPLES, at, counted, largest
from systems.memory.known import model_of
from systems.memory.published import MODELS
from threestudio_like.config.registry import Component
from threestudio_like.engine.memory import Memory
from threestudio_like.kernels.hashgrid import HashGrid
from threestudio_like.kernels.tets import sizes_of_body_centred_grid
from threestudio_like.renderers.volume import UNSEEN


def per_scene(config: Any) -> Memory | None:
    """Estimates a stage of a per-scene method, of its `PerSceneConfig`; None where a part of it was not counted."""
    if not was_counted(config):
        return None
    priors = [term.backbone or config.backbone for term in config.guidance.values()]
    if any(prior is None or prior.type not in BACKBONES or model_of(prior.config) is None for prior in priors):
        return None
    models = sum(map(model_bytes, distinct(priors)))
    scene = config.particles * scene_bytes(config.scene)
    rendered, rendering = rendered_bytes(config)
    guided = guided_bytes(config, priors)
    texts = max(map(text_bytes, priors))
    if texts > models + scene + max(rendering, rendered + guided):
        return Memory((("text encoder", texts),))
    step = [("rendering", rendering)] if rendering > rendered + guided else [("render", rendered), ("guidance", guided)]
    return Memory((("models", models), ("scene", scene), *step))


BACKBONES = ("direct", "flow", "geometric", "latent", "pixel")
GUIDANCE = ("csd", "ism", "sdi", "sds", "vsd")


def was_counted(config: Any) -> bool:
    """Tells whether scene, renderer, cameras, guidance and fake scores are of the kinds that `counted.json` knows."""
    parts = (config.scene.type, config.renderer.type) in {("field", "volume"), ("tetmesh", "mesh")}
    if not all(term.method.type in GUIDANCE for term in config.guidance.values()):
        return False
    fake_scores = {term.method.config.fake_score.type for term in config.guidance.values() if learns(term)}
    return parts and config.cameras.type == "random" and fake_scores <= {"lora"}


def learns(term: Any) -> bool:
    """Tells whether a guidance term trains a fake score."""
    return term.method.type == "vsd"


def distinct(priors: list[Component]) -> list[Component]:
    """Returns the priors that are built: terms that name the same share it."""
    return [prior for i, prior in enumerate(priors) if prior not in priors[:i]]


def part_of(prior: Component, part: str) -> dict[str, Any] | None:
    """Returns what was counted of a part of a known prior's model; None where it has none."""
    name = model_of(prior.config)
    assert name is not None, "asked for known priors alone"
    return counted()["models"][name].get(part)


def network_of(prior: Component) -> dict[str, Any]:
    """Returns what was counted of a prior's network."""
    network = part_of(prior, "network")
    assert network is not None, "every model has one"
    return network


def vae_of(prior: Component) -> dict[str, Any] | None:
    """Returns what was counted of a prior's VAE; None where it is used without one."""
    return part_of(prior, "vae") if hasattr(prior.config, "vae_slicing") else None


def vae_precision(prior: Component) -> int:
    """Returns the bytes of a number in the VAE."""
    return BYTES[prior.config.vae_precision or prior.config.precision]


def model_bytes(prior: Component) -> float:
    """Returns the bytes of a prior's weights."""
    vae = vae_of(prior)
    network = network_of(prior)["parameters"] * BYTES[prior.config.precision]
    return network + (vae["parameters"] * vae_precision(prior) if vae else 0)


def text_bytes(prior: Component) -> float:
    """Returns the bytes of a prior's largest text encoder, which is gone when the network comes."""
    sizes = MODELS[model_of(prior.config) or ""]
    if prior.config.text_device == "cpu":
        return 0
    without_t5 = not getattr(prior.config, "t5", True)
    return sizes.get("text_without_t5" if without_t5 else "text", sizes["text"]) * BYTES[prior.config.precision]


def encoded_numbers(encoding: HashGrid, hidden: int, outputs: int) -> int:
    """Counts the parameters of a hash grid and its MLP."""
    grid = encoding.total_entries * encoding.n_features_per_level
    return grid + hidden * (encoding.width + 1) + outputs * (hidden + 1)


def scene_bytes(scene: Component) -> float:
    """Returns the bytes of a scene that is trained, and of its grid."""
    config = scene.config
    if scene.type == "field":
        return TRAINED * encoded_numbers(config.encoding, config.hidden, 4)
    vertices, tets, edges = sizes_of_body_centred_grid(config.resolution)
    shape = encoded_numbers(config.encoding, config.hidden, 1) if config.sdf == "mlp" else vertices
    numbers = shape + 3 * vertices + encoded_numbers(config.encoding, config.hidden, 5)
    return TRAINED * numbers + 17 * vertices + 40 * tets + 8 * edges


def rendered_bytes(config: Any) -> tuple[float, float]:
    """Returns the bytes that a render keeps for the backward pass, and those of rendering alone at its peak."""
    found, cameras, renderer = counted()["rendering"], config.cameras.config, config.renderer.config
    pixels = int(cameras.views) * largest(cameras.size) ** 2
    if config.renderer.type == "mesh":
        pixels *= renderer.supersample**2
        vertices = sizes_of_body_centred_grid(config.scene.config.resolution)[0]
        kept, peak = (a * pixels + b * vertices for a, b in (found["mesh"][key] for key in ("kept", "peak")))
        return kept, peak + found["part"]
    longest = math.ceil(2 * math.sqrt(3) / renderer.render_step_size)
    looked_at, drawn = longest * max(pixels, config.evaluation.video_size**2), longest * pixels
    if renderer.max_samples is None:
        drawn = min(drawn, TYPICAL_SAMPLES * pixels)
        looked_at = drawn
    else:
        drawn, looked_at = min(drawn, renderer.max_samples), min(looked_at, UNSEEN * renderer.max_samples)
    rates = found["volume_with_normals" if config.may_need_normals else "volume"]
    kept, peak = (a * drawn + b * pixels for a, b in (rates[key] for key in ("kept", "peak")))
    return kept, max(max(kept, peak) + found["part"], rates["looked_at"][0] * looked_at)


def guided_bytes(config: Any, priors: Iterable[Component]) -> float:
    """Returns what the terms take at their peak: VAEs' activations are kept, and what an adapter learns from.

    Backwards it goes from the last to the first, so that at each one's own peak there is kept what came before it.
    """
    views, kept = int(config.cameras.config.views), 0.0
    moments: list[float] = []
    for term, prior in zip(config.guidance.values(), priors, strict=True):
        network, vae = network_of(prior), vae_of(prior)
        half = BYTES[prior.config.precision] / 2
        if vae:
            scale, sliced = vae_precision(prior) / 2, prior.config.vae_slicing
            count = 1 if sliced else views
            moments += [kept + scale * at(vae[key], count) for key in ("encode", "learn")]
            kept += 0.0 if sliced else scale * at(vae["learn_kept"], views)
        texts = 4 if term.prompt.views == "perp_neg" else 2
        moments.append(kept + half * at(network["predict"], texts * views))
        if learns(term):
            moments.append(kept + half * at(network["learn"], views))
            kept += half * at(network["learn_kept"], views)
    return max(moments)
