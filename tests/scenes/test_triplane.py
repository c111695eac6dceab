"""A triplane whose decoder says a ball is one, to both renderers, with gradients to its planes; its mesh is closed."""

import math

import pytest
import torch
import trimesh

from threestudio_like.cameras import orbit
from threestudio_like.errors import NoSurfaceError, UserError
from threestudio_like.export.mesh_io import write_mesh
from threestudio_like.renderers import regularizers
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.renderers.volume import VolumeRenderer
from threestudio_like.scenes.triplane import PLANES, Planes, Triplane, density_of, plane_features, shared_grid

RADIUS = 0.6


class Ball:
    """A ball whose radius grows by the mean of the features, of one colour; nothing is deformed."""

    def __init__(self, radius=RADIUS, color=(0.2, 0.4, 0.6)):
        self.radius, self.rgb = radius, torch.tensor(color)

    def distance(self, x, features):
        return x.norm(dim=-1) - self.radius - features.mean(-1)

    def color(self, features):
        return (self.rgb + 0 * features[..., :1]).expand(*features.shape[:-1], 3)

    def deformation(self, features):
        return features[..., :3].tanh()

    def weights(self, corners):
        return corners[..., :1].expand(-1, 21)


def ball(resolution=24, beta=0.01, **how) -> Triplane:
    return Triplane(Planes(torch.zeros(1, 3, 4, 8, 8, requires_grad=True)), Ball(**how), resolution, beta)


def test_features_are_those_of_a_points_projections():
    """Planes that hold their own coordinates give them back."""
    size = 16
    middle = (torch.arange(size) + 0.5) * (2 / size) - 1
    rows, columns = torch.meshgrid(middle, middle, indexing="ij")
    planes = torch.stack([columns, rows]).expand(2, 3, 2, size, size)
    x = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9
    found = plane_features(planes, x).unflatten(-1, (3, 2))
    for plane, axes in enumerate(PLANES):
        torch.testing.assert_close(found[:, :, plane], x[..., axes], atol=1e-5, rtol=0)


def test_a_ball_is_a_ball_in_both_renderers():
    scene, cameras = ball(), orbit(3, 20.0, 2.5, 40.0, 32)
    drawn = MeshRenderer(MeshRenderer.Config())(scene, cameras, Shading())
    renderer = VolumeRenderer(VolumeRenderer.Config(render_step_size=0.01, resolution=24))
    renderer.refresh(scene, 0, torch.Generator().manual_seed(0))
    seen = renderer(scene, cameras, Shading(), normals=True)
    middle = (slice(None), 16, 16)
    for view in (drawn, seen):
        assert view.opacity[middle].min() > 0.98 and view.opacity[:, 0, 0].max() < 0.02
        torch.testing.assert_close(view.depth[middle], torch.full((3, 1), 2.5 - RADIUS), atol=0.04, rtol=0)
        facing = (view.normal[middle] * cameras.position / 2.5).sum(-1)
        assert facing.min() > 0.95
        torch.testing.assert_close(view.rgb[middle], torch.tensor([[0.2, 0.4, 0.6]]).expand(3, 3), atol=0.03, rtol=0)
        torch.testing.assert_close(view.rgb[:, 0, 0], torch.ones(3, 3), atol=0.02, rtol=0)
    assert (drawn.opacity - seen.opacity).abs().mean() < 0.02


def test_its_mesh_is_closed_has_its_volume_and_can_be_written(tmp_path):
    mesh = ball().mesh()
    body = mesh.to_trimesh()
    assert body.is_watertight and body.is_winding_consistent
    assert body.volume == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.03)
    write_mesh(mesh, tmp_path / "ball.glb")
    assert trimesh.load(tmp_path / "ball.glb", force="mesh").is_watertight


def test_a_shape_that_reaches_beyond_the_cube_is_closed_there():
    mesh = ball(radius=1.2).mesh()
    body = mesh.to_trimesh()
    caps = 6 * math.pi * 0.2**2 * (3 * 1.2 - 0.2) / 3
    assert body.is_watertight and body.volume == pytest.approx(4 / 3 * math.pi * 1.2**3 - caps, rel=0.05)


