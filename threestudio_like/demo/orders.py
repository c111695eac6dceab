"""Says what a visitor asks for, and refuses what cannot be made before it takes a place in the line."""

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from threestudio_like.config.loading import load
from threestudio_like.config.recipe import Recipe, parse_recipe, slug
from threestudio_like.data.images import ImageLoading, load_image
from threestudio_like.demo.methods import FEWEST, Method, shortened
from threestudio_like.engine.monitor import to_bytes
from threestudio_like.errors import UserError

LONGEST = 300
"""Letters of a prompt."""
MEGABYTES = 20
"""The size of an image's file."""
SHOWN = 256
"""Side length in pixels of the cut-out that is shown."""
LARGEST_SEED = 2**31 - 1
_one_at_a_time = threading.Lock()  # a large picture takes a gigabyte while it is read


@dataclass(frozen=True)
class Order:
    """A mesh of an image or of a text, by one of the methods."""

    method: Method
    prompt: str = ""
    image: Path | None = None
    share: float = 1.0
    """Of the recipe's steps, in `FEWEST`..1; one pass has none."""
    seed: int = 0

    @property
    def name(self) -> str:
        """Names its run's folder."""
        return slug(f"{self.image.stem if self.image is not None else self.prompt} {self.method.name}")

    def public(self, text: str) -> str:
        """Names the uploaded image in a sentence as the visitor does, without its place on this machine."""
        return text if self.image is None else text.replace(str(self.image), self.image.name)

    def check(self) -> None:
        """Raises UserError for what cannot be made."""
        if self.image is None and not self.prompt.strip():
            raise UserError("there is nothing to make a mesh of; give an image, or a prompt such as: a red dog")
        if len(self.prompt) > LONGEST:
            raise UserError(f"the prompt has {len(self.prompt)} letters; {LONGEST} are the most")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise UserError(f"the seed must be a whole number from 0 to {LARGEST_SEED}")
        if not FEWEST <= self.share <= 1:
            raise UserError(f"the share of the recipe's steps must be from {FEWEST:.0%} to 100%")
        if self.image is not None:
            cut_out(self.image)

    def recipe(self, folder: Path) -> Recipe:
        """Returns the recipe of its run in this folder. Raises UserError."""
        shown = "generation.show" if self.method.in_one_pass else "evaluation"
        keys = [f"seed={self.seed}", f"out={folder}", f"{shown}.video_frames=0"]  # the page turns the mesh itself
        plain = load(self.method.recipe, [*keys, *([f"prompt={self.prompt.strip()}"] if self.prompt else [])])
        name = Path(self.method.recipe).stem
        return parse_recipe(plain if self.method.in_one_pass else shortened(plain, self.share), name)


def cut_out(image: Path) -> UInt8[np.ndarray, "H W 3"]:
    """Returns the object of an uploaded image as GECO is shown it, larger. Raises UserError, which names the file."""
    size = image.stat().st_size
    if size > MEGABYTES * 10**6:
        raise UserError(f"{image.name}: the file has {size / 10**6:.0f} MB; {MEGABYTES} are the most")
    try:
        with _one_at_a_time:
            return to_bytes(load_image(image, SHOWN, ImageLoading()).permute(1, 2, 0))
    except UserError as error:
        raise UserError(str(error).replace(str(image), image.name)) from None
