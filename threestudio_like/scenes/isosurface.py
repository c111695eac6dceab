"""Mesh scenes: a signed distance on a grid's vertices, whose zero level is the mesh, and colours around it."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from threestudio_like.config.registry import Component
from threestudio_like.errors import NoSurfaceError, UserError, brief
from threestudio_like.kernels.hashgrid import HashGrid
from threestudio_like.scenes.background import Solid
from threestudio_like.scenes.encoded import EncodedMLP
from threestudio_like.scenes.mesh import Mesh, Surface
from threestudio_like.scenes.signed_distance import field_distance, mesh_distance, read_mesh, sample

MATERIALS = {"diffuse": 3, "pbr": 5}
METALLIC_START = -3.0  # before the sigmoid: most things are not metal


@dataclass
class ShapeInit:
    """The shape a scene starts from: an ellipsoid with these half axes (Fantasia3D, section 3.2), or a mesh file."""

    ellipsoid: tuple[float, float, float] = (0.6, 0.6, 0.6)
    mesh: str | None = None

    def __post_init__(self):
        if min(self.ellipsoid) <= 0:
            raise ValueError(f"ellipsoid: half axes must be above 0, got {self.ellipsoid}")


@dataclass
class IsoSurfaceConfig:
    resolution: int = 32
    sdf: Literal["vertices", "mlp"] = "vertices"
    shape_init: ShapeInit = field(default_factory=ShapeInit)
    fixed: bool = False
    material: Literal["diffuse", "pbr"] = "diffuse"
    encoding: HashGrid = field(default_factory=HashGrid)
    hidden: int = 32
    background: Annotated[Component, "background"] = field(
        default_factory=lambda: Component("background", "solid", Solid.Config())
    )

    def __post_init__(self):
        if self.resolution < 3:
            raise ValueError(f"resolution must be at least 3 cells a side, got {self.resolution}")


class IsoSurface(nn.Module):
    """Base of the mesh scenes, built as `cls(config)`; they differ in their grid and how a surface is drawn in it.

    `sdf`: "vertices" optimises one number a grid vertex, "mlp" a hash grid and MLP, which is smoother. Both are added to the
    signed distance of the starting shape. With `fixed` the shape is not optimised, only the colours. Of `material` "diffuse",
    a point has an albedo; of "pbr", also a roughness and a metallic part.
    """

    Config = IsoSurfaceConfig

    def __init__(
        self,
        config: IsoSurfaceConfig,
        vertices: Float[Tensor, "V 3"],
        boundary: Bool[Tensor, "V"],
        max_displacement: float,
    ):
        """`max_displacement`: how far a grid vertex may move along each axis, so that no cell turns inside out."""
        super().__init__()
        self.config, self.max_displacement = config, max_displacement
        self.register_buffer("vertices", vertices, persistent=False)
        self.register_buffer("boundary", boundary, persistent=False)
        self.register_buffer("shape_init", initial_distance(config.shape_init, vertices))
        self.change = EncodedMLP(config.encoding, config.hidden, 1) if config.sdf == "mlp" else None
        if self.change is not None:  # the scene starts as the starting shape, and not somewhat larger or smaller
            with torch.no_grad():
                self.change.head.bias -= self.change(vertices).mean()
        self.values = nn.Parameter(torch.zeros(len(vertices))) if config.sdf == "vertices" else None
        self.deformation = nn.Parameter(torch.zeros_like(vertices))
        self.texture = EncodedMLP(config.encoding, config.hidden, MATERIALS[config.material])
        if config.material == "pbr":
            nn.init.constant_(self.texture.head.bias[4:], METALLIC_START)
        self.background = config.background.build()

    def draw(self, vertices: Float[Tensor, "V 3"], sdf: Float[Tensor, "V"], training: bool) -> Surface:
        """The zero level in the grid, its vertices moved; `training`: as for optimising, not for export."""
        raise NotImplementedError

    def shape_parameters(self) -> dict[str, list[nn.Parameter]]:
        """What gives the shape, by the names that recipes give learning rates to."""
        return {
            "sdf": [self.values] if self.change is None else list(self.change.parameters()),
            "deformation": [self.deformation],
        }

    def sdf(self) -> Float[Tensor, "V"]:
        """The signed distance at the grid's vertices, negative inside; outside all along the grid's boundary."""
        change = self.values if self.change is None else self.change(self.vertices)[:, 0]
        distance = self.shape_init + change
        return torch.where(self.boundary, distance.clamp(min=1e-3), distance)

    def surface(self, training: bool = True) -> Surface:
        """The mesh. Raises NoSurfaceError where the signed distance has one sign everywhere."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.fixed):
            distance = self.sdf()
            surface = self.draw(
                self.vertices + self.max_displacement * torch.tanh(self.deformation), distance, training
            )
        if len(surface.faces) == 0:
            raise NoSurfaceError(
                f"the mesh has vanished: its signed distances are {distance.min():.3g} to {distance.max():.3g}; "
                "a lower lr.sdf at first, or a larger shape_init, keeps it"
            )
        corners = self.config.resolution + 1  # a grid's corners come first, before the cells' centres where it has them
        return replace(surface, distance=distance[: corners**3].view(corners, corners, corners))

    def material(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N C"]:
        """Albedo, or base colour, roughness and metallic, in 0..1 at points of the scene cube."""
        return self.texture(x).sigmoid()

    def albedo(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """The colour alone."""
        return self.material(x)[:, :3]

    @torch.no_grad()
    def mesh(self) -> Mesh:
        """For export."""
        surface = self.surface(training=False)
        return Mesh(
            surface.vertices.cpu().numpy(), surface.faces.cpu().numpy(), self.albedo(surface.vertices).cpu().numpy()
        )

    @torch.no_grad()
    def start_from(self, scene: nn.Module, density_threshold: float = 0.0) -> None:
        """Takes over another scene's shape and colours: a mesh scene's as they are, a field's by its silhouettes' surface,
        of densities that are at least so large.

        Raises UserError where the two scenes' grids or encodings differ.
        """
        mesh = isinstance(scene, IsoSurface)
        try:
            colors = (
                scene.texture.state_dict()
                if mesh
                else scene.net.state_dict()
                | {"head.weight": scene.net.head.weight[1:], "head.bias": scene.net.head.bias[1:]}
            )
            for name in ("head.weight", "head.bias"):  # what a diffuse material does not have stays as it starts
                colors[name] = torch.cat([colors[name], self.texture.state_dict()[name][len(colors[name]) :]])
            shape = scene.state_dict() if mesh else self.state_dict()
            self.load_state_dict(shape | {f"texture.{name}": tensor for name, tensor in colors.items()})
        except RuntimeError as error:
            raise UserError(
                f"init: the scenes' `encoding`, `hidden` and `resolution` must be equal ({brief(error)})"
            ) from None
        if not mesh:
            self.shape_init.copy_(sample(field_distance(scene, density_threshold), self.vertices))

    def parameters_by_name(self) -> dict[str, list[nn.Parameter]]:
        """The groups that recipes give learning rates to."""
        groups = {} if self.config.fixed else self.shape_parameters()
        return groups | self.texture.parameters_by_name() | {"background": list(self.background.parameters())}


def initial_distance(shape: ShapeInit, x: Float[Tensor, "V 3"]) -> Float[Tensor, "V"]:
    """The signed distance of the starting shape, of an ellipsoid to first order."""
    if shape.mesh is not None:
        return sample(mesh_distance(read_mesh(Path(shape.mesh))), x)
    axes = x.new_tensor(shape.ellipsoid)
    k, slope = (x / axes).norm(dim=-1), (x / axes.square()).norm(dim=-1)
    return torch.where(slope > 1e-6, (k - 1) * k / slope, -axes.min())
