"""The Instant-NGP field: a multi-resolution hash grid and a small MLP give density and albedo at a point."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.config.ranges import LevelsSchedule, Positive, PositiveSchedule, Width
from threestudio_like.config.registry import Component, configure
from threestudio_like.config.schedule import Schedule
from threestudio_like.errors import UserError, brief
from threestudio_like.kernels.hashgrid import HashGrid
from threestudio_like.scenes.background import Solid
from threestudio_like.scenes.base import MeshSettings, Points, Scene
from threestudio_like.scenes.convert import extract
from threestudio_like.scenes.encoded import EncodedMLP
from threestudio_like.scenes.mesh import Mesh
from threestudio_like.scenes.trainable import TrainableScene
from threestudio_like.scenes.visible import VisibleVolume


@dataclass
class Blob:
    """The density the scene starts from, added before the activation, as a function of the distance r to the origin.

    gaussian: `strength * exp(-r^2 / (2 radius^2))` (DreamFusion, appendix A.2). cone: `strength * (1 - r / radius)`
    (Magic3D; ProlificDreamer's objects; with a negative strength, its scenes, which are empty around the origin).
    """

    shape: Literal["gaussian", "cone"] = "gaussian"
    """How it falls off with r."""
    strength: float = 5.0
    """Its value at the origin; negative for scenes that are empty there."""
    radius: Positive = 0.2
    """Its size in scene units."""


class Field(TrainableScene):
    """Density and albedo in the cube [-1, 1]^3; outside it there is only the background."""

    must_agree = ("encoding", "hidden")

    @dataclass
    class Config:
        encoding: HashGrid = field(default_factory=HashGrid)
        """The multi-resolution hash grid."""
        active_levels: LevelsSchedule | None = None
        """Levels of the hash grid that are used, the coarsest, by the step: smooth at first, then finer; null, or more
        than there are, all."""
        hidden: Width = 32
        """Width of the MLP's hidden layer."""
        blob: Blob = field(default_factory=Blob)
        """The density that the field starts from."""
        density_shift: float = -1.0
        """Added to the density before its softplus."""
        sharpness: PositiveSchedule = Schedule.constant(1.0)
        """Factor k of the density's activation softplus(k z), by the step: fog becomes a surface as it rises."""
        background: Annotated[Component, "background"] = field(
            default_factory=lambda: Component("background", "solid", Solid.Config())
        )
        """What rays see where there is no object."""

    sharpness: Tensor
    active_levels: Tensor

    def __init__(self, config: Config | None = None, **fields):
        super().__init__()
        self.config = config = configure(self, config, fields)
        self.net = EncodedMLP(config.encoding, config.hidden, 4)
        self.background = config.background.build()
        self.register_buffer("sharpness", torch.tensor(0.0))
        self.register_buffer("active_levels", torch.tensor(0))
        self.register_load_state_dict_pre_hook(with_what_older_fields_had)
        self.register_load_state_dict_post_hook(use_stored_levels)
        self.advance(0)

    def advance(self, step: int) -> None:
        """Sets the sharpness and the active levels to those of this step."""
        schedule, count = self.config.active_levels, self.config.encoding.n_levels
        self.sharpness.fill_(self.config.sharpness(step))
        if schedule is not None:
            count = min(count, int(schedule(step) + 1e-6))  # a ramp's whole number may come out a hair below it
        self.net.active_levels = count
        self.active_levels.fill_(self.net.active_levels)

    def at(self, x: Float[Tensor, "N 3"], normals: bool = False) -> Points:
        """Computes the field at points of the scene cube.

        Normals, where asked for, carry gradients: n = -grad(tau) / |grad(tau)|.
        """
        blob, normal = self._blob(x), None
        if normals:
            outputs, gradient = self.net.with_gradient(x)
            normal = -F.normalize(gradient + self._blob_gradient(x, blob), dim=-1, eps=1e-6)
        else:
            outputs = self.net(x)
        return Points(self._activated(outputs[:, 0], blob), outputs[:, 1:].sigmoid(), normal)

    @property
    def device(self) -> torch.device:
        """The device of its parameters."""
        return self.net.table.device

    def density(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """Computes the density per unit of length at points of the scene cube."""
        return self._activated(self.net.first(x), self._blob(x))

    def material(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Computes the albedo in 0..1 at points of the scene cube."""
        return self.at(x).features

    def mesh(self, settings: MeshSettings | None = None) -> Mesh:
        """Extracts the surface of constant density. Raises NoSurfaceError where there is none."""
        return extract(self, settings or MeshSettings())

    def color_weights(self) -> dict[str, Tensor]:
        """Returns the state of an `EncodedMLP` that gives the albedo alone."""
        head = self.net.head
        return self.net.state_dict() | {"head.weight": head.weight[1:], "head.bias": head.bias[1:]}

    @torch.no_grad()
    def start_from(self, scene: Scene) -> None:
        """Takes over another field. Raises UserError where it is none, or of another size."""
        other = scene.scene if isinstance(scene, VisibleVolume) else scene
        if not isinstance(other, Field):
            raise UserError(f"init: a field can start from a field only, not from a {type(other).__name__}")
        try:
            self.load_state_dict(other.state_dict())
        except RuntimeError as error:
            raise UserError(f"init: the fields' `encoding` and `hidden` must be equal ({brief(error)})") from None

    def _activated(self, output: Tensor, blob: Tensor) -> Tensor:
        return F.softplus(self.sharpness * (output + blob + self.config.density_shift))

    def _blob(self, x: Tensor) -> Tensor:
        """Computes the starting density before the activation."""
        blob, squared = self.config.blob, x.square().sum(-1)
        if blob.shape == "gaussian":
            return blob.strength * torch.exp(-squared / (2 * blob.radius**2))
        return blob.strength * (1 - squared.sqrt() / blob.radius)

    def _blob_gradient(self, x: Tensor, value: Tensor) -> Tensor:
        """Computes its gradient by the point."""
        blob = self.config.blob
        if blob.shape == "gaussian":
            return -value[:, None] * x / blob.radius**2
        return -blob.strength / blob.radius * x / x.norm(dim=-1, keepdim=True).clamp(min=1e-6)

    def parameters_by_name(self) -> dict[str, list[nn.Parameter]]:
        return self.net.parameters_by_name() | {"background": list(self.background.parameters())}


def with_what_older_fields_had(field: Field, state: dict, prefix: str, *more) -> None:
    """Adds to a checkpoint without sharpness or active levels those that all fields had."""
    state.setdefault(f"{prefix}sharpness", torch.ones_like(field.sharpness))
    state.setdefault(f"{prefix}active_levels", torch.full_like(field.active_levels, field.config.encoding.n_levels))


def use_stored_levels(field: Field, *more) -> None:
    """Tells the network the active levels that were read from a checkpoint."""
    field.net.active_levels = int(field.active_levels)
