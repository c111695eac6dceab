"""DMTet (Shen et al. 2021): a signed distance and a shift at every vertex of a tetrahedral grid; its zero level, a mesh."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.config import Component, register
from threestudio_like.errors import UserError
from threestudio_like.kernels.hashgrid import HashGrid
from threestudio_like.kernels.tets import body_centred_grid, marching_tetrahedra
from threestudio_like.scenes.convert import NoSurface
from threestudio_like.scenes.encoded import EncodedMLP
from threestudio_like.scenes.mesh import Mesh, Surface
from threestudio_like.scenes.signed_distance import field_distance, mesh_distance, read_mesh, sample


MATERIALS = {"diffuse": 3, "pbr": 5}
METALLIC_START = -3.0  # before the sigmoid: most things are not metal


@dataclass
class Start:
    """The shape a scene starts from: an ellipsoid with these half axes (Fantasia3D, section 3.2), or a mesh file."""

    ellipsoid: tuple[float, float, float] = (0.6, 0.6, 0.6)
    mesh: str | None = None


@register("scene", "tetmesh")
class TetMesh(nn.Module):
    """A mesh scene. Built as `TetMesh(config)`.

    `sdf`: "vertices" optimises one number a grid vertex, "mlp" a hash grid and MLP, which is smoother. Both are added to the
    signed distance of the starting shape. With `fixed` the shape is not optimised, only the colours. Of `material` "diffuse",
    a point has an albedo; of "pbr", also a roughness and a metallic part.
    """

    @dataclass
    class Config:
        resolution: int = 32
        sdf: Literal["vertices", "mlp"] = "vertices"
        start: Start = field(default_factory=Start)
        fixed: bool = False
        material: Literal["diffuse", "pbr"] = "diffuse"
        encoding: HashGrid = field(default_factory=HashGrid)
        hidden: int = 32
        background: Annotated[Component, "background"] = field(kw_only=True)

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        grid = body_centred_grid(config.resolution)
        for name in ("vertices", "tets", "edges", "tet_edges", "boundary"):
            self.register_buffer(name, getattr(grid, name), persistent=False)
        self.register_buffer("start", starting_distance(config.start, grid.vertices))
        self.change = EncodedMLP(config.encoding, config.hidden, 1) if config.sdf == "mlp" else None
        self.values = nn.Parameter(torch.zeros(len(grid.vertices))) if config.sdf == "vertices" else None
        self.shift = nn.Parameter(torch.zeros_like(grid.vertices))
        self.texture = EncodedMLP(config.encoding, config.hidden, MATERIALS[config.material])
        if config.material == "pbr":
            nn.init.constant_(self.texture.head.bias[4:], METALLIC_START)
        self.background = config.background.build()

    def sdf(self) -> Float[Tensor, "V"]:
        """The signed distance at the grid's vertices, negative inside; outside all along the grid's boundary."""
        change = self.values if self.change is None else self.change(self.vertices)[:, 0]
        distance = self.start + change
        return torch.where(self.boundary, distance.clamp(min=1e-3), distance)

    def surface(self) -> Surface:
        """The mesh. Raises NoSurface where the signed distance has one sign everywhere."""
        reach = 0.4 / self.config.resolution  # at most two fifths of half a cell: no tetrahedron turns inside out
        vertices = self.vertices + reach * torch.tanh(self.shift)
        distance = self.sdf()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.fixed):
            surface, faces = marching_tetrahedra(vertices, distance, self)
        if len(faces) == 0:
            raise NoSurface(f"the mesh has vanished: its signed distances are {distance.min():.3g} to {distance.max():.3g}")
        return Surface.of(surface, faces)

    def material(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N C"]:
        """Albedo, or base colour, roughness and metallic, in 0..1 at points of the scene cube."""
        return self.texture(x).sigmoid()

    def albedo(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """The colour alone."""
        return self.material(x)[:, :3]

    @torch.no_grad()
    def mesh(self) -> Mesh:
        """For export."""
        surface = self.surface()
        return Mesh(surface.vertices.cpu().numpy(), surface.faces.cpu().numpy(), self.albedo(surface.vertices).cpu().numpy())

    @torch.no_grad()
    def start_from(self, scene: nn.Module) -> None:
        """Takes over another scene's shape and colours: a mesh scene's as they are, a field's by its silhouettes' surface.

        Raises UserError where the two scenes' grids or encodings differ.
        """
        mesh = isinstance(scene, TetMesh)
        try:
            colors = scene.texture.state_dict() if mesh else scene.net.state_dict() | {
                "head.weight": scene.net.head.weight[1:], "head.bias": scene.net.head.bias[1:]}
            for name in ("head.weight", "head.bias"):  # what a diffuse material does not have stays as it starts
                colors[name] = torch.cat([colors[name], self.texture.state_dict()[name][len(colors[name]):]])
            shape = scene.state_dict() if mesh else self.state_dict()
            self.load_state_dict(shape | {f"texture.{name}": tensor for name, tensor in colors.items()})
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()[:120]
            raise UserError(f"init: the scenes' `encoding`, `hidden` and `resolution` must be equal ({reason})") from None
        if not mesh:
            self.start.copy_(sample(field_distance(scene), self.vertices))

    def parameters_by_name(self) -> dict[str, list[nn.Parameter]]:
        """The groups that recipes give learning rates to."""
        shape = [self.values] if self.change is None else list(self.change.parameters())
        groups = {} if self.config.fixed else {"sdf": shape, "shift": [self.shift]}
        return groups | self.texture.parameters_by_name() | {"background": list(self.background.parameters())}


def starting_distance(start: Start, x: Float[Tensor, "V 3"]) -> Float[Tensor, "V"]:
    """The signed distance of the starting shape, of an ellipsoid to first order."""
    if start.mesh is not None:
        return sample(mesh_distance(read_mesh(Path(start.mesh))), x)
    axes = x.new_tensor(start.ellipsoid)
    k = (x / axes).norm(dim=-1)
    return (k - 1) * k / (x / axes.square()).norm(dim=-1).clamp(min=1e-6)
