"""Lays out a turntable's frames as one picture, which a page shows a frame of at a time."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageSequence

from threestudio_like.export.video import VIDEO_FORMATS

VIEWS = 8
"""Views in the upper half of a `turntable.png`."""
COLUMNS = 6
"""Frames side by side on a sheet."""
QUALITIES = (75, 55, 35, 15)
"""Of WebP, from which the first is taken that fits."""


@dataclass(frozen=True)
class Sheet:
    """A turntable's frames in one picture, in rows of `columns`; a still has one."""

    content: bytes
    """WebP."""
    frames: int
    columns: int
    rows: int

    @property
    def url(self) -> str:
        """The picture as a data URL."""
        return f"data:image/webp;base64,{base64.b64encode(self.content).decode()}"


def read_frames(folder: Path) -> list[np.ndarray] | None:
    """Reads a turntable's frames `[S, S, 3]` in bytes: the video's, else the picture's 8 views; None without both."""
    for read, path in (*((read_video, video) for video in videos_in(folder)), (read_views, folder / "turntable.png")):
        try:
            return read(path)
        except Exception:  # one that is damaged is as one that is gone
            continue
    return None


def videos_in(folder: Path) -> list[Path]:
    """Finds a run's turntables that move, in the order of `VIDEO_FORMATS`."""
    return [path for kind in VIDEO_FORMATS if (path := folder / f"turntable.{kind}").is_file()]


def read_video(path: Path) -> list[np.ndarray]:
    """Reads the frames of an MP4, GIF or WebP."""
    if path.suffix != ".mp4":
        with Image.open(path) as picture:
            return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)]
    with av.open(path) as video:
        stream = video.streams.video[0]
        stream.thread_type = "NONE"  # a gallery has a process for each core already
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(stream)]
    if not frames:
        raise ValueError(f"{path}: no frames")
    return frames


def read_views(path: Path) -> list[np.ndarray]:
    """Reads the views in the upper half of a `turntable.png`."""
    strip = read_picture(path)
    side = strip.shape[0] // 2
    if side == 0 or strip.shape != (2 * side, VIEWS * side, 3):
        raise ValueError(f"{path}: no strip of {VIEWS} views above {VIEWS}")
    return [strip[:side, i * side : (i + 1) * side] for i in range(VIEWS)]


def read_picture(path: Path) -> np.ndarray:
    """Reads a picture `[H, W, 3]` in bytes."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def lay_out(frames: list[np.ndarray], most: int, pixels: int, most_bytes: int) -> Sheet:
    """Lays out at most so many frames, evenly chosen and of so many pixels a side, in the best quality that fits.

    A still may have twice the side.
    """
    count = min(len(frames), most)
    pictures = [Image.fromarray(frames[i * len(frames) // count]) for i in range(count)]
    side = pixels * (2 if count == 1 else 1)
    for picture in pictures:
        picture.thumbnail((side, side), Image.Resampling.BOX)
    width, height = pictures[0].size
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    whole = Image.new("RGB", (columns * width, rows * height))
    for i, picture in enumerate(pictures):
        whole.paste(picture, (i % columns * width, i // columns * height))
    content = b""
    for quality in QUALITIES:
        content = webp(whole, quality)
        if len(content) <= most_bytes:
            break
    return Sheet(content, len(pictures), columns, rows)


def webp(picture: Image.Image, quality: int) -> bytes:
    """Encodes a picture."""
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality, method=2)
    return file.getvalue()
