"""User's images prepared for image-to-3D models: the object alone, centred, as large in the frame as in training, on
white."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from PIL import Image
from scipy.ndimage import label
from torch import Tensor

from threestudio_like.config.ranges import Part
from threestudio_like.data.image_files import read
from threestudio_like.errors import UserError, brief
from threestudio_like.utils.paths import expanded

FEWEST_PIXELS = 8  # along the object's longer side
OPAQUE = 250  # of 255
LIKE_BACKGROUND, UNLIKE_BACKGROUND = 0.025, 0.06
"""Colour differences, in 0..1, up to which a pixel is background, and from which it is object; between them, both.
On a background with grain they are larger: 1.5 and 2.7 times what 95 % of the border's pixels stay below."""
FLAT = 2.5 / 255
"""Colour difference up to which a background is of one colour but for its file's rounding."""
HOLE = 0.005
"""Enclosed background of at least this share of the object's pixels is seen through a hole, and is not the object's."""
FAINTEST = 0.1
"""Opacity below which nothing counts as an object."""
SPECK = 0.02
"""Parts with less than this share of the largest part's solid pixels belong to the background."""
PLAIN_BORDER, FLAT_BORDER, CLEAR_BORDER = 0.95, 0.6, 0.5
"""Shares of the border's pixels that must have one colour for the background to be called plain; that must have it but
for rounding, which tells so of fewer; and that must be clear for the object to be called cut out."""
LARGEST_PART = 0.5
"""Share of the object that its largest part must have before a grainy background, in which any photograph has spots."""


@dataclass(frozen=True)
class ImageLoading:
    """Settings for cutting out and framing the object of an image."""

    background: Literal["auto", "alpha", "plain", "rembg"] = "auto"
    """The way to tell the object from its background: by its alpha channel, by a plain colour all along the border, by
    rembg where that is installed, or by the first of these that can (auto; for an image with a mostly opaque border,
    the colour comes first)."""
    fill: Part | None = 0.7
    """The object's longer side as a share of the frame's, in whose middle it is put; toys are on average as large. Null
    keeps the frame, made square."""


