"""Holds what results are compared with: the true toys of their prompts, or a folder of images."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from threestudio_like.cameras import Cameras, orbit
from threestudio_like.data.toybox.catalogue import make_toy
from threestudio_like.data.toybox.photographs import pack
from threestudio_like.data.toybox.render import Light, render_toys
from threestudio_like.errors import UserError
from threestudio_like.evaluate.clip import ImageTextScorer
from threestudio_like.evaluate.images import saturation
from threestudio_like.evaluate.toybox import toy_of
from threestudio_like.utils.seeding import seed_for

INDIVIDUALS = 4
"""True toys of each prompt that stand for the truth."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
VIEWS = 8


@dataclass(frozen=True, eq=False)
class Reference:
    """A comparison's `reference:`: `toybox`, the true toys of the prompts, or a folder of images."""

    source: str
    prompts: tuple[str, ...]

    @property
    def shared(self) -> bool:
        """Whether all prompts are compared with the same images."""
        return self.source != "toybox"

    @cached_property
    def toys(self) -> dict[str, tuple[str, str]]:
        """The category and colour of each prompt that names one."""
        return {prompt: toy for prompt in self.prompts if (toy := toy_of(prompt))}

    def check(self) -> None:
        """Raises UserError where there are no images, or no prompt names a toy."""
        if self.shared:
            _files(self.source)
        elif not self.toys:
            raise UserError("reference: no prompt names one of the Toybox's toys and colours; give a folder of images")

    def features(self, scorer: ImageTextScorer) -> dict[str, Float[Tensor, "N E"]]:
        """Computes the features of the reference's images, by prompt."""
        if self.shared:
            features = torch.cat([scorer.features(_read(path)).cpu() for path in _files(self.source)])
            return dict.fromkeys(self.prompts, features)
        return {
            prompt: scorer.features(torch.cat([true_views(*toy, i)[0] for i in range(INDIVIDUALS)])).cpu()
            for prompt, toy in self.toys.items()
        }

    @cached_property
    def saturation(self) -> dict[str, float]:
        """The mean saturation of each prompt's true toys, in 0..1."""
        return {
            prompt: float(np.mean([saturation(*true_views(*toy, i)).mean().item() for i in range(INDIVIDUALS)]))
            for prompt, toy in self.toys.items()
        }


def turntable(size: int) -> Cameras:
    """Places the cameras of true toys' views, 15 degrees above, as the runs' turntables have them."""
    return orbit(VIEWS, 15.0, 2.7, 41.0, size)


def true_views(
    category: str, color: str, individual: int, size: int = 64, light: Light | None = None
) -> tuple[Float[Tensor, "8 3 S S"], Float[Tensor, "8 1 S S"]]:
    """Renders a true toy on the turntable before light grey, unlit where no light is given; and its opacity."""
    toy = make_toy(category, color, np.random.default_rng(seed_for("reference", individual)))
    view = render_toys(pack([toy] * VIEWS), turntable(size), light or Light.flat(VIEWS), 2)
    return (view.rgb + (1 - view.opacity) * 0.85).permute(0, 3, 1, 2), view.opacity.permute(0, 3, 1, 2)


def _files(folder: str) -> list[Path]:
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(files) < 2:
        raise UserError(f"reference: '{folder}' is not a folder with at least two images, nor 'toybox'")
    return files


def _read(path: Path) -> Float[Tensor, "1 3 H W"]:
    return torch.from_numpy(iio.imread(path, mode="RGB").copy()).permute(2, 0, 1)[None] / 255
