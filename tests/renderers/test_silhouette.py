"""Soft silhouettes: those of the distance they come from, and what they are for: holes open, far parts grow."""

from dataclasses import replace

import pytest
import torch

from threestudio_like.cameras import orbit
from threestudio_like.config.registry import parse_component
from threestudio_like.errors import UserError
from threestudio_like.renderers.ccm import TightBox, canonical_coordinates
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.renderers.silhouette import soft_silhouette
from threestudio_like.scenes.isosurface import IsoSurface

SOFTNESS = 0.1


def corners(resolution: int) -> torch.Tensor:
    axis = torch.linspace(-1, 1, resolution + 1)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)


def lump(kind: str = "tetmesh") -> IsoSurface:
    """A flat, round lump across the y axis."""
    node = {
        "type": kind,
        "resolution": 16,
        "shape_init": {"ellipsoid": [0.6, 0.2, 0.6]},
        "background": {"type": "solid"},
        "encoding": {
            "n_levels": 1,
            "n_features_per_level": 2,
            "log2_hashmap_size": 4,
            "base_resolution": 4,
            "max_resolution": 4,
        },
        "hidden": 4,
    }
    return parse_component("scene", node, "scene").build()


def test_a_balls_silhouette_is_how_far_rays_pass_it_by():
    distance = corners(48).norm(dim=-1) - 0.5
    rays = orbit(2, 20.0, 2.5, 60.0, 24).rays()
    passing = torch.linalg.cross(rays.origins, rays.directions).norm(dim=-1)
    expected = torch.sigmoid((0.5 - passing) / SOFTNESS)
    near = passing < 0.9
    assert near.sum() > 300 and (~near).sum() > 100
    found, nearest = soft_silhouette(distance, rays, SOFTNESS)
    assert (found - expected)[near].abs().max() < 0.02
    middles = rays.origins - (rays.origins * rays.directions).sum(-1, keepdim=True) * rays.directions
    assert (nearest - middles)[near].norm(dim=-1).max() < 0.05
    assert found[~near].max() < 0.05 and found[passing > 1.8].sum() == 0


def test_only_gradients_change():
    scene, cameras = lump(), orbit(2, 20.0, 2.5, 40.0, 24)
    hard, soft = (
        MeshRenderer(MeshRenderer.Config(2, softness))(scene, cameras, Shading()) for softness in (0.0, SOFTNESS)
    )
    for name in ("rgb", "opacity", "xyz", "depth", "normal"):
        assert torch.equal(getattr(hard, name), getattr(soft, name))
    inside = hard.opacity.detach() == 1

    def of(view):
        return torch.autograd.grad(view.opacity[inside].sum(), scene.values, retain_graph=True)[0]

    assert of(hard).abs().sum() == 0
    assert of(soft).sum() < 0 and of(soft).max() <= 0  # a smaller distance makes it more opaque


def unevenness(surface):
    """The mean squared distance of vertices to the mean of their neighbours, however many these are."""
    degree = torch.bincount(surface.edges.ends.flatten(), minlength=len(surface.vertices)).clamp(min=1)
    return (surface.laplacian() / degree[:, None]).square().sum(-1).mean()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tetmesh", "flexicubes"])
