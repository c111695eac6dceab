"""Environment light against numerical integrals over the sphere."""

import math

import torch

from threestudio_like.renderers.environment import COSINE_LOBE, EnvironmentLight, harmonics, reflect, reflectance
from threestudio_like.utils.color import linear_from_srgb


def sphere(count: int = 200_000) -> torch.Tensor:
    """Evenly spread unit vectors (a Fibonacci lattice), double precision."""
    i = torch.arange(count, dtype=torch.float64) + 0.5
    z, angle = 1 - 2 * i / count, math.pi * (1 + 5**0.5) * i
    flat = (1 - z * z).sqrt()
    return torch.stack([flat * angle.cos(), flat * angle.sin(), z], dim=-1)


def test_harmonics_are_orthonormal():
    basis = harmonics(sphere())
    gram = 4 * math.pi * (basis.T @ basis) / len(basis)
    torch.testing.assert_close(gram, torch.eye(9, dtype=torch.float64), atol=1e-4, rtol=0)


def test_irradiance_is_the_integral_over_the_hemisphere():
    d, normal = sphere(), torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64), dim=-1)
    light = torch.linspace(0.2, 1.0, 9, dtype=torch.float64)
    radiance = harmonics(d) @ light
    integral = 4 * (radiance * (d @ normal[0]).clamp(min=0)).mean()  # over pi
    torch.testing.assert_close((harmonics(normal) * COSINE_LOBE.double() @ light)[0], integral, atol=1e-3, rtol=0)


def test_the_studio_is_sky_ground_and_lamp():
    light = EnvironmentLight(lamp=(0.0, 0.0, 0.0)).light(torch.zeros(1))[0]
    up, down = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.0, 0.0, -1.0]])
    torch.testing.assert_close(harmonics(up) @ light, torch.full((1, 3), 0.9))
    torch.testing.assert_close(harmonics(down) @ light, torch.full((1, 3), 0.45))
    dark = EnvironmentLight(
        sky=(0.0,) * 3, ground=(0.0,) * 3, lamp=(1.0,) * 3, lamp_azimuth_deg=0.0, lamp_elevation_deg=0.0
    )
    front = torch.tensor([[1.0, 0.0, 0.0]])
    cosine = COSINE_LOBE
    facing = (harmonics(front) * cosine) @ dark.light(torch.zeros(1))[0]
    assert 0.9 < facing[0, 0] < 1.1  # nine harmonics hold a lamp's cosine to a tenth
    rotated = (harmonics(torch.tensor([[0.0, 1.0, 0.0]])) * cosine) @ dark.light(torch.tensor([math.pi / 2]))[0]
    torch.testing.assert_close(rotated, facing, atol=1e-5, rtol=0)


def test_reflectance_is_the_split_sums_integral():
    """Against a plain integral over incoming light of GGX with separate Smith shadowing (Karis 2013)."""
    d = sphere()
    d = d[d[:, 2] > 0]
    for roughness, facing in ((0.4, 0.9), (0.6, 0.5), (0.9, 0.2)):
        alpha = roughness**2
        eye = torch.tensor([math.sqrt(1 - facing**2), 0.0, facing], dtype=torch.float64)
        half = torch.nn.functional.normalize(d + eye, dim=-1)

        def shadow(c, alpha=alpha):
            return c / (c * (1 - alpha / 2) + alpha / 2)

        lobe = alpha**2 / (math.pi * (half[:, 2] ** 2 * (alpha**2 - 1) + 1) ** 2)
        reflected = lobe * shadow(d[:, 2]) * shadow(facing) / (4 * d[:, 2] * facing) * d[:, 2]
        fresnel = (1 - half @ eye) ** 5

        def integral(values):
            return 2 * math.pi * values.mean().item()

        scale, shift = reflectance(torch.tensor([[roughness]]), torch.tensor([[facing]]))
        assert abs(scale.item() - integral((1 - fresnel) * reflected)) < 0.02
        assert abs(shift.item() - integral(fresnel * reflected)) < 0.02


def test_matte_and_metal_under_even_light():
    even = EnvironmentLight(sky=(0.5,) * 3, ground=(0.5,) * 3, lamp=(0.0,) * 3).light(torch.zeros(2))
    normal = torch.tensor([[0.0, 0.0, 1.0]] * 2)
    matte = torch.tensor([[0.5, 0.2, 0.8, 1.0, 0.0]])
    metal = torch.tensor([[0.5, 0.2, 0.8, 0.3, 1.0]])
    seen = linear_from_srgb(reflect(torch.cat([matte, metal]), normal, normal, even))
    base = linear_from_srgb(matte[0, :3])
    torch.testing.assert_close(seen[0], 0.5 * base, atol=0.03, rtol=0)
    torch.testing.assert_close(seen[1], 0.5 * base, atol=0.05, rtol=0.1)


def test_gradients_reach_the_material():
    material = torch.rand(4, 5).requires_grad_()
    normal = torch.nn.functional.normalize(torch.randn(4, 3), dim=-1)
    reflect(0.2 + 0.5 * material, normal, normal, EnvironmentLight().light(torch.zeros(4))).sum().backward()
    assert material.grad.isfinite().all() and (material.grad.abs() > 0).all()


def test_metal_mirrors_the_light_blurred_by_its_roughness():
    """Light that falls off along x, a white metal that faces up: `(scale + shift) Y_x(mirrored) e^(-r^4 / 2) L`."""
    normal, toward = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.6, 0.0, 0.8]])
    light = torch.zeros(1, 9, 3)
    light[:, 3] = -1.5
    for roughness in (0.2, 0.5, 0.9):
        material = torch.tensor([[1.0, 1.0, 1.0, roughness, 1.0]])
        scale, shift = reflectance(torch.tensor([[roughness]]), torch.tensor([[0.8]]))
        mirrored = math.sqrt(3 / (4 * math.pi)) * -0.6
        expected = (scale + shift) * mirrored * math.exp(-(roughness**4) / 2) * -1.5
        found = linear_from_srgb(reflect(material, normal, toward, light))
        torch.testing.assert_close(found, expected.expand(1, 3), atol=1e-4, rtol=1e-3)
