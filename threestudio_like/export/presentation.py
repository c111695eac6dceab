"""Shows a finished object: eight views in a strip, and a turntable video."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import torch
from torch import Tensor

from threestudio_like.cameras import Cameras, orbit
from threestudio_like.config.ranges import Distance, Elevation, FieldOfView, Pixels, Share, Whole
from threestudio_like.engine.monitor import to_bytes, write_png
from threestudio_like.engine.parts import part
from threestudio_like.export.mesh_io import check_formats
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.shading import Shading, headlight
from threestudio_like.utils.files import write_atomically

Views = Callable[[Cameras, Shading], list[Render]]
"""Renders cameras one by one."""
MEASURED = 96
"""Pixels a side of the views on which an object is measured."""
MARGIN = 1.05
"""The view's width as a multiple of the ball's that lies in it."""


@dataclass
class Presentation:
    """Settings of the pictures and meshes of a finished object. Lengths are in scene units, sizes in pixels."""

    distance: Distance = 2.7
    """Distance of the cameras from the scene's middle; the turntable's may be farther, so that nothing is cut off."""
    fov_deg: FieldOfView = 41.0
    """The cameras' vertical field of view."""
    elevation_deg: Elevation = 15.0
    """Elevation of the cameras."""
    strip_size: Pixels = 128
    """Pixels a side of the views in `turntable.png`."""
    video_frames: Whole = 60
    """Frames of the turntable video, once around in three seconds; 0 for none."""
    video_size: Pixels = 160
    """Pixels a side of the video."""
    smallest_part: Share = 0.02
    """Parts of a mesh with a smaller share of its faces are dropped."""
    formats: tuple[str, ...] = ("glb",)
    """Formats of the exported meshes: glb, obj, ply."""

    def __post_init__(self):
        check_formats(self.formats)


def write_turntable(
    views: Views, shown: Callable[[Cameras], Shading], show: Presentation, folder: Path, device: torch.device
) -> list[Render]:
    """Writes `turntable.png` (8 views: colour, and the bare shape below) and `turntable.mp4`; returns the 8 views."""
    show = replace(show, distance=fitting_distance(views, show, device))
    strip = around(show, 8, show.strip_size).to(device)
    clay = Shading("textureless", headlight(strip), 0.4, 0.6)
    rows = [views(strip, shading) for shading in (shown(strip), clay)]
    with part("turntable.png"):
        picture = torch.cat([torch.cat([view.rgb[0] for view in row], dim=1) for row in rows])
        write_png(folder / "turntable.png", picture)
    video = folder / "turntable.mp4"
    video.unlink(missing_ok=True)  # an earlier one does not show this object
    if show.video_frames > 0:
        with part(video.name):
            cameras = around(show, show.video_frames, show.video_size).to(device)
            frames = [view.rgb[0] for view in views(cameras, shown(cameras))]
            write_atomically(video, lambda path: write_video(path, frames))
    return rows[0]


def around(show: Presentation, count: int, size: int) -> Cameras:
    """Places the cameras of a turntable."""
    return orbit(count, show.elevation_deg, show.distance, show.fov_deg, size)


@torch.no_grad()
def fitting_distance(views: Views, show: Presentation, device: torch.device) -> float:
    """Finds from how far away the whole object is seen: `show.distance`, or more where the ball around it is larger.

    The ball lies around the scene's middle, and is measured on views that show all of the scene's cube.
    """
    half_view = math.sin(math.radians(show.fov_deg) / 2)
    whole = replace(show, distance=max(show.distance, math.sqrt(3) / half_view))
    radius = max(seen_radius(view) for view in views(around(whole, 8, MEASURED).to(device), Shading()))
    pixel = 2 * whole.distance * math.tan(math.radians(show.fov_deg) / 2) / MEASURED
    return max(show.distance, MARGIN * (radius + pixel / 2) / half_view) if radius > 0 else show.distance


def seen_radius(view: Render) -> float:
    """Measures how far from the scene's middle a surface is seen; 0 where none is."""
    seen = view.opacity[..., 0] > 0.5
    points = 2 * view.xyz[seen] / view.opacity[seen] - 1
    return points.norm(dim=-1).max().item() if len(points) else 0.0


def write_video(path: Path, frames: list[Tensor]) -> None:
    """Writes an H.264 turntable of `[H, W, 3]` frames, once around in three seconds."""
    video: Any = imageio.get_writer(path, fps=len(frames) / 3, codec="libx264", quality=8, macro_block_size=2)
    with video:
        for frame in frames:
            video.append_data(to_bytes(frame))