def load_image(path: Path, size: int, loading: ImageLoading = ImageLoading()) -> Float[Tensor, "3 size size"]:
    """Loads the object of an image file, in 0..1, on white. Raises UserError where that cannot be done."""
    path = expanded(path)
    image = read(path)
    color, alpha = foreground(image, path, loading.background)
    solid = solid_part(alpha)
    if not solid.any():
        raise UserError(f"{path}: there is no object in it, only background")
    rows, columns = (np.flatnonzero(solid.any(axis)) for axis in (1, 0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    longer = max(bottom - top, right - left)
    if longer < FEWEST_PIXELS:
        raise UserError(
            f"{path}: the object is only {right - left} x {bottom - top} pixels large; it takes at least "
            f"{FEWEST_PIXELS}"
        )
    if loading.fill is None:
        half = 0.5 * max(solid.shape)
        middle = 0.5 * solid.shape[1], 0.5 * solid.shape[0]
    else:
        half = 0.5 * longer / loading.fill
        middle = 0.5 * (left + right), 0.5 * (top + bottom)
    on_white = np.clip(color * alpha[..., None] + 1 - alpha[..., None], 0, 1)
    pad = int(np.ceil(half)) + 1
    padded = np.pad(on_white, ((pad, pad), (pad, pad), (0, 0)), constant_values=1.0)
    box = (middle[0] - half + pad, middle[1] - half + pad, middle[0] + half + pad, middle[1] + half + pad)
    whole = Image.fromarray((padded * 255).round().astype(np.uint8))
    square = whole.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1).float() / 255


def foreground(
    image: Image.Image, path: Path, method: str
) -> tuple[Float[np.ndarray, "H W 3"], Float[np.ndarray, "H W"]]:
    """Separates the object: its colours and opacity, in 0..1. Raises UserError where the background cannot be told from
    it."""
    pixels = np.asarray(image).astype(np.float32) / 255
    color, alpha = pixels[..., :3], pixels[..., 3]
    transparent = bool((np.asarray(image)[..., 3] < OPAQUE).any())
    if method == "alpha" and not transparent:
        raise UserError(f"{path}: nothing in it is transparent; use background=plain, rembg or auto")
    cut_out = transparent and (~border_of(solid_part(alpha))).mean() >= CLEAR_BORDER
    if method == "plain" or (method == "auto" and not cut_out):
        keyed = keyed_out(color)
        if keyed is not None:
            return keyed[0], np.minimum(keyed[1], alpha)
    if method in ("alpha", "auto") and transparent:
        return color, without_specks(alpha)
    if method == "plain":
        raise UserError(
            f"{path}: its border has no plain colour that could be the background's; cut the object out, or "
            "use background=rembg"
        )
    return by_rembg(image, path, method)


def solid_part(alpha: Float[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Finds the pixels that are at least half as opaque as the most opaque one: glass is an object too."""
    return alpha > max(0.5 * alpha.max(), FAINTEST)


def keyed_out(color: Float[np.ndarray, "H W 3"]) -> tuple[np.ndarray, np.ndarray] | None:
    """Separates the object from a plain background; None where the border is not of one colour.

    Nor is one where it is grainy and what differs from it lies scattered, as in a photograph of little contrast.
    """
    border = border_of(color)
    backdrop = np.median(border, axis=0)
    difference = np.abs(border - backdrop).max(-1)
    plain = (difference < UNLIKE_BACKGROUND).mean() >= PLAIN_BORDER
    if not plain and (difference <= FLAT).mean() < FLAT_BORDER:
        return None
    grain = np.quantile(difference, 0.95) if plain else FLAT  # the rest of a flat border is the object's
    found, alpha = key_out(color, backdrop, float(grain))
    if grain > LIKE_BACKGROUND and largest_part(alpha) < LARGEST_PART:
        return None
    return found, alpha


def border_of(image: Shaped[np.ndarray, "H W ..."]) -> Shaped[np.ndarray, "N ..."]:
    """Collects the outermost pixels."""
    return np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])


def key_out(
    color: Float[np.ndarray, "H W 3"], backdrop: Float[np.ndarray, "3"], grain: float
) -> tuple[np.ndarray, np.ndarray]:
    """Makes background-coloured pixels transparent that are connected to the border, or seen through a hole.

    The edge colours are un-mixed.
    """
    difference = np.abs(color - backdrop).max(-1)
    like, unlike = max(LIKE_BACKGROUND, 1.5 * grain), max(UNLIKE_BACKGROUND, 2.7 * grain)
    padded, _ = label(np.pad(difference < unlike, 1, constant_values=True))
    parts, outside = padded[1:-1, 1:-1], padded[0, 0]
    sizes = np.bincount(parts.ravel())
    alike = np.bincount(parts.ravel(), weights=(difference < like).ravel()) / np.maximum(sizes, 1)
    open_to = (sizes >= HOLE * sizes[0]) & (alike > 0.7)  # else a detail of the object that happens to be so coloured
    open_to[[0, outside]] = False, True
    partly = np.clip((difference - like) / (unlike - like), 0, 1)
    alpha = np.where(open_to[parts], partly, 1.0)
    alpha = without_specks(alpha) if alpha.max() > 0.5 else np.zeros_like(alpha)
    unmixed = (color - (1 - alpha[..., None]) * backdrop) / np.maximum(alpha[..., None], 1e-3)
    return np.clip(np.where(alpha[..., None] > 0, unmixed, color), 0, 1), alpha


def largest_part(alpha: Float[np.ndarray, "H W"]) -> float:
    """Computes the share of the solid pixels that are connected to each other; 1 where there are none."""
    parts, count = label(solid_part(alpha))
    return float(np.bincount(parts.ravel())[1:].max() / (parts > 0).sum()) if count else 1.0


def without_specks(alpha: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """Makes dust transparent, which would count as the object's in framing."""
    parts, _ = label(alpha > 0)
    solid = np.bincount(parts.ravel(), weights=solid_part(alpha).ravel())
    solid[0] = 0
    return np.where((solid >= SPECK * solid.max())[parts], alpha, 0.0)


def by_rembg(image: Image.Image, path: Path, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Separates the object by rembg's salient object network. Raises UserError where it is not installed or fails."""
    try:
        import rembg
    except ImportError:
        found = "its background is neither transparent nor plain" if method == "auto" else "rembg is not installed"
        raise UserError(f'{path}: {found}; cut the object out, or pip install -e ".[rembg]"') from None
    try:
        pixels = np.asarray(rembg.remove(image.convert("RGB"))).astype(np.float32) / 255
    except Exception as error:  # whatever its network or the fetching of that raises
        raise UserError(f"{path}: rembg failed ({brief(error)})") from None
    return pixels[..., :3], without_specks(pixels[..., 3])
