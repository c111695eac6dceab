"""Turns textures into the PNG pictures that mesh formats hold or name."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from threestudio_like.scenes.mesh import Texture
from threestudio_like.utils.files import write_atomically


def picture(values: np.ndarray) -> Image.Image:
    """Makes a picture of values in 0..1."""
    return Image.fromarray(to_bytes(values))


def packed(texture: Texture) -> Image.Image | None:
    """Packs roughness in green and metallic in blue, as glTF says; None where they are not known."""
    if texture.rough_metal is None:
        return None
    rough, metal = to_bytes(texture.rough_metal).transpose(2, 0, 1)
    return Image.fromarray(np.stack([np.full_like(rough, 255), rough, metal], axis=-1))


def png(image: Image.Image) -> bytes:
    """Returns a picture as the bytes of a PNG."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def save_picture(values: np.ndarray, path: Path) -> None:
    """Writes values in 0..1 as a PNG."""
    write_atomically(path, lambda unfinished: picture(values).save(unfinished, "PNG"))


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Converts values in 0..1 to bytes."""
    return (values.clip(0, 1) * 255).round().astype(np.uint8)
