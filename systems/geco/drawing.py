"""Draws an image of a text, of which GECO then makes a mesh."""

import logging
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from priors.backbones.base import Backbone
from priors.backbones.latent import VAEBackbone
from priors.endings import Ended
from priors.sampling import ddim
from systems.geco.pipeline import Generation, TextToImage
from threestudio_like.data.images import load_image
from threestudio_like.engine.monitor import write_png
from threestudio_like.errors import UserError
from threestudio_like.utils.seeding import generator as make_generator

log = logging.getLogger(__name__)
MAX_DRAWINGS = 5
"""How many images are drawn of a prompt, at most, until the object of one can be cut out."""


def draw_object(backbone: Backbone, config: Generation, prompt: str, seed: int, file: Path, size: int) -> None:
    """Draws an image of the prompt into the file, again where its object cannot be told from the background."""
    assert config.text is not None, "check_request comes before"
    for attempt in range(MAX_DRAWINGS):
        write_png(file, draw(backbone, config.text, [prompt], seed, attempt)[0].permute(1, 2, 0))
        try:
            load_image(file, size, config.loading)
            return
        except UserError as error:
            log.info("drawing %d of at most %d: %s", attempt + 1, MAX_DRAWINGS, error)


@torch.no_grad()
def draw(backbone: Backbone, config: TextToImage, prompts: list[str], *keys: object) -> Float[Tensor, "N 3 H W"]:
    """Draws an image of each prompt, in 0..1; others for other keys."""
    device = backbone.device
    ending = config.view and f", {config.view}"
    *texts, uncond = backbone.embed([*(Ended(prompt, ending) for prompt in prompts), ""])
    size = backbone.image_size
    channels, height, width = backbone.encode(torch.zeros(1, 3, size, size, device=device)).shape[1:]

    def predict(x_t, t, texts):
        return backbone.output(x_t.to(backbone.dtype), t, texts.to(backbone.dtype), None)[:, :channels].float()

    clip = None if isinstance(backbone, VAEBackbone) else lambda x: backbone.encode(backbone.decode(x))
    x = ddim(
        predict,
        backbone.scheduler,
        torch.stack(texts),
        uncond.expand(len(texts), -1, -1),
        (channels, height, width),
        scale=config.scale,
        steps=config.steps,
        generator=make_generator(device, "image of a text", *keys),
        clip=clip,
        denoising_end=config.denoising_end,
        draws=config.draws,
    )
    return backbone.decode(x)
