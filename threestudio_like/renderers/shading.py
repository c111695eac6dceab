"""Lights surfaces: DreamFusion's albedo, Lambertian and textureless shadings and its light sampler; environments."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from threestudio_like.cameras import Cameras
from threestudio_like.renderers.environment import reflect
from threestudio_like.utils.tensors import map_tensors


@dataclass(frozen=True)
class Shading:
    """One way of shading for all B images; `light [B, 3]` is a point light's position, None for albedo.

    DreamFusion eq. 7: `c = rho * (l_rho max(0, n . l) + l_a)` with ambient `l_a` and diffuse `l_rho`. For
    "environment", which takes a material of 5 numbers, `light [B, 9, 3]` are radiance coefficients and `eye [B, 3]` the
    cameras' positions. "none" is black: for those who look at the normals or the opacity alone.
    """

    kind: Literal["albedo", "lambertian", "textureless", "environment", "none"] = "albedo"
    light: Tensor | None = None
    ambient: float = 0.1
    diffuse: float = 0.9
    eye: Float[Tensor, "B 3"] | None = None

    @property
    def needs_normals(self) -> bool:
        """Whether the light falls on normals."""
        return self.kind not in ("albedo", "none")

    def __getitem__(self, part: slice) -> "Shading":
        """That of some of the images."""
        return map_tensors(lambda tensor: tensor[part], self)

    def __call__(
        self, material: Float[Tensor, "M C"], normal: Tensor | None, position: Float[Tensor, "M 3"], image: Tensor
    ) -> Float[Tensor, "M 3"]:
        """The colour of M points of an albedo (C = 3), or base colour, roughness and metallic (C = 5); `image [M]` says
        which of the B images each belongs to.
        """
        if self.kind == "none":
            return torch.zeros_like(position)
        albedo = material[:, :3]
        if self.kind == "albedo":
            return albedo
        assert normal is not None and self.light is not None, "a light falls on normals"
        if self.kind == "environment":
            assert self.eye is not None, "what is reflected depends on where it is seen from"
            return reflect(material, normal, F.normalize(self.eye[image] - position, dim=-1), self.light[image])
        toward = F.normalize(self.light[image] - position, dim=-1)
        lambert = (normal * toward).sum(-1, keepdim=True).clamp(min=0)
        brightness = self.diffuse * lambert + self.ambient
        return brightness * albedo if self.kind == "lambertian" else brightness.expand(-1, 3)


def sample_light(
    cameras: Cameras, distance: tuple[float, float], direction_std: float, generator: torch.Generator
) -> Tensor:
    """Draws light positions `[B, 3]`: direction ~ N(camera position, direction_std^2 I), at a distance U(*distance)
    (DreamFusion A.2).
    """
    device = cameras.c2w.device
    jitter = torch.randn(len(cameras), 3, generator=generator, device=device)
    length = torch.empty(len(cameras), 1, device=device).uniform_(*distance, generator=generator)
    return F.normalize(cameras.position + direction_std * jitter, dim=-1) * length


def headlight(cameras: Cameras) -> Tensor:
    """Lights `[B, 3]` beside the cameras, above and to the left, for showing shape."""
    right, up = cameras.c2w[:, :3, 0], cameras.c2w[:, :3, 1]
    return cameras.position + cameras.distance[:, None] * (0.6 * up - 0.3 * right)


def bare(cameras: Cameras) -> Shading:
    """Shades the bare shape, without its colours, in a headlight."""
    return Shading("textureless", headlight(cameras), 0.4, 0.6)
