"""Fields, volume rendering, backgrounds, shading and regularizers, on fields whose pictures are known."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from threestudio_like.cameras import orbit
from threestudio_like.config.registry import Component, registered
from threestudio_like.errors import NoSurfaceError, UserError
from threestudio_like.kernels.hashgrid import HashGrid
from threestudio_like.renderers import regularizers
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.shading import Shading, headlight, sample_light
from threestudio_like.renderers.volume import VolumeRenderer
from threestudio_like.scenes.background import DirectionMLP, Random, Solid
from threestudio_like.scenes.base import MeshSettings, Points
from threestudio_like.scenes.convert import automatic_threshold, extract, remove_small_components
from threestudio_like.scenes.field import Blob, Field
from threestudio_like.scenes.signed_distance import volume_distance

GREY = Component("background", "solid", Solid.Config((0.5, 0.5, 0.5)))


def small_field(**keys) -> Field:
    torch.manual_seed(0)
    grid = HashGrid(n_levels=3, n_features_per_level=2, log2_hashmap_size=10, base_resolution=4, max_resolution=16)
    return Field(Field.Config(encoding=grid, hidden=8, background=GREY, **keys))


class Ball(nn.Module):
    """A ball of constant density, coloured by position; normals point outwards."""

    def __init__(self, radius=0.5, density=200.0):
        super().__init__()
        self.radius, self.tau, self.background = radius, density, GREY.build()
        self.anchor, self.device = nn.Parameter(torch.zeros(1)), torch.device("cpu")

    def density(self, x):
        return self.tau * (x.norm(dim=-1) < self.radius).float() + 0 * self.anchor

    def at(self, x, normals=False):
        normal = torch.nn.functional.normalize(x, dim=-1) if normals else None
        return Points(self.density(x), self.material(x), normal)

    def material(self, x):
        return 0.5 * x + 0.5

    def mesh(self, settings=None):
        return extract(self, settings or MeshSettings())


def rendered(scene, cameras, shading=Shading(), normals=False, **keys):
    renderer = VolumeRenderer(VolumeRenderer.Config(**({"render_step_size": 0.01} | keys)))
    renderer.refresh(scene, 0, torch.Generator().manual_seed(0))
    return renderer(scene, cameras, shading, normals=normals)


def test_an_opaque_ball_is_where_it_is():
    cameras = orbit(4, 20.0, 2.5, 40.0, 33)
    view = rendered(Ball(), cameras, normals=True)
    toward = cameras.position / 2.5
    assert torch.allclose(view.depth[:, 16, 16, 0], torch.full((4,), 2.0), atol=0.02)
    assert torch.allclose(view.normal[:, 16, 16], toward, atol=0.02)
    assert torch.allclose(view.xyz[:, 16, 16] * 2 - 1, 0.5 * toward, atol=0.02)
    assert torch.allclose(view.rgb[:, 16, 16], 0.25 * toward + 0.5, atol=0.02)
    assert torch.equal(view.rgb[:, 0, 0], torch.full((4, 3), 0.5)) and view.opacity[:, 0, 0].max() == 0
    radius = math.tan(math.asin(0.5 / 2.5)) / math.tan(math.radians(20))
    assert view.opacity.mean().item() == pytest.approx(math.pi * radius**2 / 4, rel=0.03)


def test_a_thin_fog_is_as_opaque_as_beer_and_lambert_say():
    cameras = orbit(1, 0.0, 2.5, 10.0, 5)
    view = rendered(Ball(density=1.5), cameras, empty_below=0.0)
    assert view.opacity[0, 2, 2, 0].item() == pytest.approx(1 - math.exp(-1.5 * 1.0), abs=0.02)


def test_occupancy_skips_empty_space_without_changing_the_picture():
    cameras = orbit(2, 20.0, 2.5, 40.0, 16)
    everywhere = VolumeRenderer(render_step_size=0.01, stop_at=0.0, faint_below=0.0)
    skipping = VolumeRenderer(render_step_size=0.01, faint_below=0.0)
    skipping.refresh(Ball(), 0, torch.Generator().manual_seed(0))
    assert everywhere.occupancy.all() and skipping.occupancy.float().mean() < 0.35
    full, fast = (renderer(Ball(), cameras, Shading()) for renderer in (everywhere, skipping))
    assert len(fast.samples.weights) < 0.3 * len(full.samples.weights)
    assert torch.allclose(full.rgb, fast.rgb, atol=5e-3) and torch.allclose(full.opacity, fast.opacity, atol=5e-3)


@pytest.mark.parametrize("density, ends", [(3.0, False), (200.0, True)])
def test_hidden_samples_are_dropped_where_rays_end_inside(density, ends):
    cameras, ball = orbit(2, 20.0, 2.5, 40.0, 16), Ball(density=density)
    dropping, keeping = (VolumeRenderer(render_step_size=0.02, stop_at=stop, faint_below=0.0) for stop in (1e-3, 0.0))
    view, full = dropping(ball, cameras), keeping(ball, cameras)
    assert (len(full.samples.ray) > len(view.samples.ray)) == ends
    assert torch.allclose(full.rgb, view.rgb, atol=1e-3) and torch.allclose(full.depth, view.depth, atol=5e-3)


@pytest.mark.parametrize("most, as_without", [(10**6, True), (2000, False)])
def test_no_more_samples_than_are_asked_for_are_drawn_however_thick_the_fog(most, as_without):
    """They are longer instead, so that the fog is as opaque as before."""
    cameras, fog = orbit(2, 20.0, 2.5, 40.0, 33), Ball(radius=0.8, density=0.5)
    free, bounded = (
        VolumeRenderer(render_step_size=0.01, stop_at=0.0, max_samples=bound)(fog, cameras) for bound in (None, most)
    )
    assert len(free.samples.ray) > 100_000
    if as_without:
        assert torch.equal(free.rgb, bounded.rgb) and torch.equal(free.samples.weights, bounded.samples.weights)
    else:
        assert 0.5 * most < len(bounded.samples.ray) < 1.3 * most
        assert torch.allclose(free.opacity.mean(), bounded.opacity.mean(), atol=0.02)


class SoftBall(Ball):
    """A ball that ends within 0.1, as a sharp field's do; its density is a parameter."""

    def __init__(self):
        super().__init__(density=None)
        self.logit = nn.Parameter(torch.tensor(4.0))

    def density(self, x):
        return 40 * torch.sigmoid(self.logit * (0.5 - x.norm(dim=-1)) * 25)


