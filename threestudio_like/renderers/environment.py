"""Light from all around in spherical harmonics, and how a rough or metallic surface reflects it.

Diffuse light as Ramamoorthi & Hanrahan 2001, "An Efficient Representation for Irradiance Environment Maps"; specular
light by the split sum of Karis 2013, "Real Shading in Unreal Engine 4": the harmonics blurred by the roughness, times a
table.
"""

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from threestudio_like.config.ranges import Angle, Elevation, Radiance
from threestudio_like.utils.color import linear_from_srgb, srgb_from_linear

DEGREE = torch.tensor([0, 1, 1, 1, 2, 2, 2, 2, 2])
COSINE_LOBE = torch.tensor([1.0, 2 / 3, 2 / 3, 2 / 3] + 5 * [1 / 4])
"""The clamped cosine's harmonics over pi: A_l / pi."""


def harmonics(d: Float[Tensor, "N 3"]) -> Float[Tensor, "N 9"]:
    """Computes the real spherical harmonics of degrees 0, 1 and 2 at unit vectors."""
    x, y, z = d.unbind(-1)
    one, two = math.sqrt(3 / (4 * math.pi)), math.sqrt(15 / (4 * math.pi))
    return torch.stack(
        [
            torch.full_like(x, 0.5 / math.sqrt(math.pi)),
            one * y,
            one * z,
            one * x,
            two * x * y,
            two * y * z,
            math.sqrt(5 / (16 * math.pi)) * (3 * z * z - 1),
            two * x * z,
            0.5 * two * (x * x - y * y),
        ],
        dim=-1,
    )


@dataclass
class EnvironmentLight:
    """A studio: light from above and from below, and a lamp. All in linear light, white having 1."""

    sky: Radiance = (0.9, 0.9, 0.9)
    """Radiance from straight above; between above and below it changes linearly with the height."""
    ground: Radiance = (0.45, 0.45, 0.45)
    """Radiance from straight below."""
    lamp: Radiance = (0.45, 0.45, 0.45)
    """Irradiance by the lamp of a surface that faces it."""
    lamp_azimuth_deg: Angle = 40.0
    """Direction of the lamp around the object; 0 is its front."""
    lamp_elevation_deg: Elevation = 55.0
    """Height of the lamp over the horizon."""

    def light(self, turn: Float[Tensor, "B"]) -> Float[Tensor, "B 9 3"]:
        """Computes radiance coefficients of the studio turned about z by these angles, in radians."""
        sky, ground, lamp = (torch.tensor(color, device=turn.device) for color in (self.sky, self.ground, self.lamp))
        # L(d) = (sky + ground) / 2 + z (sky - ground) / 2
        mean, slope = 0.5 * (sky + ground), 0.5 * (sky - ground)
        still = torch.zeros(9, 3, device=turn.device)
        still[0] = mean * 2 * math.sqrt(math.pi)
        still[2] = slope * math.sqrt(4 * math.pi / 3)
        azimuth, elevation = turn + math.radians(self.lamp_azimuth_deg), math.radians(self.lamp_elevation_deg)
        flat = math.cos(elevation)
        toward = torch.stack(
            [flat * azimuth.cos(), flat * azimuth.sin(), torch.full_like(azimuth, math.sin(elevation))], dim=-1
        )
        return still + math.pi * harmonics(toward)[..., None] * lamp


def reflect(
    material: Float[Tensor, "M 5"],
    normal: Float[Tensor, "M 3"],
    toward: Float[Tensor, "M 3"],
    light: Float[Tensor, "M 9 3"],
) -> Float[Tensor, "M 3"]:
    """Computes the sRGB colour that the camera, in the unit direction `toward`, sees.

    `material`: base colour (sRGB), roughness and metallic, each in 0..1, as in glTF's metallic-roughness model.
    """
    base, roughness, metallic = linear_from_srgb(material[:, :3]), material[:, 3:4], material[:, 4:5]
    facing = (normal * toward).sum(-1, keepdim=True).clamp(1e-3, 1)
    mirrored = 2 * (normal * toward).sum(-1, keepdim=True) * normal - toward
    cosine, degree = COSINE_LOBE.to(base), DEGREE.to(base)

    def sum_up(weights):
        return (weights[..., None] * light).sum(1).clamp(min=0)

    diffuse = sum_up(harmonics(normal) * cosine)
    # a GGX lobe is nearly Gaussian of variance alpha^2 / 2 in angle: it damps degree l by exp(-l (l + 1) alpha^2 / 4)
    blur = torch.exp(-0.25 * degree * (degree + 1) * roughness**4)
    specular = sum_up(harmonics(mirrored) * blur)
    at_normal = 0.04 + metallic * (base - 0.04)
    scale, shift = reflectance(roughness, facing)
    return srgb_from_linear(base * (1 - metallic) * diffuse + (at_normal * scale + shift) * specular)


def reflectance(roughness: Float[Tensor, "M 1"], facing: Float[Tensor, "M 1"]) -> tuple[Tensor, Tensor]:
    """Returns scale and shift of the reflectance at normal incidence: the split sum's second factor."""
    where = 2 * torch.cat([facing, roughness], dim=-1)[None, None] - 1
    table = reflectance_table().to(where)
    found = F.grid_sample(table[None], where, padding_mode="border", align_corners=True)[0, :, 0]
    return found[0][:, None], found[1][:, None]


@functools.cache
def reflectance_table(size: int = 32, samples: int = 1024) -> Float[Tensor, "2 size size"]:
    """Integrates GGX over its half vectors: scale and shift by roughness (rows) and facing cosine (columns), 0 to 1.

    Karis 2013, "Real Shading in Unreal Engine 4".
    """
    roughness = torch.linspace(0, 1, size, dtype=torch.float64).clamp(min=0.02)[:, None, None]
    facing = torch.linspace(0, 1, size, dtype=torch.float64).clamp(min=0.01)[None, :, None]
    i = torch.arange(samples, dtype=torch.float64)
    u, angle = (i + 0.5) / samples, 2 * math.pi * (i * 0.6180339887498949 % 1)
    alpha = roughness**2
    cosine = ((1 - u) / (1 + (alpha**2 - 1) * u)).sqrt()
    flat = (1 - cosine**2).sqrt() * angle.cos()
    between = ((1 - facing**2).sqrt() * flat + facing * cosine).clamp(min=1e-6)  # half vector and eye
    light = 2 * between * cosine - facing

    def shadow(c):
        return c / (c * (1 - alpha / 2) + alpha / 2)

    visible = shadow(light.clamp(min=0)) * shadow(facing) * between / (cosine * facing) * (light > 0)
    fresnel = (1 - between) ** 5
    return torch.stack([((1 - fresnel) * visible).mean(-1), (fresnel * visible).mean(-1)]).float()
