"""Measures a text-to-image prior on the Toybox: `python -m benchmarks.samples [--model FOLDER] [--steps 10 ...]`.

Of its samples for every toy, in one seen and one held-out colour from four sides (208), or in every colour
(`--every-color`): what the scorer says of them; the background's noise, which is the standard deviation of the border's
pixels, of 255; and the outline's raggedness, its length over that of the smoothed outline, over what photographs have
(1 is true). Of photographs of the training pairs: the squared error of the clean image, in components, by timestep,
with one noise for all priors.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see launch.py

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from skimage.measure import perimeter
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from priors.backbones.pixel import PixelBackbone
from systems.geco.drawing import draw
from systems.geco.pipeline import TextToImage
from threestudio_like.config.registry import Component
from threestudio_like.data.images import border_of
from threestudio_like.data.toybox.catalogue import HEIGHTS
from threestudio_like.data.toybox.photographs import random_backgrounds
from threestudio_like.data.toybox.split import check_split
from threestudio_like.data.toybox.training_set import TrainingSet
from threestudio_like.evaluate.scorer import Scorer
from threestudio_like.evaluate.toybox import score_samples
from threestudio_like.pretrained import ModelConfig
from threestudio_like.utils.seeding import generator, on_the_cpu

TIMESTEPS = (100, 300, 500, 700, 900)
AT_ONCE = 64
SMOOTH = 1.5
"""Standard deviation, in pixels, by which an outline is smoothed."""
UNLIKE_BORDER = 0.1


def border_noise(images: Float[Tensor, "N 3 H W"]) -> Float[np.ndarray, "N"]:
    """Measures the standard deviation of each image's border, of 255."""
    return np.array([255 * border_of(image).std(axis=0).mean() for image in images.permute(0, 2, 3, 1).numpy()])


def raggedness(images: Float[Tensor, "N 3 H W"]) -> Float[np.ndarray, "N"]:
    """Measures the length of each object's outline over that of the smoothed one; images without an object are left
    out."""
    found = []
    for image in images.permute(0, 2, 3, 1).numpy():
        inside = np.abs(image - np.median(border_of(image), axis=0)).max(-1) > UNLIKE_BORDER
        smooth = gaussian_filter(inside.astype(float), SMOOTH) > 0.5
        if smooth.any():
            found.append(perimeter(inside) / perimeter(smooth))
    return np.array(found)


@torch.no_grad()
def errors(prior: PixelBackbone, count: int, seed: int = 5) -> dict[int, float]:
    """Measures the mean squared error of the clean image at each timestep, on photographs of the training pairs."""
    random = generator("cpu", "errors", seed)
    _, rng = on_the_cpu(random)
    photographs = TrainingSet(count=count).photographs()
    x = prior.encode(photographs.images(np.arange(count), random_backgrounds(count, random)))
    text = prior.embed([photographs.caption(i, *(rng.random(4) < 0.8)) for i in range(count)])
    noise = torch.randn(x.shape, generator=random)
    found = {}
    for step in TIMESTEPS:
        total = 0.0
        for part in torch.arange(count).split(AT_ONCE):
            t = torch.full((len(part),), step)
            x_t = prior.schedule.add_noise(x[part], noise[part], t)
            total += (prior.output(x_t, t, text[part], None) - x[part]).square().mean().item() * len(part)
        found[step] = total / count
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="priors/weights/toybox")
    parser.add_argument("--scorer", default="priors/weights/scorer")
    parser.add_argument("--height", choices=HEIGHTS, help="asked beside each side")
    parser.add_argument("--every-color", action="store_true", help="all pairs (1,144), and not two colours of a toy")
    parser.add_argument("--scale", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--denoising-end", type=float, default=0.5)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--photographs", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    check_split(given.model)
    config = TextToImage(
        Component("backbone", "pixel", ModelConfig(given.model)),
        scale=given.scale,
        steps=given.steps,
        denoising_end=given.denoising_end,
        draws=given.draws,
    )
    prior, drawn = PixelBackbone("cpu", model=given.model), []

    def sample(texts: list[str], seed: int) -> Tensor:
        asked = [f"{text} {given.height}" for text in texts] if given.height else texts
        drawn.append(draw(prior, config, asked, given.seed, seed))
        return drawn[-1]

    for name, value in score_samples(sample, Scorer.load(given.scorer), given.every_color).items():
        print(f"{name.removeprefix('samples_').replace('_', ' ')}: {100 * value:.1f} %")
    random = generator("cpu", "photographs", given.seed)
    true = TrainingSet(count=max(208, given.photographs)).photographs()
    true = true.images(np.arange(208), random_backgrounds(208, random))
    samples = torch.cat(drawn)
    print(f"noise of the border, of 255: {np.median(border_noise(samples)):.2f} ({np.median(border_noise(true)):.2f})")
    print(f"raggedness of outlines: {np.median(raggedness(samples)) / np.median(raggedness(true)):.3f}")
    print("squared error of the clean image at " + ", ".join(map(str, TIMESTEPS)))
    print(" ".join(f"{value:.4f}" for value in errors(prior, given.photographs).values()))


if __name__ == "__main__":
    main()