def test_faint_samples_are_dropped_without_changing_picture_or_gradient():
    cameras, ball = orbit(2, 20.0, 2.5, 40.0, 16), SoftBall()
    renderer = VolumeRenderer(stop_at=0.0)
    renderer.refresh(ball, 0, torch.Generator().manual_seed(0))
    keeping = VolumeRenderer(stop_at=0.0, faint_below=0.0)
    keeping.start_from(renderer)
    gated, full = renderer(ball, cameras), keeping(ball, cameras)
    assert len(gated.samples.ray) < 0.75 * len(full.samples.ray)
    lost = (full.opacity - gated.opacity).abs()
    assert lost.max() < 0.01 and lost.mean() < 5e-4 and torch.allclose(full.rgb, gated.rgb, atol=5e-3)
    gradients = [torch.autograd.grad(view.opacity.sum(), ball.logit)[0].item() for view in (full, gated)]
    assert gradients[1] == pytest.approx(gradients[0], rel=0.06)


def test_a_scene_of_faint_samples_alone_keeps_them():
    view = rendered(Ball(radius=0.9, density=0.05), orbit(1, 0.0, 3.0, 40.0, 9), render_step_size=0.007)
    assert view.opacity[0, 4, 4].item() == pytest.approx(1 - math.exp(-0.05 * 1.8), abs=0.01)


def test_the_grid_remembers_and_forgets():
    renderer = VolumeRenderer(VolumeRenderer.Config(refresh_every=2, decay=0.5))
    renderer.refresh(Ball(), 0, torch.Generator().manual_seed(0))
    before = renderer.density.clone()
    renderer.refresh(Ball(density=0.0), 1, torch.Generator().manual_seed(0))
    assert torch.equal(renderer.density, before)
    renderer.refresh(Ball(density=0.0), 2, torch.Generator().manual_seed(0))
    assert torch.equal(renderer.density, 0.5 * before)


def test_normals_are_the_negative_density_gradient():
    field = small_field(blob=Blob("gaussian", 3.0, 0.4))
    with torch.no_grad():
        field.net.table.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
    x = (torch.rand(200, 3, generator=torch.Generator().manual_seed(1)) - 0.5).requires_grad_()
    gradient = torch.autograd.grad(field.density(x).sum(), x)[0]
    expected = -torch.nn.functional.normalize(gradient, dim=-1)
    assert torch.allclose(field.at(x.detach(), normals=True).normal, expected, atol=1e-3)


@pytest.mark.parametrize("shape", ["gaussian", "cone"])
def test_the_blob_starts_dense_in_the_middle(shape):
    field = small_field(blob=Blob(shape, 5.0, 0.4))
    density = field.density(torch.tensor([[0.0, 0, 0], [0.4, 0, 0], [0.9, 0, 0]]))
    assert density[0] > density[1] > density[2]