@pytest.mark.parametrize("softness", [0.0, SOFTNESS])
def test_a_lump_becomes_a_ring_only_with_soft_silhouettes(kind, softness):
    x = corners(48)
    ring = torch.stack([x[..., [0, 2]].norm(dim=-1) - 0.5, x[..., 1]], dim=-1).norm(dim=-1) - 0.15
    scene, cameras = lump(kind), orbit(6, 0.0, 2.5, 45.0, 32)
    target = (soft_silhouette(ring, cameras.rays(), 0.01)[0] > 0.5).float().view(6, 32, 32, 1)
    renderer = MeshRenderer(MeshRenderer.Config(2, softness))
    optimizer = torch.optim.Adam([scene.values], lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        view = renderer(scene, cameras, Shading())
        ((view.opacity - target).square().mean() + 0.1 * unevenness(view.surface)).backward()
        optimizer.step()
    beside = renderer(scene, orbit(4, 0.0, 2.5, 45.0, 33), Shading()).opacity[1]
    hole, body = beside[14:19, 14:19].mean(), beside[6:10, 14:19].mean()
    assert body > 0.8
    assert hole < 0.1 if softness else hole > 0.5, hole


def test_what_is_far_from_the_mesh_can_grow():
    """A second body where no edge passes: only the distance there can be lowered."""
    scene, cameras = lump(), orbit(4, 0.0, 2.5, 45.0, 32)
    x = corners(48)
    ball = (x - torch.tensor([0.0, 0.0, 0.85])).norm(dim=-1) - 0.08
    there = soft_silhouette(ball, cameras.rays(), 0.01)[0].view(4, 32, 32, 1) > 0.5
    view = MeshRenderer(MeshRenderer.Config(2, SOFTNESS))(scene, cameras, Shading())
    assert view.opacity[there].sum() == 0
    view.opacity[there].sum().backward()
    moved = scene.vertices[scene.values.grad < 0]
    assert len(moved) and moved[:, 2].min() > 0.6


@pytest.mark.parametrize("thickness", [0.4, 0.12, 0.06])
def test_a_coordinate_map_asks_thin_things_to_grow_where_they_should(thickness):
    """Each part of the map, by itself: flat axes too, whose coordinates span little of the scene."""
    scene, wanted = lump(), lump()
    with torch.no_grad():
        for plate, radius in ((scene, 0.3), (wanted, 0.6)):
            flat = torch.maximum(
                (plate.vertices[:, [0, 2]]).norm(dim=-1) - radius, plate.vertices[:, 1].abs() - thickness
            )
            plate.shape_init.copy_(flat)
    cameras = orbit(4, 10.0, 2.5, 45.0, 24)
    renderer, box = MeshRenderer(MeshRenderer.Config(2, 0.05)), TightBox()
    target_view = renderer(wanted, cameras, Shading())
    bounds = box.update(target_view)
    target = canonical_coordinates(target_view, *bounds).detach()
    view = renderer(scene, cameras, Shading())
    error = (canonical_coordinates(view, *bounds) - target).square()
    missing = (view.opacity.detach() == 0) & (target[..., 3:] == 1)
    assert missing.sum() > 50
    for channel in range(4):
        (grad,) = torch.autograd.grad((error[..., channel] * missing[..., 0]).sum(), scene.values, retain_graph=True)
        assert grad.sum() > 0  # a smaller distance, less error


def test_what_appears_has_no_colour_of_its_own():
    scene, cameras = lump(), orbit(2, 10.0, 2.5, 45.0, 24)
    view = MeshRenderer(MeshRenderer.Config(2, SOFTNESS))(scene, cameras, Shading())
    empty = view.opacity[..., 0].detach() == 0
    assert torch.autograd.grad(view.rgb[empty].sum(), scene.values, retain_graph=True)[0].abs().max() < 1e-4
    assert torch.autograd.grad(view.opacity[empty].sum(), scene.values)[0].abs().max() > 0.1


@pytest.mark.usefixtures("unchecked")
def test_a_scene_that_tells_no_distance_is_refused():
    class Untold(torch.nn.Module):
        def __init__(self, scene):
            super().__init__()
            self.scene, self.material, self.background = scene, scene.material, scene.background

        def surface(self):
            return replace(self.scene.surface(), distance=None)

    renderer = MeshRenderer(MeshRenderer.Config(2, SOFTNESS))
    with pytest.raises(UserError, match="needs a scene that tells its signed distance"):
        renderer(Untold(lump()), orbit(1, 0.0, 2.5, 45.0, 8), Shading())
    with pytest.raises(UserError, match="must be at least 0"):
        MeshRenderer(silhouette=-1.0)
