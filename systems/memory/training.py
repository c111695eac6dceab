"""Estimates what trainings take of a GPU's memory, from what was counted of their networks.

A training keeps its networks, with gradients and Adam's moments of those that learn; a step takes what the networks
keep for the backward pass. Only sizes that are in `published.py` are known, in the precision that was counted.
"""

from typing import Any

from systems.memory.counted import BYTES, TRAINED, at, counted, largest
from systems.memory.known import large_design, model_of
from systems.memory.published import MODELS
from threestudio_like.engine.memory import Memory

VISION = 632_076_800
"""Parameters of Zero123++'s CLIP vision encoder."""
KEYS_EACH = 46_530_560
"""Bytes of the keys and values that views attend to, of one image, in half precision."""
GRID = 128
"""Cubes along each axis in which a reconstructor of InstantMesh-large's size finds a surface."""


def geometric_training(config: Any, mixed: bool) -> Memory | None:
    """Estimates the training of a geometric prior, of its `GeometricTrainingConfig`; None where its base is unknown, or
    it is trained in another precision than was counted."""
    if model_of(config.backbone.config) != "sd21" or not mixed:
        return None
    found = counted()["training"]["agp_checkpointed" if config.gradient_checkpointing else "agp"]
    texts = 4 * MODELS["sd21"]["text"]
    network = 4 * found["parameters"]
    step = at(found["peak"], min(config.batch, config.at_once or config.batch))
    return Memory(
        (
            ("U-Net", network),
            ("text encoder", texts),
            ("average", network + texts),
            ("Adam", 2 * network),
            ("step", step),
        )
    )


def geco(config: Any, mixed: bool) -> Memory | None:
    """Estimates a stage of GECO, of its `GecoViewsConfig` or `GecoSceneConfig`.

    None where its teacher is unknown, or it is trained in another way than was counted.
    """
    prior = config.backbone.config
    if model_of(prior) != "zero123plus" or config.generator.lora is not None or not mixed:
        return None
    models, found = counted()["models"]["zero123plus"], counted()["training"]["geco"]
    half, network, sizes = BYTES[prior.precision], 4 * found["parameters"], counted()["reconstructors"]["instantmesh"]
    teacher = half * (models["network"]["parameters"] + models["vae"]["parameters"] + VISION)
    frozen = (("teacher", teacher), ("reconstructor", 4 * sizes["parameters"]), ("generator", network))
    if hasattr(config, "guidance"):
        if config.guidance.type != "vsd" or config.guidance.config.fake_score.type != "copy" or config.pairs > 0:
            return None
        guided = config.batch * (1 if config.generator.scale == 1 else 2)
        kept = 0 if config.recompute else at(found["kept"], guided)
        step = max(kept + at(found["peak"], config.batch), network + at(found["peak"], guided))
        return Memory((*frozen, ("fake score", network), ("Adam", 4 * network), ("step", step)))
    cameras = config.cameras.config
    drawn = drawn_bytes(config, sizes, int(cameras.views) * largest(cameras.size) ** 2)
    if drawn is None:
        return None
    step = max(
        teachers_views_bytes(prior, models), at(sizes["peak"], config.batch) + grid_bytes(sizes) + config.batch * drawn
    )
    return Memory((*frozen, ("distilled", (TRAINED - 4) * sizes["parameters"]), ("step", step)))


def teachers_views_bytes(prior: Any, models: dict[str, Any]) -> float:
    """Returns what the teacher's views take, of several objects at once: with and without the image, then decoded."""
    from systems.geco.targets import TOGETHER

    tiled, counted_side = 120 * 80, MODELS["zero123plus"]["unet"]["sample_size"] ** 2
    drawing = at(models["network"]["predict"], 2 * TOGETHER) * tiled / counted_side
    keys = 2 * TOGETHER * KEYS_EACH
    images = 1 if prior.vae_slicing else TOGETHER
    return keys + max(drawing, at(models["vae"]["decode"], images) * tiled / counted_side)


def reconstructor(config: Any, mixed: bool) -> Memory | None:
    """Estimates the training of a reconstructor, of its `ReconstructorTrainingConfig`.

    None where it has not InstantMesh-large's sizes, or is trained in another way than was counted.
    """
    design = large_design(config)
    if design is None or not mixed:
        return None
    sizes = counted()["reconstructors"][design]
    drawn = drawn_bytes(config, sizes, config.targets * config.data.target_size**2)
    if drawn is None:
        return None
    model = 4 * sizes["parameters"]
    step = max(model, at(sizes["peak"], config.batch) + grid_bytes(sizes) + config.rendered * drawn)
    return Memory((("model", model), ("average", model), ("Adam", 2 * model), ("step", step)))


def drawn_bytes(config: Any, sizes: dict[str, Any], pixels: int) -> float | None:
    """Returns what the views of one object take, of so many pixels in all, and the perceptual loss of them.

    None for a renderer or a loss that was not counted.
    """
    seen = counted()["perceptual"].get(config.perceptual.type)
    if seen is None or config.renderer.type not in ("mesh", "volume"):
        return None
    if config.renderer.type == "mesh":
        a, b, c = sizes["mesh"]
        drawn = a * pixels * config.renderer.config.supersample**2 + b * GRID**2 + c * GRID**3
    else:
        a, b = sizes["volume"]
        drawn = (a * sizes["samples"] + b) * pixels
    return drawn + seen * pixels


def grid_bytes(sizes: dict[str, Any]) -> float:
    """Returns what the grid takes that the surfaces of all objects share."""
    return sizes["grid"] * GRID**3
