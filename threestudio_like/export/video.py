"""Writes turntable videos: MP4 that plays while it loads, and GIF or WebP that play wherever a picture is shown."""

import itertools
from pathlib import Path
from typing import Any, Literal, get_args

import imageio.v2 as imageio
import numpy as np
from jaxtyping import UInt8
from PIL import Image

VideoFormat = Literal["mp4", "gif", "webp"]
VIDEO_FORMATS: tuple[VideoFormat, ...] = get_args(VideoFormat)
SECONDS = 3.0
"""Once around."""
TICK = 10
"""Milliseconds in which GIF counts."""
SHORTEST = 20
"""Milliseconds of a picture, below which browsers take their own."""


def write_video(path: Path, frames: list[UInt8[np.ndarray, "H W 3"]]) -> None:
    """Writes frames in the format of the path's suffix, once around in three seconds, GIF and WebP for ever.

    GIF and WebP take longer where they have more than 150 frames.
    """
    if path.suffix != ".mp4":
        write_moving_picture(path, [Image.fromarray(frame) for frame in frames])
        return
    video: Any = imageio.get_writer(
        path,
        fps=len(frames) / SECONDS,
        codec="libx264",
        quality=8,
        macro_block_size=2,
        ffmpeg_params=["-movflags", "+faststart"],  # the index first: it plays before all of it is there
    )
    with video:
        for frame in frames:
            video.append_data(frame)


def write_moving_picture(path: Path, frames: list[Image.Image]) -> None:
    """Writes GIF, whose colours are those of all frames together, so that nothing flickers, or WebP."""
    shown = durations(len(frames))
    if path.suffix == ".gif":
        palette = Image.fromarray(np.concatenate([np.asarray(frame) for frame in frames])).quantize(
            255, Image.Quantize.MEDIANCUT
        )
        frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    more: dict[str, Any] = {"quality": 90} if path.suffix == ".webp" else {"optimize": False}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=shown, loop=0, **more)


def durations(count: int) -> list[int]:
    """Returns the milliseconds of each of `count` frames, in whole ticks, which add up to once around."""
    ends = [round(SECONDS * 1000 * i / count / TICK) * TICK for i in range(count + 1)]
    return [max(end - begin, SHORTEST) for begin, end in itertools.pairwise(ends)]
