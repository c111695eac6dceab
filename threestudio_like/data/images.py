"""User's images prepared for image-to-3D models: the object alone, centred, as large in the frame as in training, on
white."""

import logging
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy.ndimage import label
from torch import Tensor

from threestudio_like.config.ranges import Part
from threestudio_like.errors import UserError, brief
from threestudio_like.utils.files import regular
from threestudio_like.utils.paths import expanded

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What is opened, whatever a file is called: other readers of Pillow start programs."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MOST_PIXELS = 80_000_000
WORKING_SIZE = 1024
"""Larger images are reduced to this many pixels on their longer side first."""
FEWEST_PIXELS = 8  # along the object's longer side
OPAQUE = 250  # of 255
LIKE_BACKGROUND, UNLIKE_BACKGROUND = 0.025, 0.06
"""Colour differences, in 0..1, up to which a pixel is background, and from which it is object; between them, both.
On a background with grain they are larger: 1.5 and 2.7 times what 95 % of the border's pixels stay below."""
SPECK = 0.02
"""Parts with less than this share of the largest part's solid pixels belong to the background."""
PLAIN_BORDER, CLEAR_BORDER = 0.95, 0.5
"""Shares of the border's pixels that must have one colour for the background to be called plain, and that must be clear
for the object to be called cut out."""


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


def image_files(path: Path) -> list[Path]:
    """Lists the image itself, or those of a folder by name. Raises UserError where there is none."""
    path = expanded(path)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not found:
            raise UserError(f"{path}: no images in this folder; those that can be read end in {', '.join(SUFFIXES)}")
        return found
    if re.match(r"https?:/", str(path)):
        raise UserError(f"{path}: images are read from files; download it first")
    if not path.exists():
        raise UserError(f"{path}: there is no such image")
    if not path.is_file():
        raise UserError(f"{path}: this is no file and no folder of images")
    return [path]


def load_image(path: Path, size: int, loading: ImageLoading = ImageLoading()) -> Float[Tensor, "3 size size"]:
    """Loads the object of an image file, in 0..1, on white. Raises UserError where that cannot be done."""
    image = read(path)
    color, alpha = foreground(image, path, loading.background)
    solid = alpha > 0.5
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


def read(path: Path) -> Image.Image:
    """Reads the first picture of a file as RGBA, upright, at most WORKING_SIZE pixels wide and high. Raises
    UserError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is lower
            image = Image.open(regular(path), formats=FORMATS)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such image") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: this is not an image that can be read; save it as PNG, JPEG or WebP") from None
    except Image.DecompressionBombError:
        raise UserError(f"{path}: the image is too large; {MOST_PIXELS // 10**6} megapixels can be read") from None
    except Exception as error:  # damaged files fail in as many ways as there are readers
        raise UserError(f"{path}: the image cannot be opened ({brief(error)})") from None
    with image:
        width, height = image.size
        if width * height > MOST_PIXELS:
            raise UserError(
                f"{path}: the image has {width} x {height} pixels; {MOST_PIXELS // 10**6} megapixels can be read"
            )
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
            rgba = eight_bit(upright).convert("RGBA")
            several = getattr(image, "n_frames", 1) > 1
        except Exception as error:
            raise UserError(f"{path}: the image is damaged or of an unreadable kind ({brief(error)})") from None
        if several:
            logging.getLogger(__name__).info("%s has several pictures; the first is taken", path)
    premultiplied = rgba.convert("RGBa")  # or the hidden colours of clear pixels would show after reducing
    premultiplied.thumbnail((WORKING_SIZE, WORKING_SIZE), Image.Resampling.BOX)
    return premultiplied.convert("RGBA")


def eight_bit(image: Image.Image) -> Image.Image:
    """Converts grey pictures of 16 or 32 bits to 8, which Pillow itself would clip; leaves others as they are."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;"):
        return image
    grey = np.asarray(image).astype(np.float64)
    if not np.isfinite(grey).all() or grey.min() < 0:
        raise ValueError("its values are negative or not finite")
    brightest = 1.0 if image.mode == "F" and grey.max() <= 1 else 255.0 if grey.max() <= 255 else 65535.0
    return Image.fromarray((grey / brightest * 255).round().clip(0, 255).astype(np.uint8))


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
    cut_out = transparent and (border_of(alpha) < 0.5).mean() >= CLEAR_BORDER
    backdrop = plain_background(color) if method == "plain" or (method == "auto" and not cut_out) else None
    if backdrop is not None:
        color, keyed = key_out(color, backdrop)
        return color, np.minimum(keyed, alpha)
    if method in ("alpha", "auto") and transparent:
        return color, without_specks(alpha)
    if method == "plain":
        raise UserError(
            f"{path}: its border has no plain colour that could be the background's; cut the object out, or "
            "use background=rembg"
        )
    return by_rembg(image, path, method)


def plain_background(color: Float[np.ndarray, "H W 3"]) -> Float[np.ndarray, "3"] | None:
    """Finds the colour of nearly all of the border, if there is one."""
    border = border_of(color)
    middle = np.median(border, axis=0)
    return middle if (np.abs(border - middle).max(-1) < UNLIKE_BACKGROUND).mean() >= PLAIN_BORDER else None


def border_of(image: Float[np.ndarray, "H W ..."]) -> Float[np.ndarray, "N ..."]:
    """Collects the outermost pixels."""
    return np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])


def key_out(color: Float[np.ndarray, "H W 3"], backdrop: Float[np.ndarray, "3"]) -> tuple[np.ndarray, np.ndarray]:
    """Makes background-coloured pixels connected to the border transparent, and un-mixes the edge colours."""
    difference = np.abs(color - backdrop).max(-1)
    grain = np.quantile(border_of(difference), 0.95)
    like, unlike = max(LIKE_BACKGROUND, 1.5 * grain), max(UNLIKE_BACKGROUND, 2.7 * grain)
    parts, _ = label(np.pad(difference < unlike, 1, constant_values=True))
    around = (parts == parts[0, 0])[1:-1, 1:-1]
    partly = np.clip((difference - like) / (unlike - like), 0, 1)
    alpha = without_specks(np.where(around, partly, 1.0))
    unmixed = (color - (1 - alpha[..., None]) * backdrop) / np.maximum(alpha[..., None], 1e-3)
    return np.clip(np.where(alpha[..., None] > 0, unmixed, color), 0, 1), alpha


def without_specks(alpha: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """Makes dust transparent, which would count as the object's in framing."""
    parts, _ = label(alpha > 0)
    solid = np.bincount(parts.ravel(), weights=(alpha > 0.5).ravel())
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
