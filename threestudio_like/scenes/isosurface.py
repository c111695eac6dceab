"""Mesh scenes: a signed distance on a grid's vertices, whose zero level is the mesh, and colours around it."""

import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from threestudio_like.config.ranges import Cells, Part, Width
from threestudio_like.config.registry import Component
from threestudio_like.errors import NoSurfaceError, UserError, brief
from threestudio_like.kernels.hashgrid import HashGrid
from threestudio_like.scenes.background import Solid
from threestudio_like.scenes.base import HashGridColors, MeshSettings, Scene, VolumeScene
from threestudio_like.scenes.encoded import EncodedMLP
from threestudio_like.scenes.mesh import Mesh, Surface
from threestudio_like.scenes.signed_distance import mesh_distance, read_mesh, sample, volume_distance
from threestudio_like.scenes.trainable import TrainableScene, check_agreement

MATERIALS = {"diffuse": 3, "pbr": 5}
METALLIC_START = -3.0  # before the sigmoid: most things are not metal


@dataclass
class ShapeInit:
    """The shape that a scene starts from: an ellipsoid (Fantasia3D, section 3.2) or a mesh file."""

    ellipsoid: tuple[Part, Part, Part] = (0.6, 0.6, 0.6)
    """Its half axes in scene units."""
    mesh: str | None = None
    """A file of a closed mesh, in place of the ellipsoid."""


@dataclass
class IsoSurfaceConfig:
    """Configures a mesh scene."""

    resolution: Cells = 32
    """Cells of the grid along each axis. A tetmesh has two vertices a cell: with 26 and 52 it has as many as the grids
    of tetrahedra that others call 64 and 128."""
    sdf: Literal["vertices", "mlp"] = "vertices"
    """What is optimised: one number a grid vertex, or a hash grid and MLP, which is smoother."""
    shape_init: ShapeInit = field(default_factory=ShapeInit)
    """The shape that the scene starts from."""
    fixed: bool = False
    """Whether the shape stays as it is, so that only the colours are optimised."""
    material: Literal["diffuse", "pbr"] = "diffuse"
    """Albedo alone; or base colour, roughness and metallic."""
    encoding: HashGrid = field(default_factory=HashGrid)
    """The hash grid of the texture, and of the signed distance where `sdf` is mlp."""
    hidden: Width = 32
    """Width of the MLPs' hidden layers."""
    background: Annotated[Component, "background"] = field(
        default_factory=lambda: Component("background", "solid", Solid.Config())
    )
    """What rays see where there is no object."""


