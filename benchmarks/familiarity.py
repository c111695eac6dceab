"""Fits the statistic that tells unfamiliar images, writes it into a prior's folder, and measures its errors.

    python -m benchmarks.familiarity [--model priors/weights/multiview] [--count 4000]

False alarms are counted on new toys, of training pairs and of held-out ones, as photographed and as a user's image is
framed; misses on windows of scikit-image's photographs: whole, framed on white, and cut out as an ellipse and in the
outlines of toys.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import skimage
import torch
import torch.nn.functional as F
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import priors
from priors.familiarity import Familiarity, features
from threestudio_like.data.framing import Framing, reframe
from threestudio_like.data.images import ImageLoading
from threestudio_like.data.toybox.multiview import MultiviewSet
from threestudio_like.data.toybox.photographs import Photographs, cached_dataset
from threestudio_like.utils.color import random_hues, turn_hues

PHOTOGRAPHS = (
    "astronaut brick camera cell chelsea clock_motion coffee coins color grass gravel hubble_deep_field ihc "
    "microaneurysms moon motorcycle_left page retina rocket text"
).split()
WINDOWS, SEED = 10, 0
"""Windows of each photograph, and the seed of their places."""
HUES = 0.5  # as in the training of the prior


def on_white(toys: Photographs) -> torch.Tensor:
    """Composes photographs of toys on white, in 0..1."""
    return toys.images(np.arange(len(toys)), torch.ones(len(toys), 3))


def windows(size: int) -> torch.Tensor:
    """Cuts squares out of scikit-image's photographs, of 0.3 to 1 of the shorter side: `[N, 3, size, size]`."""
    folder, rng, found = Path(skimage.__file__).parent / "data", np.random.default_rng(SEED), []
    for name in PHOTOGRAPHS:
        with Image.open(next(folder.glob(f"{name}.*"))) as opened:
            image = opened.convert("RGB")
        for _ in range(WINDOWS):
            side = int(min(image.size) * rng.uniform(0.3, 1))
            left, top = rng.integers(image.width - side + 1), rng.integers(image.height - side + 1)
            part = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
            found.append(torch.from_numpy(np.asarray(part).copy()).permute(2, 0, 1).float() / 255)
    return torch.stack(found)


def shapes(photographs: torch.Tensor, toys: Photographs) -> dict[str, torch.Tensor]:
    """Shows the windows as an image may hold them, on white."""
    size, fill = photographs.shape[-1], ImageLoading().fill
    side = round(fill * size)
    small = F.interpolate(photographs, side, mode="bilinear", antialias=True)
    left, right = (size - side) // 2, size - side - (size - side) // 2
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    ellipse = ((x / 0.5) ** 2 + (y / fill) ** 2 < 1).float()
    outline = torch.from_numpy(toys.rgba[: len(photographs), ..., 3:]).permute(0, 3, 1, 2).float() / 255
    return {
        "photographs, whole": photographs,
        "photographs, framed on white": F.pad(small - 1, (left, right, left, right)) + 1,
        "photographs in an ellipse": 1 + (photographs - 1) * ellipse,
        "photographs in outlines of toys": framed(1 + (photographs - 1) * outline),
    }


def framed(images: torch.Tensor) -> torch.Tensor:
    """Frames objects as `load_image` does."""
    return reframe(images, torch.full((len(images),), ImageLoading().fill))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="priors/weights/multiview", help="folder of a multi-view prior")
    parser.add_argument("--count", type=int, default=4000, help="toys that the statistic is fitted to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    prior, capture = priors.load(given.model), MultiviewSet().capture()
    generator = torch.Generator().manual_seed(SEED)
    toys = cached_dataset(capture, given.count, 11, held_out=False)
    held_out = cached_dataset(capture, given.count // 4, 12, held_out=True)
    images = reframe(on_white(toys), Framing().draw(len(toys), generator))
    images = turn_hues(images, random_hues(len(images), HUES, generator))

    def seen(images: torch.Tensor) -> torch.Tensor:
        return torch.cat([features(prior, part) for part in images.split(256)])

    known = Familiarity.fit(seen(images))
    known.save(prior.folder)
    print(f"limit {known.limit:.2f}, written to {prior.folder}\n\n| images | n | called unfamiliar |\n|---|---|---|")
    judged = {"held-out toys": on_white(held_out), "the same, framed as a user's": framed(on_white(held_out))}
    judged |= shapes(windows(capture.size), held_out)
    for name, these in judged.items():
        share = (known.distance(seen(these)) > known.limit).float().mean().item()
        print(f"| {name} | {len(these)} | {100 * share:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
