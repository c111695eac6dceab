"""The Instant-NGP field: a multi-resolution hash grid and a small MLP give density and albedo at a point."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.config.registry import Component, configure
from threestudio_like.kernels.hashgrid import HashGrid
from threestudio_like.scenes.background import Solid
from threestudio_like.scenes.convert import Extraction, extract
from threestudio_like.scenes.encoded import EncodedMLP
from threestudio_like.scenes.mesh import Mesh


@dataclass(frozen=True)
class Points:
    """A field at N points: `density` per unit of length, `features` (albedo in 0..1), unit `normal` or None."""

    density: Float[Tensor, "N"]
    features: Float[Tensor, "N 3"]
    normal: Float[Tensor, "N 3"] | None


@dataclass
class Blob:
    """The density the scene starts from, added before the activation, as a function of the distance r to the origin.

    gaussian: `strength * exp(-r^2 / (2 radius^2))` (DreamFusion, appendix A.2).
    cone: `strength * (1 - r / radius)` (Magic3D; ProlificDreamer's objects; with a negative strength, its scenes, which are
    empty around the origin).
    """

    shape: Literal["gaussian", "cone"] = "gaussian"
    strength: float = 5.0
    radius: float = 0.2


class Field(nn.Module):
    """Density and albedo in the cube [-1, 1]^3; outside it there is only the background. Built from a Config or its fields."""

    @dataclass
    class Config:
        encoding: HashGrid = field(default_factory=HashGrid)
        hidden: int = 32
        blob: Blob = field(default_factory=Blob)
        density_shift: float = -1.0
        background: Annotated[Component, "background"] = field(
            default_factory=lambda: Component("background", "solid", Solid.Config())
        )

    def __init__(self, config: Config | None = None, **fields):
        super().__init__()
        self.config = config = configure(self, config, fields)
        self.net = EncodedMLP(config.encoding, config.hidden, 4)
        self.background = config.background.build()
        self.extraction = Extraction()
        """How `mesh` finds the surface."""

    def at(self, x: Float[Tensor, "N 3"], normals: bool = False) -> Points:
        """The field at points of the scene cube. Normals, where asked for, carry gradients: n = -grad(tau) / |grad(tau)|."""
        blob, blob_gradient = self._blob(x)
        outputs, gradient = self.net.with_gradient(x) if normals else (self.net(x), None)
        normal = -F.normalize(gradient + blob_gradient, dim=-1, eps=1e-6) if normals else None
        return Points(F.softplus(outputs[:, 0] + blob + self.config.density_shift), outputs[:, 1:].sigmoid(), normal)

    def density(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """The density alone."""
        return self.at(x).density

    def albedo(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """The colour alone."""
        return self.at(x).features

    def _blob(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The starting density before the activation, and its gradient."""
        blob = self.config.blob
        squared = x.square().sum(-1)
        if blob.shape == "gaussian":
            value = blob.strength * torch.exp(-squared / (2 * blob.radius**2))
            return value, -value[:, None] * x / blob.radius**2
        r = squared.sqrt()
        return blob.strength * (1 - r / blob.radius), -blob.strength / blob.radius * x / r.clamp(min=1e-6)[:, None]

    def mesh(self) -> Mesh:
        """Extracts the surface as `extraction` says. Raises NoSurfaceError where there is none."""
        how, device = self.extraction, self.net.table.device
        return extract(self, how.resolution, how.threshold, device, how.density_threshold)

    def parameters_by_name(self) -> dict[str, list[nn.Parameter]]:
        """The groups that recipes give learning rates to."""
        return self.net.parameters_by_name() | {"background": list(self.background.parameters())}
