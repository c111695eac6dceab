"""Shows a finished object: eight views in a strip, and a turntable video."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import torch
from torch import Tensor

from threestudio_like.cameras import Cameras, orbit
from threestudio_like.config.ranges import Cells, Distance, Elevation, FieldOfView, Pixels, Positive, Share, Whole
from threestudio_like.engine.monitor import to_bytes, write_png
from threestudio_like.engine.parts import part
from threestudio_like.export.mesh_io import check_formats
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.shading import Shading, headlight
from threestudio_like.utils.files import write_atomically

Views = Callable[[Cameras, Shading], list[Render]]
"""Renders cameras one by one."""


@dataclass
class Presentation:
    """Settings of the pictures and meshes of a finished object. Lengths are in scene units, sizes in pixels."""

    distance: Distance = 2.7
    """Distance of the cameras from the object's middle."""
    fov_deg: FieldOfView = 41.0
    """The cameras' vertical field of view."""
    elevation_deg: Elevation = 15.0
    """Elevation of the cameras."""
    preview_size: Pixels = 96
    """Pixels a side of a preview's views."""
    strip_size: Pixels = 128
    """Pixels a side of the views in `turntable.png`."""
    video_frames: Whole = 60
    """Frames of the turntable video, once around in three seconds; 0 for none."""
    video_size: Pixels = 160
    """Pixels a side of the video."""
    mesh_resolution: Cells = 128
    """Grid points a side at which a field's surface is extracted."""
    mesh_threshold: Positive | None = None
    """The density at a field's surface; null chooses it by the field's own silhouettes."""
    smallest_part: Share = 0.02
    """Parts of a mesh with a smaller share of its faces are dropped."""
    texture_size: Pixels | None = None
    """Texels a side of the exported mesh's textures; colours at its vertices where null."""
    formats: tuple[str, ...] = ("glb",)
    """Formats of the exported meshes: glb, obj, ply."""

    def __post_init__(self):
        check_formats(self.formats)


def write_turntable(
    views: Views, shown: Callable[[Cameras], Shading], show: Presentation, folder: Path, device: torch.device
) -> list[Render]:
    """Writes `turntable.png` (8 views: colour, and the bare shape below) and `turntable.mp4`; returns the 8 views."""

    def around(count, size):
        return orbit(count, show.elevation_deg, show.distance, show.fov_deg, size).to(device)

    strip = around(8, show.strip_size)
    clay = Shading("textureless", headlight(strip), 0.4, 0.6)
    rows = [views(strip, shading) for shading in (shown(strip), clay)]
    with part("turntable.png"):
        picture = torch.cat([torch.cat([view.rgb[0] for view in row], dim=1) for row in rows])
        write_png(folder / "turntable.png", picture)
    video = folder / "turntable.mp4"
    video.unlink(missing_ok=True)  # an earlier one does not show this object
    if show.video_frames > 0:
        with part(video.name):
            cameras = around(show.video_frames, show.video_size)
            frames = [view.rgb[0] for view in views(cameras, shown(cameras))]
            write_atomically(video, lambda path: write_video(path, frames))
    return rows[0]


def write_video(path: Path, frames: list[Tensor]) -> None:
    """Writes an H.264 turntable of `[H, W, 3]` frames, once around in three seconds."""
    video: Any = imageio.get_writer(path, fps=len(frames) / 3, codec="libx264", quality=8, macro_block_size=2)
    with video:
        for frame in frames:
            video.append_data(to_bytes(frame))