def test_light_reaches_the_geometry():
    """A lit render's gradient moves the table through the normals; an albedo render needs no density gradient."""
    field = small_field(blob=Blob("gaussian", 8.0, 0.4))
    cameras = orbit(2, 20.0, 2.5, 40.0, 8)
    shading = Shading("textureless", headlight(cameras), 0.1, 0.9)
    view = rendered(field, cameras, shading, render_step_size=0.05)
    normal_only = (view.samples.weights.detach()[:, None] * view.samples.normal).sum()
    gradient = torch.autograd.grad(normal_only, field.net.table)[0]
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0


def test_shading_is_dreamfusions_formula():
    albedo, normal = torch.tensor([[0.2, 0.4, 0.6]]), torch.tensor([[0.0, 0.0, 1.0]])
    position, image = torch.zeros(1, 3), torch.tensor([0])
    above, below = torch.tensor([[0.0, 0.0, 2.0]]), torch.tensor([[0.0, 0.0, -2.0]])
    assert torch.allclose(Shading("lambertian", above, 0.1, 0.9)(albedo, normal, position, image), albedo)
    assert torch.allclose(Shading("lambertian", below, 0.1, 0.9)(albedo, normal, position, image), 0.1 * albedo)
    assert torch.allclose(
        Shading("textureless", above, 0.2, 0.7)(albedo, normal, position, image), torch.full((1, 3), 0.9)
    )
    assert torch.equal(Shading()(albedo, None, position, image), albedo)


def test_lights_are_near_the_camera():
    cameras = orbit(500, 20.0, 1.5, 40.0, 4)
    light = sample_light(cameras, (0.8, 1.5), 1.0, torch.Generator().manual_seed(0))
    length = light.norm(dim=-1)
    assert length.min() >= 0.8 and length.max() <= 1.5
    assert ((light / length[:, None]) * cameras.position / 1.5).sum(-1).mean() > 0.4


