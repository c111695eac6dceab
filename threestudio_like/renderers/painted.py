"""Draws meshes in their own colours and textures."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from threestudio_like.kernels.rasterize import Fragments
from threestudio_like.renderers.mesh import MeshRenderer


class PaintedRenderer(MeshRenderer):
    """Draws a `PaintedScene`, coloured by the place on each face and not by the point. Built as `MeshRenderer` is."""

    def material(self, scene: Any, fragments: Fragments, position: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        return scene.seen(fragments)
