"""DMTet (Shen et al. 2021): the zero level of a signed distance on a tetrahedral grid whose vertices may move."""

from threestudio_like.config.registry import configure
from threestudio_like.kernels.tets import TetGrid, body_centred_grid, marching_tetrahedra
from threestudio_like.scenes.isosurface import IsoSurface, IsoSurfaceConfig
from threestudio_like.scenes.mesh import Surface


class TetMesh(IsoSurface):
    """Marching tetrahedra in a body-centred grid."""

    def __init__(self, config: IsoSurfaceConfig | None = None, **fields):
        config = configure(self, config, fields)
        grid = body_centred_grid(config.resolution)
        super().__init__(config, grid.vertices, grid.boundary, max_displacement=0.4 / config.resolution)
        for name in ("tets", "edges", "tet_edges"):
            self.register_buffer(name, getattr(grid, name), persistent=False)

    def draw(self, vertices, sdf, training):
        grid = TetGrid(self.vertices, self.tets, self.edges, self.tet_edges, self.boundary)
        return Surface.of(*marching_tetrahedra(vertices, sdf, grid))
