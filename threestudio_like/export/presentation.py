"""Shows a finished object: eight views in a strip, a turntable video, and mesh files."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from threestudio_like.cameras import Cameras, orbit
from threestudio_like.config.ranges import Distance, Elevation, FieldOfView, Pixels, Positive, Share, Whole
from threestudio_like.engine.monitor import to_bytes, write_png
from threestudio_like.engine.parts import part
from threestudio_like.export.mesh_io import SIZE_MM, check_formats, write_meshes
from threestudio_like.export.origin import Origin
from threestudio_like.export.texture import bake
from threestudio_like.export.video import VIDEO_FORMATS, VideoFormat, write_video
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.shading import Shading, bare
from threestudio_like.scenes.base import Scene
from threestudio_like.scenes.mesh import Mesh
from threestudio_like.utils.files import write_atomically

Views = Callable[[Cameras, Shading], list[Render]]
"""Renders cameras one by one."""
MEASURED = 96
"""Side length in pixels of the views on which an object is measured."""
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
    """Side length in pixels of the views in `turntable.png`."""
    video_frames: Whole = 60
    """Frames of the turntable video, once around in three seconds; 0 for none."""
    video_size: Pixels = 160
    """Side length in pixels of the video."""
    video_format: VideoFormat = "mp4"
    """The video's format: mp4, gif or webp; the last two play by themselves wherever a picture is shown."""
    smallest_part: Share = 0.02
    """Parts of a mesh with a smaller share of its faces are dropped."""
    formats: tuple[str, ...] = ("glb",)
    """Formats of the exported meshes: glb, obj, ply, stl, usdz."""
    texture_size: Pixels | None = None
    """Side length in texels of the exported mesh's textures; colours at its vertices where null."""
    size_mm: Positive = SIZE_MM
    """Millimetres of the object's longest side in formats that have a unit: stl, usdz."""

    def __post_init__(self):
        check_formats(self.formats)


def write_turntable(
    views: Views, shown: Callable[[Cameras], Shading], show: Presentation, folder: Path, device: torch.device
) -> list[Render]:
    """Writes `turntable.png` (8 views: colour, and the bare shape below) and `turntable.mp4`, or a video of
    another format; returns the 8 views.
    """
    show = replace(show, distance=fitting_distance(views, show, device))
    strip = around(show, 8, show.strip_size).to(device)
    rows = [views(strip, shading) for shading in (shown(strip), bare(strip))]
    with part("turntable.png"):
        picture = torch.cat([torch.cat([view.rgb[0] for view in row], dim=1) for row in rows])
        write_png(folder / "turntable.png", picture)
    for name in VIDEO_FORMATS:
        (folder / f"turntable.{name}").unlink(missing_ok=True)  # an earlier one does not show this object
    video = folder / f"turntable.{show.video_format}"
    if show.video_frames > 0:
        with part(video.name):
            cameras = around(show, show.video_frames, show.video_size).to(device)
            frames = [to_bytes(view.rgb[0]) for view in views(cameras, shown(cameras))]
            write_atomically(video, lambda path: write_video(path, frames))
    return rows[0]


def write_object(
    mesh: Mesh, scene: Scene, show: Presentation, folder: Path, origin: Origin, device: torch.device
) -> Mesh:
    """Writes a scene's mesh in each of the formats, with a texture where one is asked for; returns it as written."""
    if show.texture_size is not None:
        mesh = bake(mesh, scene.material, show.texture_size, device)
    write_meshes(mesh, folder, show.formats, origin, show.size_mm)
    return mesh


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
