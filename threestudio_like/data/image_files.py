"""Files of users' images: found, and read as small upright pictures whatever they hold."""

import logging
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from threestudio_like.errors import UserError, brief
from threestudio_like.utils.files import regular
from threestudio_like.utils.paths import expanded

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What is opened, whatever a file is called: other readers of Pillow start programs."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MOST_PIXELS = 80_000_000
WORKING_SIZE = 1024
"""Larger images are reduced to this many pixels on their longer side first."""
STRIP = 64
"""Rows of the reduced picture that are converted at once."""
ORIENTATION = 0x0112
"""The Exif tag of the way that a camera was held."""


def image_files(path: Path) -> list[Path]:
    """Lists the image itself, or those of a folder by name. Raises UserError where there is none."""
    path = expanded(path)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not found:
            raise UserError(f"{path}: no images in this folder; those that can be read end in {', '.join(SUFFIXES)}")
        return found
    if not path.exists():
        raise UserError(no_image(path))
    if not path.is_file():
        raise UserError(f"{path}: this is neither a file nor a folder of images")
    return [path]


def no_image(path: Path) -> str:
    """Says that there is no image at a path, which may be an address."""
    address = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/|data:", str(path))
    if address is None:
        return f"{path}: there is no such image"
    return (
        f"{path}: images are read from files; {'give its path alone' if address[1] == 'file' else 'download it first'}"
    )


def read(path: Path) -> Image.Image:
    """Reads the first picture of a file as RGBA, upright, at most WORKING_SIZE pixels wide and high. Raises
    UserError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is lower
            image = Image.open(regular(path), formats=FORMATS)
    except FileNotFoundError:
        raise UserError(no_image(path)) from None
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
        several = getattr(image, "n_frames", 1) > 1
        try:
            image.draft(None, (2 * WORKING_SIZE, 2 * WORKING_SIZE))  # a JPEG need not be decoded at its full size
            orientation = image.getexif().get(ORIENTATION)
            image.load()
            premultiplied = reduced(image)
        except Exception as error:
            raise UserError(f"{path}: the image is damaged or of an unreadable kind ({brief(error)})") from None
        if several:
            logging.getLogger(__name__).info("%s has several pictures; the first is taken", path)
    premultiplied.thumbnail((WORKING_SIZE, WORKING_SIZE), Image.Resampling.BOX)
    rgba = premultiplied.convert("RGBA")
    if orientation is not None:
        rgba.getexif()[ORIENTATION] = orientation
    return ImageOps.exif_transpose(rgba)


def reduced(image: Image.Image) -> Image.Image:
    """Returns a picture as premultiplied RGBA, reduced by a whole factor while both sides stay large enough.

    It is converted strip by strip, so that a large one takes little more memory than its own pixels.
    """
    factor = max(1, max(image.size) // WORKING_SIZE)
    brightest = brightest_of(image)
    columns, rows = (-(-side // factor) for side in image.size)
    made = Image.new("RGBa", (columns, rows))
    for top in range(0, rows, STRIP):
        box = (0, top * factor, image.width, min((top + STRIP) * factor, image.height))
        strip = eight_bit(image.crop(box), brightest).convert("RGBA").convert("RGBa")  # hidden colours must not show
        made.paste(strip.reduce(factor), (0, top))
    return made


def brightest_of(image: Image.Image) -> float | None:
    """Returns the value of white in a grey picture of 16 or 32 bits; None in others.

    Raises ValueError for negative values and those that are not finite.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;"):
        return None
    extrema: Any = image.getextrema()  # of a picture of one channel
    darkest, brightest = map(float, extrema)
    if not np.isfinite([darkest, brightest]).all() or darkest < 0:
        raise ValueError("its values are negative or not finite")
    return 1.0 if image.mode == "F" and brightest <= 1 else 255.0 if brightest <= 255 else 65535.0


def eight_bit(image: Image.Image, brightest: float | None) -> Image.Image:
    """Converts grey pictures of 16 or 32 bits to 8, which Pillow itself would clip; leaves others as they are."""
    if brightest is None:
        return image
    grey = np.nan_to_num(np.asarray(image).astype(np.float64), nan=-1.0)
    if grey.min() < 0:
        raise ValueError("its values are negative or not finite")
    return Image.fromarray((grey / brightest * 255).round().clip(0, 255).astype(np.uint8))
