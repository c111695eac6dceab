"""Renders the demo's example images: toys of held-out pairs, lit from above, seen as a user would photograph them.

python -m benchmarks.example_images [--out docs/images]
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image

from threestudio_like.config.recipe import slug
from threestudio_like.data.toybox.catalogue import caption
from threestudio_like.data.toybox.render import Light
from threestudio_like.engine.monitor import to_bytes
from threestudio_like.evaluate.reference import VIEWS, true_views

TOYS = (("car", "red"), ("tree", "yellow"), ("mushroom", "blue"), ("teapot", "orange"))
SIDE, SIZE, AMBIENT, SUN = 1, 256, 0.55, (0.3, -0.5, 0.8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    given = parser.parse_args()
    sun = F.normalize(torch.tensor(SUN), dim=-1).expand(VIEWS, 3)
    light = Light(sun, torch.full((VIEWS,), AMBIENT), torch.zeros(VIEWS, dtype=torch.bool))
    for category, color in TOYS:
        image = true_views(category, color, 0, SIZE, light)[0][SIDE]
        place = given.out / f"{slug(caption(category, color))}.png"
        Image.fromarray(to_bytes(image.permute(1, 2, 0))).save(place, optimize=True)
        print(place)


if __name__ == "__main__":
    main()