def test_backgrounds():
    directions = torch.nn.functional.normalize(torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    random = Random(Random.Config(low=0.2, high=0.4, tint=0.05, color=(1.0, 0.0, 0.0)))
    drawn = random(directions, torch.Generator().manual_seed(0))
    assert torch.equal(drawn[:, 0], drawn[:, 4]) and not torch.equal(drawn[0], drawn[1])
    assert drawn.min() >= 0.15 and drawn.max() <= 0.45
    assert torch.equal(random(directions, None)[0, 0], torch.tensor([1.0, 0.0, 0.0]))
    mlp = DirectionMLP(DirectionMLP.Config())(directions, None)
    assert mlp.shape == (3, 5, 3) and mlp.min() > 0 and mlp.max() < 1
    sometimes = DirectionMLP(DirectionMLP.Config(random_share=0.5))
    seen = sometimes(directions[:1].expand(400, -1, -1), torch.Generator().manual_seed(0))
    plain = (seen == seen[:, :1]).all(-1).all(-1)
    assert 0.4 < plain.float().mean() < 0.6 and seen[plain].std(0).min() > 0.2
    torch.testing.assert_close(seen[~plain], sometimes(directions[:1], None).expand(int((~plain).sum()), -1, -1))
    assert {"solid", "random", "mlp"} <= set(registered("background"))


def test_penalties_on_known_renders():
    view = rendered(Ball(), orbit(1, 0.0, 2.5, 40.0, 16), normals=True)
    assert regularizers.orientation(view) < 0.01
    inward = replace(view, samples=replace(view.samples, normal=-view.samples.normal))
    assert regularizers.orientation(inward) > 0.02
    assert regularizers.entropy(view) < 0.1
    assert regularizers.sparsity(view) == view.opacity.mean()
    assert regularizers.opacity(replace(view, opacity=torch.zeros_like(view.opacity))).item() == pytest.approx(0.1)
    foggy = replace(view, opacity=torch.full_like(view.opacity, 0.5))
    assert regularizers.entropy(foggy).item() == pytest.approx(math.log(2), rel=1e-4)
    with pytest.raises(UserError, match="did you mean 'sparsity'"):
        regularizers.check_names(["sparsty"])


def test_normal_smoothness_counts_pairs_on_the_object_only():
    """Left half up, right half turned by 60 degrees: |n - m|^2 = 1 on one column of pairs, 0 on all others."""
    normal, opacity = torch.zeros(1, 6, 8, 3), torch.ones(1, 6, 8, 1)
    normal[..., 2] = 1.0
    normal[:, :, 4:] = torch.tensor([math.sin(math.pi / 3), 0.0, 0.5])
    blank = torch.zeros(1, 6, 8, 1)
    view = Render(rgb=normal, opacity=opacity, depth=blank, normal=normal, xyz=normal)
    pairs = 6 * 7 + 5 * 8
    assert regularizers.normal_smoothness(view).item() == pytest.approx(6 / pairs, rel=1e-5)
    opacity[:, 3:] = 0.0
    normal[:, 3:] = torch.rand(1, 3, 8, 3)
    pairs = 3 * 7 + 2 * 8
    assert regularizers.normal_smoothness(view).item() == pytest.approx(3 / pairs, rel=1e-5)


def test_the_mesh_of_a_ball_is_a_ball():
    mesh = extract(Ball(), MeshSettings(48))
    assert 0.5 < mesh.to_trimesh().volume < 0.6  # wound outwards, and as large as it is: 0.524
    radius = torch.tensor(mesh.vertices).norm(dim=-1)
    assert radius.mean().item() == pytest.approx(0.5, abs=0.02) and radius.std() < 0.02
    assert mesh.colors.shape == mesh.vertices.shape and mesh.colors.min() >= 0 and mesh.colors.max() <= 1


def test_fog_that_is_not_drawn_is_not_exported():
    """As thin as Stable Diffusion's recipe starts with; whole axes of it are opaque, and none of it is rendered."""

    class Foggy(Ball):
        def density(self, x):
            return super().density(x) + 0.4

    renderer = VolumeRenderer(VolumeRenderer.Config(render_step_size=0.007))
    renderer.refresh(Foggy(), 0, torch.Generator().manual_seed(0))
    assert renderer.density_threshold == pytest.approx(-math.log(0.99) / 0.007, rel=1e-3)

    def inside(scene):
        return (volume_distance(scene) < 0).float().mean().item()

    visible = renderer.visible(Foggy())
    assert inside(Foggy()) > 0.9 and inside(visible) == pytest.approx(4 / 3 * math.pi * 0.5**3 / 8, rel=0.05)
    mesh = visible.mesh(MeshSettings(48))
    assert torch.tensor(mesh.vertices).norm(dim=-1).mean().item() == pytest.approx(0.5, abs=0.02)


def test_a_thin_scene_stays_visible():
    """All of it below one hundredth of a sample, it would be culled for good."""
    view = rendered(Ball(radius=0.9, density=1.4), orbit(1, 0.0, 3.0, 40.0, 9), render_step_size=0.007)
    assert view.opacity[0, 4, 4].item() == pytest.approx(1 - math.exp(-1.4 * 1.8), abs=0.05)


def test_floaters_are_dropped():
    class Two(Ball):
        def density(self, x):
            far = (x - torch.tensor([0.8, 0.8, 0.8])).norm(dim=-1) < 0.08
            return super().density(x) + 200.0 * far

    mesh = remove_small_components(extract(Two(), MeshSettings(48)), 0.05)
    assert mesh.vertices.max() < 0.6


def test_an_empty_field_has_no_surface():
    with pytest.raises(NoSurfaceError):
        extract(Ball(density=0.0), MeshSettings(16))
    with pytest.raises(NoSurfaceError, match="no surface at density"):
        extract(Ball(), MeshSettings(16, 1e6))


def test_the_threshold_gives_the_renderings_silhouette():
    """A solid ball (density 90) in a thin ball of fog (0.4, twice as wide): the level lies between them."""
    axis = torch.linspace(-1, 1, 40)
    r = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
    density = torch.where(r < 0.4, 90.0, torch.where(r < 0.8, 0.4, 0.0)).numpy()
    assert 0.4 < automatic_threshold(density, 2 / 39) < 90.0


def test_samples_are_jittered_in_training_only():
    fog, cameras = Ball(density=1.5), orbit(1, 0.0, 2.5, 40.0, 5)
    renderer = VolumeRenderer(render_step_size=0.3, resolution=8)
    renderer.refresh(fog, 0, torch.Generator().manual_seed(0))
    one, other = (renderer(fog, cameras, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert not torch.equal(one.depth, other.depth)
    assert torch.equal(renderer(fog, cameras).depth, renderer(fog, cameras).depth)


def test_cells_around_an_occupied_one_are_looked_into():
    renderer = VolumeRenderer(resolution=8)
    renderer.density.zero_()
    renderer.density[3, 4, 5] = 1000.0
    assert renderer.occupancy.sum() == 27 and renderer.occupancy[2:5, 3:6, 4:7].all()


def test_of_a_thin_scene_the_thickest_cells_are_kept():
    renderer = VolumeRenderer(resolution=8, render_step_size=0.01, empty_below=0.01)
    renderer.density.fill_(1e-4)
    renderer.density[:4] = 1e-3
    assert renderer.occupancy[:4].all() and not renderer.occupancy[5:].any()


def test_lights_without_spread_are_at_the_cameras_and_the_headlight_is_above_to_the_left():
    cameras = orbit(8, 20.0, 1.5, 40.0, 4)
    light = sample_light(cameras, (2.0, 2.0), 0.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(light, cameras.position * 2 / 1.5)
    beside = headlight(cameras) - cameras.position
    right, up = cameras.c2w[:, :3, 0], cameras.c2w[:, :3, 1]
    assert ((beside * right).sum(-1) < 0).all() and ((beside * up).sum(-1) > 0).all()
