"""Draws an object as the page shows it: for a camera, in one of the shading modes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation
from torch import Tensor

from threestudio_like.cameras import Cameras
from threestudio_like.engine.monitor import to_bytes
from threestudio_like.export.presentation import Presentation
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.ccm import Box, TightBox
from threestudio_like.renderers.channels import CHANNELS
from threestudio_like.renderers.shading import Shading, bare
from threestudio_like.scenes.base import Scene


@runtime_checkable
class Turnable(Protocol):
    """An object that can be drawn from all sides."""

    def views(self, cameras: Cameras, shading: Shading, normals: bool = False) -> list[Render]:
        """Renders the object, one camera after the other."""

    def visible(self, show: Any) -> Scene:
        """Returns what of the scene is drawn, for export."""


@runtime_checkable
class Viewable(Protocol):
    """A system whose objects can be drawn from all sides, as those of per-scene methods."""

    device: torch.device
    config: Any
    """Has `evaluation`, how the finished object is shown."""

    @property
    def prompt(self) -> str:
        """The name of the objects."""

    @property
    def objects(self) -> Sequence[Turnable]:
        """The objects that can be drawn; several where particles are optimised together."""

    def display_shading(self, cameras: Cameras) -> Shading:
        """Chooses the light in which the object is shown."""


def viewable(system: object) -> Viewable | None:
    """Returns the system if its objects can be drawn from all sides, else None."""
    return system if isinstance(system, Viewable) else None


def presentation(system: Viewable) -> Presentation:
    """Returns how a system's finished object is shown: from how far away, and how high."""
    return system.config.evaluation


@dataclass(frozen=True)
class Pose:
    """A camera as the page describes it: looking along +z of its frame, y down, and an image size in pixels."""

    wxyz: tuple[float, float, float, float]
    position: tuple[float, float, float]
    fov: float
    """Vertical, in radians."""
    height: int
    width: int

    def cameras(self, height: int, width: int) -> Cameras:
        """Returns the camera in our convention (it looks along -z, y up), with an image of this size."""
        w, x, y, z = self.wxyz
        c2w = np.eye(4)
        c2w[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix() * (1, -1, -1)
        c2w[:3, 3] = self.position
        east, north, up = self.position
        distance = max(math.sqrt(east**2 + north**2 + up**2), 1e-6)
        azimuth, elevation = math.atan2(north, east), math.asin(up / distance)
        fov, around, over, away = torch.tensor([[self.fov], [azimuth], [elevation], [distance]], dtype=torch.float32)
        return Cameras(torch.tensor(c2w[None], dtype=torch.float32), fov, around, over, away, height, width)

    def sized(self, short: int) -> tuple[int, int]:
        """Returns height and width of an image of the page's shape whose shorter side has so many pixels, at most."""
        scale = min(short / max(min(self.height, self.width), 1), 1.0)
        return max(round(scale * self.height), 1), max(round(scale * self.width), 1)


def depth_map(view: Render, cameras: Cameras) -> Float[Tensor, "1 H W 3"]:
    """Maps the distance to 1..0 over the ball around the scene's cube; black off the object."""
    radius = math.sqrt(3)
    far, near = cameras.distance + radius, (cameras.distance - radius).clamp(min=0.0)
    share = (far * view.opacity - view.depth) / (far - near)
    return share.clamp(0, 1).expand(-1, -1, -1, 3)


@dataclass(frozen=True)
class Mode:
    """A way to look at an object."""

    image: Callable[[Render, Cameras, Box], Tensor]
    """Makes `[1, H, W, 3]` in 0..1 of a render."""
    bare: bool = False
    """Whether it shows the shape without its colours."""
    normals: bool = False
    """Whether the render must have normals."""


MODES = {
    "colour": Mode(lambda view, cameras, box: CHANNELS["rgb"](view)),
    "bare shape": Mode(lambda view, cameras, box: CHANNELS["rgb"](view), bare=True),
    "normals": Mode(lambda view, cameras, box: CHANNELS["normal"](view), normals=True),
    "depth": Mode(lambda view, cameras, box: depth_map(view, cameras)),
    "opacity": Mode(lambda view, cameras, box: CHANNELS["opacity"](view)),
    "coordinate map": Mode(lambda view, cameras, box: CHANNELS["ccm"](view, box)[..., :3]),
}
"""By the names that the page gives them."""


@torch.no_grad()
def draw(system: Viewable, place: int, mode: str, pose: Pose, short: int, box: TightBox) -> UInt8[np.ndarray, "H W 3"]:
    """Draws the object at a place of a system's; `short` is the image's shorter side in pixels.

    `box` is the viewer's own for that object, as the system's is part of its state, which is left as it was.
    """
    cameras, chosen = pose.cameras(*pose.sized(short)).to(system.device), MODES[mode]
    shading = bare(cameras) if chosen.bare else system.display_shading(cameras)
    (view,) = system.objects[place].views(cameras, shading, chosen.normals)
    return to_bytes(chosen.image(view, cameras, box.to(system.device).update(view))[0])


def side_by_side(images: Sequence[Float[Tensor, "B 3 H W"]], most: int = 4) -> UInt8[np.ndarray, "h w 3"]:
    """Lays the first images of several batches out, a row a batch."""
    rows = [torch.cat(list(batch[:most]), dim=-1) for batch in images]
    return to_bytes(torch.cat(rows, dim=-2).permute(1, 2, 0))


def letterboxed(image: UInt8[np.ndarray, "H W 3"], pose: Pose) -> UInt8[np.ndarray, "h w 3"]:
    """Puts a picture in the middle of a white image of the page's shape, so that it is not stretched."""
    height, width = image.shape[:2]
    shape = max(pose.width, 1) / max(pose.height, 1)
    full_height, full_width = max(height, round(width / shape)), max(width, round(height * shape))
    page = np.full((full_height, full_width, 3), 255, np.uint8)
    top, left = (full_height - height) // 2, (full_width - width) // 2
    page[top : top + height, left : left + width] = image
    return page
