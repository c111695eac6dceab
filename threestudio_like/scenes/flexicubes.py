"""FlexiCubes (Shen et al. 2023): a signed distance on a cubic grid, its dual surface made flexible by weights."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.config.registry import configure
from threestudio_like.kernels.cubes import CubeGrid, FlexibleWeights, cube_grid, flexible_cubes
from threestudio_like.scenes.isosurface import IsoSurface, IsoSurfaceConfig
from threestudio_like.scenes.mesh import Surface


class FlexiCubes(IsoSurface):
    """Flexible dual marching cubes: each cube weighs its 8 corners, its 12 edges and its quads (section 4.2)."""

    surface_fields = IsoSurface.surface_fields | {"deviation"}

    def __init__(self, config: IsoSurfaceConfig | None = None, **fields):
        config = configure(self, config, fields)
        grid = cube_grid(config.resolution)
        half_cell = 1 / config.resolution  # as in the authors' code: neighbours may meet, and not pass each other
        super().__init__(config, grid.vertices, grid.boundary, max_displacement=half_cell)
        for name in ("cubes", "edges", "cube_edges", "cube_faces"):
            self.register_buffer(name, getattr(grid, name), persistent=False)
        self.weights = nn.Parameter(torch.zeros(len(grid.cubes), 21))

    def draw(self, vertices, sdf, training):
        grid = CubeGrid(self.vertices, self.cubes, self.edges, self.cube_edges, self.cube_faces, self.boundary)
        points, faces, deviation = flexible_cubes(vertices, sdf, positive_weights(self.weights), grid, training)
        return Surface.of(points, faces, deviation)

    def shape_parameters(self):
        return super().shape_parameters() | {"weights": [self.weights]}


def positive_weights(raw: Float[Tensor, "C 21"], scale: float = 0.99) -> FlexibleWeights:
    """Maps numbers of any size to each cube's weights: to 1 - scale to 1 + scale, that of a quad to scale about 1/2."""
    corner, edge, quad = raw.split((8, 12, 1), dim=-1)
    quad = (1 - scale) / 2 + scale * quad[:, 0].sigmoid()
    return FlexibleWeights(1 + scale * corner.tanh(), 1 + scale * edge.tanh(), quad)
