"""Triangle meshes: as files hold them (`Mesh`), and as they are optimised (`Surface`)."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from jaxtyping import Float, Int
from torch import Tensor

from threestudio_like.kernels.rasterize import Edges
from threestudio_like.utils.rows import rows


@dataclass(frozen=True)
class Texture:
    """Images in 0..1: base colour (sRGB), roughness and metallic where known.

    Rows run from the top, `uv` from the bottom. A vertex at a seam has several `uv`, so faces name theirs in `corners`.
    """

    uv: Float[np.ndarray, "T 2"]
    corners: Int[np.ndarray, "F 3"]
    base_color: Float[np.ndarray, "S S 3"]
    rough_metal: Float[np.ndarray, "S S 2"] | None = None


@dataclass(frozen=True)
class Mesh:
    """Vertices in the scene's frame (z up, front +x), counter-clockwise faces, colours in 0..1 (sRGB)."""

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "F 3"]
    colors: Float[np.ndarray, "V 3"]
    texture: Texture | None = None
    normals: Float[np.ndarray, "V 3"] | None = None
    """Unit vectors; those of the faces around a vertex where None."""

    def to_trimesh(self) -> trimesh.Trimesh:
        """Returns vertices and faces alone, in the same order."""
        return trimesh.Trimesh(self.vertices, self.faces, process=False)


@dataclass(frozen=True)
class Surface:
    """A mesh whose vertices carry gradients, with its edges."""

    vertices: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"]
    edges: Edges
    deviation: Float[Tensor, ""] | None = None
    """How uneven the patches of a dual surface are; see `kernels/cubes`."""
    crossings: Float[Tensor, "E 2"] | None = None
    """The signed distances at both ends of the grid's edges that it crosses, where the scene tells them."""
    distance: Float[Tensor, "R R R"] | None = None
    """The signed distance at the corners of a grid over the scene cube, where the scene tells it."""

    @staticmethod
    def of(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], deviation: Tensor | None = None) -> "Surface":
        """Builds a surface and its edges."""
        return Surface(vertices, faces, Edges.of(faces), deviation)

    def vertex_normals(self) -> Float[Tensor, "V 3"]:
        """Computes unit normals: the means of the faces around, weighted by area."""
        a, b, c = rows(self.vertices, self.faces).unbind(1)
        normal = torch.linalg.cross(b - a, c - a)
        summed = torch.zeros_like(self.vertices)
        for corner in self.faces.unbind(1):
            summed = summed.index_add(0, corner, normal)
        return F.normalize(summed, dim=-1, eps=1e-12)

    def laplacian(self) -> Float[Tensor, "V 3"]:
        """Sums the differences of each vertex' neighbours to it (the uniform Laplacian)."""
        one, two = self.edges.ends.unbind(-1)
        difference = rows(self.vertices, two) - rows(self.vertices, one)
        return torch.zeros_like(self.vertices).index_add(0, one, difference).index_add(0, two, -difference)

    def normal_cosines(self) -> Float[Tensor, "E"]:
        """Computes the cosine between the vertex normals at both ends of each edge; 1 where the surface is flat."""
        one, two = rows(self.vertex_normals(), self.edges.ends).unbind(1)
        return (one * two).sum(-1)
