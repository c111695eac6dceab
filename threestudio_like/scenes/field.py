"""The Instant-NGP field: a multi-resolution hash grid and a small MLP give density and albedo at a point."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.config import Component, register
from threestudio_like.kernels.hashgrid import HashGrid, encode, encode_with_jacobian


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
    cone: `strength * (1 - r / radius)` (Magic3D; ProlificDreamer's objects).
    """

    shape: Literal["gaussian", "cone"] = "gaussian"
    strength: float = 5.0
    radius: float = 0.2


@register("scene", "field")
class Field(nn.Module):
    """Density and albedo in the cube [-1, 1]^3; outside it there is only the background. Built as `Field(config)`."""

    @dataclass
    class Config:
        encoding: HashGrid = field(default_factory=HashGrid)
        hidden: int = 32
        blob: Blob = field(default_factory=Blob)
        density_shift: float = -1.0
        background: Annotated[Component, "background"] = field(kw_only=True)

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        grid = config.encoding
        self.table = nn.Parameter(torch.empty(grid.total_entries, grid.features).uniform_(-1e-4, 1e-4))
        self.hidden = nn.Linear(grid.width, config.hidden)
        self.density_head = nn.Linear(config.hidden, 1)
        self.albedo_head = nn.Linear(config.hidden, 3)
        self.background = config.background.build()

    def at(self, x: Float[Tensor, "N 3"], normals: bool = False) -> Points:
        """The field at points of the scene cube. Normals, where asked for, carry gradients: n = -grad(tau) / |grad(tau)|."""
        unit = 0.5 * x + 0.5
        if normals:
            features, jacobian = encode_with_jacobian(unit, self.table, self.config.encoding)
        else:
            features, jacobian = encode(unit, self.table, self.config.encoding), None
        before = self.hidden(features)
        hidden = F.relu(before)
        blob, blob_gradient = self._blob(x)
        raw = self.density_head(hidden)[:, 0] + blob + self.config.density_shift
        normal = None
        if normals:
            through = ((before > 0) * self.density_head.weight) @ self.hidden.weight
            gradient = 0.5 * torch.einsum("nw,nwc->nc", through, jacobian) + blob_gradient
            normal = -F.normalize(gradient, dim=-1, eps=1e-6)
        return Points(F.softplus(raw), self.albedo_head(hidden).sigmoid(), normal)

    def density(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """The density alone."""
        hidden = F.relu(self.hidden(encode(0.5 * x + 0.5, self.table, self.config.encoding)))
        return F.softplus(self.density_head(hidden)[:, 0] + self._blob(x)[0] + self.config.density_shift)

    def _blob(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The starting density before the activation, and its gradient."""
        blob = self.config.blob
        squared = x.square().sum(-1)
        if blob.shape == "gaussian":
            value = blob.strength * torch.exp(-squared / (2 * blob.radius**2))
            return value, -value[:, None] * x / blob.radius**2
        r = squared.sqrt()
        return blob.strength * (1 - r / blob.radius), -blob.strength / blob.radius * x / r.clamp(min=1e-6)[:, None]

    def parameters_by_name(self) -> dict[str, list[nn.Parameter]]:
        """The groups that recipes give learning rates to."""
        mlp = [*self.hidden.parameters(), *self.density_head.parameters(), *self.albedo_head.parameters()]
        return {"encoding": [self.table], "mlp": mlp, "background": list(self.background.parameters())}