class IsoSurface(TrainableScene):
    """Base of the mesh scenes, which differ in their grid and in how a surface is drawn in it.

    What is optimised is added to the signed distance of the starting shape.
    """

    Config = IsoSurfaceConfig
    must_agree = ("encoding", "hidden", "resolution")
    surface_fields = frozenset({"distance"})
    vertices: Tensor
    """The grid's vertices `[V, 3]`."""
    boundary: Tensor
    """`[V]` bool: which of them are outside of every object."""
    shape_init: Tensor
    """The starting shape's signed distance `[V]` at them."""

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
                self.change.head.bias.sub_(self.change(vertices).mean())
        self.values = nn.Parameter(torch.zeros(len(vertices))) if config.sdf == "vertices" else None
        self.deformation = nn.Parameter(torch.zeros_like(vertices))
        self.texture = EncodedMLP(config.encoding, config.hidden, MATERIALS[config.material])
        if config.material == "pbr":
            nn.init.constant_(self.texture.head.bias[4:], METALLIC_START)
        self.background = config.background.build()
        self.extracted: tuple[tuple, Surface] | None = None  # of a fixed shape: what it was extracted from, and it

    def draw(self, vertices: Float[Tensor, "V 3"], sdf: Float[Tensor, "V"], training: bool) -> Surface:
        """Extracts the zero level in the grid of moved vertices; `training`: as for optimising, not for export."""
        raise NotImplementedError

    def shape_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Returns the parameters of the shape by the groups that recipes give learning rates to."""
        sdf = [] if self.change is None else list(self.change.parameters())
        return {"sdf": sdf if self.values is None else [self.values], "deformation": [self.deformation]}

    def sdf(self) -> Float[Tensor, "V"]:
        """Computes the signed distance at the grid's vertices, negative inside; positive all along the boundary."""
        change = self.values if self.change is None else self.change(self.vertices)[:, 0]
        assert change is not None, "`sdf` chooses one of the two"
        distance = self.shape_init + change
        return torch.where(self.boundary, distance.clamp(min=1e-3), distance)

    def surface(self, training: bool = True) -> Surface:
        """Extracts the mesh; a fixed one only once. Raises NoSurfaceError where the signed distance has one sign
        everywhere."""
        if not self.config.fixed:
            return self.extract(training)
        shape = [*itertools.chain(*self.shape_parameters().values()), self.shape_init]
        state = (training, *((tensor.data_ptr(), tensor._version) for tensor in shape))  # `_version` counts changes
        if self.extracted is None or self.extracted[0] != state:
            with torch.no_grad():
                self.extracted = state, self.extract(training)
        return self.extracted[1]

    def extract(self, training: bool) -> Surface:
        """Extracts the mesh as the shape's parameters are now. Raises as `surface`."""
        distance = self.sdf()
        surface = self.draw(self.vertices + self.max_displacement * torch.tanh(self.deformation), distance, training)
        if len(surface.faces) == 0:
            raise NoSurfaceError(
                f"the mesh has vanished: its signed distances are {distance.min():.3g} to {distance.max():.3g}; "
                "a lower lr.sdf at first, or a larger shape_init, keeps it"
            )
        corners = self.config.resolution + 1  # a grid's corners come first, before the cells' centres where it has them
        return replace(surface, distance=distance[: corners**3].view(corners, corners, corners))

    def material(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N C"]:
        """Computes albedo, or base colour, roughness and metallic, in 0..1 at points of the scene cube."""
        return self.texture(x).sigmoid()

    @torch.no_grad()
    def mesh(self, settings: MeshSettings | None = None) -> Mesh:
        """Returns the surface for export, coloured at its vertices; it needs no settings. Raises NoSurfaceError."""
        surface = self.surface(training=False)
        colors = self.material(surface.vertices)[:, :3]
        return Mesh(surface.vertices.cpu().numpy(), surface.faces.cpu().numpy(), colors.cpu().numpy())

    def color_weights(self) -> dict[str, Tensor]:
        """Returns the state of the texture's `EncodedMLP`."""
        return self.texture.state_dict()

    @classmethod
    def check_start(cls, scene: Component, earlier: Component) -> None:
        if issubclass(earlier.cls, IsoSurface):
            super().check_start(scene, earlier)
        else:  # a volume's surface is sampled, its colours are taken over
            check_agreement(("encoding", "hidden"), scene, earlier)

    @torch.no_grad()
    def start_from(self, scene: Scene) -> None:
        """Takes over another scene's colours and shape: a mesh scene's as it is, a volume's by its silhouettes'
        surface.

        Raises UserError where the two scenes' grids or encodings differ, or the other is of a kind that has none.
        """
        if not isinstance(scene, HashGridColors) or not isinstance(scene, IsoSurface | VolumeScene):
            raise UserError(f"init: a mesh scene cannot start from a {type(scene).__name__}")
        colors = scene.color_weights()
        shape = (scene if isinstance(scene, IsoSurface) else self).state_dict()
        try:
            for name in ("head.weight", "head.bias"):  # what a diffuse material does not have stays as it starts
                colors[name] = torch.cat([colors[name], self.texture.state_dict()[name][len(colors[name]) :]])
            self.load_state_dict(shape | {f"texture.{name}": tensor for name, tensor in colors.items()})
        except RuntimeError as error:
            raise UserError(
                f"init: the scenes' `encoding`, `hidden` and `resolution` must be equal ({brief(error)})"
            ) from None
        if isinstance(scene, VolumeScene):
            self.shape_init.copy_(sample(volume_distance(scene), self.vertices))

    def parameters_by_name(self) -> dict[str, list[nn.Parameter]]:
        groups = {} if self.config.fixed else self.shape_parameters()
        return groups | self.texture.parameters_by_name() | {"background": list(self.background.parameters())}


def initial_distance(shape: ShapeInit, x: Float[Tensor, "V 3"]) -> Float[Tensor, "V"]:
    """Computes the signed distance of the starting shape; an ellipsoid's to first order."""
    if shape.mesh is not None:
        return sample(mesh_distance(read_mesh(Path(shape.mesh))), x)
    axes = x.new_tensor(shape.ellipsoid)
    k, slope = (x / axes).norm(dim=-1), (x / axes.square()).norm(dim=-1)
    return torch.where(slope > 1e-6, (k - 1) * k / slope, -axes.min())