@pytest.mark.parametrize("radius", [-0.5, 0.0])
def test_no_surface_is_said(radius):
    with pytest.raises(NoSurfaceError, match="no surface"):
        ball(radius=radius).mesh()


def test_gradients_reach_the_planes_from_both_renderers_and_grow_a_ball_that_is_too_small():
    """The images of a larger ball are brighter or darker around the smaller one; more of it is always the way down."""
    cameras = orbit(2, 10.0, 2.5, 40.0, 24)
    volume = VolumeRenderer(VolumeRenderer.Config(render_step_size=0.03, resolution=16))
    for renderer in (volume, MeshRenderer(MeshRenderer.Config())):
        with torch.no_grad():
            renderer.refresh(ball(), 0, torch.Generator().manual_seed(0))
            target = renderer(ball(), cameras, Shading()).rgb
        scene = ball(radius=0.5)
        renderer.forget()
        renderer.refresh(scene, 0, torch.Generator().manual_seed(0))
        (renderer(scene, cameras, Shading()).rgb - target).square().mean().backward()
        assert scene.planes.planes.grad.abs().sum() > 0 and scene.planes.planes.grad.mean() < 0


def test_the_surfaces_values_are_those_of_the_whole_grid():
    """Vertices are asked twice, near the surface with gradients; the answer is as if all had been asked so."""
    torch.manual_seed(0)
    planes = Planes(0.1 * torch.randn(1, 3, 4, 8, 8))
    scene = Triplane(planes, Ball(), 12)
    surface = scene.surface()
    body = trimesh.Trimesh(surface.vertices.numpy(), surface.faces.numpy(), process=False)
    assert body.is_watertight and surface.deviation > 0
    off = scene.distance(surface.vertices).abs().mean()
    assert off < 0.05  # deformed and weighted, but around the zero level
    assert ((surface.crossings[:, 0] < 0) != (surface.crossings[:, 1] < 0)).all()


def test_the_density_is_the_laplace_distributions():
    d = torch.tensor([-1.0, -0.1, 0.0, 0.1, 1.0], dtype=torch.float64)
    law = torch.distributions.Laplace(torch.tensor(0.0, dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64))
    torch.testing.assert_close(density_of(d, 0.1), law.cdf(-d - 0.2) / 0.1)


def test_sign_changes_are_penalised_where_the_scene_tells_them():
    view = MeshRenderer(MeshRenderer.Config(1))(ball(), orbit(1, 0.0, 2.5, 40.0, 8), Shading())
    regularizers.check_render(["sign_changes", "deviation"], view)
    assert regularizers.sign_changes(view).item() == pytest.approx(
        math.log(2), abs=0.05
    )  # near zero each sign is as likely
    volume = VolumeRenderer(VolumeRenderer.Config(render_step_size=0.1, resolution=8))
    volume = volume(ball(), orbit(1, 0.0, 2.5, 40.0, 8), Shading())
    with pytest.raises(UserError, match="mesh renderer"):
        regularizers.check_render(["sign_changes"], volume)


class Egg(Ball):
    """A lopsided ball, a good deal away from the middle."""

    def distance(self, x, features):
        return (x - x.new_tensor([0.3, -0.2, 0.1])).norm(dim=-1) - 0.3 + 0.1 * x[..., 0]


def test_distances_from_coarse_to_fine_are_those_of_the_whole_grid():
    """Near the surface exactly, far from it with the right sign and nearly."""
    scene = Triplane(Planes(torch.zeros(1, 3, 4, 8, 8)), Egg(), 40)
    whole = scene.distance(shared_grid(40, scene.device).vertices)
    found = scene.distances(40)
    near = whole.abs() < 0.08
    assert torch.equal(found[near], whole[near]) and near.float().mean() < 0.1
    assert torch.equal(found < 0, whole < 0) and (found - whole).abs().max() < 0.05
