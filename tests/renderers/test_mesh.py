"""Mesh scenes: what is drawn is the shape, all renderers agree, and it can be optimised, converted and exported."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from threestudio_like.cameras import orbit
from threestudio_like.config.registry import parse_component
from threestudio_like.data.toybox.catalogue import make_toy
from threestudio_like.data.toybox.photographs import pack
from threestudio_like.data.toybox.render import Light, render_toys
from threestudio_like.data.toybox.render import mesh as toy_mesh
from threestudio_like.errors import NoSurfaceError, UserError
from threestudio_like.export.mesh_io import write_mesh
from threestudio_like.renderers import regularizers
from threestudio_like.renderers.ccm import TightBox, canonical_coordinates
from threestudio_like.renderers.environment import EnvironmentLight
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.renderers.volume import VolumeRenderer
from threestudio_like.scenes.base import Points
from threestudio_like.scenes.convert import remove_small_components
from threestudio_like.scenes.isosurface import IsoSurface
from threestudio_like.scenes.mesh import Mesh, Surface
from threestudio_like.scenes.signed_distance import from_inside, mesh_distance, read_mesh, sample, winding_numbers

GRID = {"n_levels": 2, "n_features_per_level": 2, "log2_hashmap_size": 8, "base_resolution": 4, "max_resolution": 8}


def tetmesh(kind: str = "tetmesh", **keys) -> IsoSurface:
    torch.manual_seed(0)
    node = {"type": kind, "encoding": GRID, "hidden": 8, "background": {"type": "solid"}, **keys}
    return parse_component("scene", node, "scene").build()


def drawn(scene, cameras, shading=Shading(), supersample=2):
    return MeshRenderer(MeshRenderer.Config(supersample))(scene, cameras, shading)


@pytest.fixture(scope="module")
def duck(tmp_path_factory):
    """A toy, and its mesh as a file."""
    toy = make_toy("duck", "yellow", np.random.default_rng(0))
    path = tmp_path_factory.mktemp("duck") / "duck.glb"
    write_mesh(toy_mesh(toy), path)
    return toy, path


def test_a_ball_is_drawn_where_it_is():
    scene = tetmesh(resolution=20, shape_init={"ellipsoid": [0.5, 0.5, 0.5]})
    cameras = orbit(3, 20.0, 2.5, 40.0, 48)
    view = drawn(scene, cameras)
    rays = cameras.rays()
    middle = torch.arange(3) * 48 * 48 + 24 * 48 + 24
    assert view.opacity.flatten()[middle].tolist() == [1, 1, 1]
    torch.testing.assert_close(view.depth.flatten()[middle], torch.full((3,), 2.0), atol=0.02, rtol=0)
    facing = (view.normal.reshape(-1, 3)[middle] * -rays.directions[middle]).sum(-1)
    assert facing.min() > 0.97
    radius = (2 * view.xyz.reshape(-1, 3)[middle] - 1).norm(dim=-1)
    torch.testing.assert_close(radius, torch.full((3,), 0.5), atol=0.02, rtol=0)
    assert view.rgb[0, 0, 0].tolist() == [1, 1, 1] and view.opacity[0, 0, 0] == 0
    edge = view.opacity[(view.opacity > 0.02) & (view.opacity < 0.98)]
    assert len(edge) > 50  # silhouettes are smooth


@pytest.mark.parametrize("kind", ["tetmesh", "flexicubes"])
def test_autocast_leaves_the_geometry_alone(kind):
    """Half precision would move silhouettes by half a pixel; gradients arrive as they are too."""
    scene, cameras, found = (
        tetmesh(kind, resolution=8, shape_init={"ellipsoid": [0.5, 0.3, 0.4]}),
        orbit(2, 20.0, 2.5, 40.0, 24),
        [],
    )
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            view = drawn(scene, cameras)
        scene.zero_grad()
        (view.rgb.square().sum() + view.opacity.square().sum()).backward()
        found.append((view.rgb, view.depth, scene.values.grad.clone()))
    for exact, half in zip(*found, strict=True):
        assert half.dtype == torch.float32 and torch.equal(exact, half)


def test_images_are_the_render_of_one_surface(monkeypatch):
    scene, cameras = tetmesh(resolution=12, shape_init={"ellipsoid": [0.5, 0.3, 0.4]}), orbit(5, 20.0, 2.5, 40.0, 24)
    whole, extracted, extract = drawn(scene, cameras), [], scene.surface
    monkeypatch.setattr(scene, "surface", lambda: extracted.append(1) or extract())
    parts = list(MeshRenderer(MeshRenderer.Config()).images(scene, cameras, Shading(), at_once=2))
    assert len(extracted) == 1 and [len(part.rgb) for part in parts] == [2, 2, 1]
    torch.testing.assert_close(torch.cat([part.rgb for part in parts]), whole.rgb)


def test_shading_is_the_volume_renderers():
    scene, cameras = tetmesh(resolution=16), orbit(1, 20.0, 2.5, 40.0, 32)
    light = cameras.position
    lit = drawn(scene, cameras, Shading("textureless", light, 0.2, 0.8))
    assert lit.rgb[0, 16, 16].min() > 0.9 and lit.rgb[0, 16, 16].std() < 1e-6
    dark = drawn(scene, cameras, Shading("lambertian", -light, 0.0, 1.0))
    assert dark.rgb[0, 16, 16].max() < 0.05


@pytest.mark.slow
def test_toy_mesh_and_field_give_one_coordinate_map(duck):
    """The exact tracer, the mesh renderer and the volume renderer, each with the box of its own views."""
    toy, path = duck
    scene = tetmesh(resolution=40, shape_init={"mesh": str(path)})
    box = np.asarray(read_mesh(path).bounds), np.stack([toy_mesh(toy).vertices.min(0), toy_mesh(toy).vertices.max(0)])
    scale = (box[0][1] - box[0][0]).max() / (box[1][1] - box[1][0]).max()
    center = torch.tensor(box[1].mean(0), dtype=torch.float32)

    class Solid(torch.nn.Module):
        """The same shape as a field: dense where the mesh scene's distance is negative."""

        background, device = scene.background, torch.device("cpu")

        def mesh(self, settings=None):
            raise NotImplementedError

        def material(self, x):
            return x * 0 + 0.5

        def density(self, x):
            if not hasattr(self, "grid"):
                self.grid = mesh_distance(read_mesh(path))
            return 300.0 * (sample(self.grid, x) < 0).float()

        def at(self, x, normals=False):
            return Points(self.density(x), x * 0 + 0.5, x if normals else None)

    cameras = orbit(4, 15.0, 2.7, 41.0, 48)
    exact = render_toys(pack([toy] * 4), cameras, Light.flat(4), 2)
    volume = VolumeRenderer(VolumeRenderer.Config(render_step_size=0.02))(Solid(), cameras, Shading())
    maps = [canonical_coordinates(view, *TightBox().update(view)) for view in (exact, drawn(scene, cameras), volume)]
    assert abs(scale - 1) < 0.05 and center.abs().max() < 0.05  # the file's box was hardly moved
    for other in maps[1:]:
        both = (maps[0][..., 3] > 0.9) & (other[..., 3] > 0.9)
        overlap = both.sum() / ((maps[0][..., 3] > 0.5) | (other[..., 3] > 0.5)).sum()
        assert overlap > 0.8
        assert (maps[0][both] - other[both])[:, :3].abs().mean() < 0.025
    assert maps[0][..., :3][maps[0][..., 3] > 0.9].amax(0).min() > 0.97  # each axis is filled


@pytest.mark.parametrize("seed", range(4))
def test_a_scene_starts_as_its_ellipsoid_whatever_the_seed(seed):
    torch.manual_seed(seed)
    node = {
        "type": "tetmesh",
        "resolution": 24,
        "sdf": "mlp",
        "shape_init": {"ellipsoid": [0.5, 0.4, 0.6]},
        "encoding": GRID,
        "hidden": 8,
        "background": {"type": "solid"},
    }
    scene = parse_component("scene", node, "scene").build()
    surface = scene.surface()
    assert torch.allclose(surface.vertices.detach().amax(0), torch.tensor([0.5, 0.4, 0.6]), atol=0.02)
    surface.vertices.square().sum().backward()
    assert scene.change.head.weight.grad.abs().max() > 0


def test_a_blank_view_has_the_whole_cube_as_its_box():
    view = drawn(tetmesh(resolution=8), orbit(1, 0.0, 2.5, 40.0, 8))
    box = TightBox()
    low, high = box.update(replace(view, opacity=0 * view.opacity, surface=None))
    assert low.tolist() == [0, 0, 0] and high.tolist() == [1, 1, 1]
    assert torch.equal(box.update(replace(view, surface=None))[0], TightBox().update(replace(view, surface=None))[0])


@pytest.mark.parametrize("kind", ["tetmesh", "flexicubes"])
def test_a_mesh_has_its_whole_box_from_above_too(kind):
    scene = tetmesh(kind, resolution=16, shape_init={"ellipsoid": [0.4, 0.4, 0.65]})
    view = drawn(scene, orbit(1, 80.0, 2.5, 45.0, 32))
    low, high = TightBox().update(view)
    corners = view.surface.vertices[view.surface.faces.unique()].detach() / 2 + 0.5
    assert torch.equal(low, corners.amin(0)) and torch.equal(high, corners.amax(0))
    seen, _ = TightBox().update(replace(view, surface=None))
    assert seen[2] > low[2] + 0.1  # the lower half is out of sight


def test_the_box_of_a_field_grows_at_once_and_shrinks_slowly():
    scene = tetmesh(resolution=16, shape_init={"ellipsoid": [0.4, 0.4, 0.65]})
    above, beside = (
        replace(drawn(scene, orbit(1, elevation, 2.5, 45.0, 32)), surface=None) for elevation in (80.0, 0.0)
    )
    box, feet = TightBox(), TightBox().update(beside)[0][2]
    assert box.update(above)[0][2] > feet + 0.1
    assert torch.allclose(box.update(beside)[0][2], feet)
    assert feet < box.update(above)[0][2] < feet + 0.05
    resumed = TightBox()
    resumed.load_state_dict(box.state_dict())
    for _ in range(100):
        low, _ = box.update(above)
        resumed.update(above)
    assert torch.allclose(low, TightBox().update(above)[0], atol=1e-2) and torch.equal(low, resumed.low)


@pytest.mark.parametrize("kind, sdf", [("tetmesh", "vertices"), ("tetmesh", "mlp"), ("flexicubes", "vertices")])
def test_the_shape_follows_gradients(kind, sdf):
    """From a ball to an egg by the pictures of an egg."""
    scene = tetmesh(kind, resolution=12, sdf=sdf, hidden=16, shape_init={"ellipsoid": [0.4, 0.4, 0.4]})
    egg = tetmesh(resolution=12, shape_init={"ellipsoid": [0.4, 0.4, 0.65]})
    cameras = orbit(3, 10.0, 2.5, 45.0, 24)
    target = drawn(egg, cameras).opacity.detach()
    groups = scene.parameters_by_name()
    own = {"weights"} if kind == "flexicubes" else set()
    assert set(groups) == {"sdf", "deformation", "encoding", "mlp", "background"} | own
    optimiser = torch.optim.Adam([p for name in ("sdf", "deformation", *own) for p in groups[name]], 0.01)
    first = None
    for _ in range(60):
        view = drawn(scene, cameras)
        wrong = (view.opacity - target).square().mean()
        first = wrong.item() if first is None else first
        loss = wrong + 0.1 * regularizers.laplacian(view) + (regularizers.deviation(view) if own else 0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert wrong.item() < 0.1 * first
    body = trimesh.Trimesh(scene.mesh().vertices, scene.mesh().faces, process=False)
    assert body.is_watertight and body.extents[2] > 1.15


def test_a_fixed_shape_keeps_its_shape():
    scene = tetmesh(resolution=8, fixed=True)
    assert set(scene.parameters_by_name()) == {"encoding", "mlp", "background"}
    drawn(scene, orbit(1, 0.0, 2.5, 40.0, 8)).rgb.sum().backward()
    assert scene.values.grad is None and scene.texture.table.grad is not None


def test_who_sees_no_colours_asks_for_none(monkeypatch):
    scene, cameras = tetmesh(resolution=8), orbit(2, 10.0, 2.5, 40.0, 16)
    coloured = MeshRenderer()(scene, cameras)
    monkeypatch.setattr(scene, "material", lambda x: pytest.fail("colours were asked for"))
    bare = MeshRenderer()(scene, cameras, Shading("none"))
    torch.testing.assert_close(bare.normal, coloured.normal)
    torch.testing.assert_close(bare.opacity, coloured.opacity)
    assert (bare.rgb[bare.opacity[..., 0] == 1] == 0).all()


@pytest.mark.parametrize("kind", ["tetmesh", "flexicubes"])
def test_a_fixed_shape_is_extracted_anew_only_where_it_changed(kind):
    scene, free = tetmesh(kind, resolution=8, fixed=True), tetmesh(kind, resolution=8)
    first = scene.surface()
    assert scene.surface() is first and not first.vertices.requires_grad
    assert free.surface() is not free.surface()
    with torch.no_grad():
        free.deformation += torch.rand(free.deformation.shape)
    scene.load_state_dict(free.state_dict())
    torch.testing.assert_close(scene.surface().vertices, free.surface().vertices.detach())
    assert not torch.allclose(scene.surface().vertices, first.vertices)


@pytest.mark.parametrize("kind", ["tetmesh", "flexicubes"])
def test_a_vanished_surface_is_told(kind):
    scene = tetmesh(kind, resolution=6)
    with torch.no_grad():
        scene.values += 5
    with pytest.raises(NoSurfaceError, match="vanished"):
        scene.surface()


def test_a_field_becomes_a_mesh_scene():
    field = parse_component(
        "scene",
        {
            "type": "field",
            "encoding": GRID,
            "hidden": 8,
            "background": {"type": "solid"},
            "density_shift": -10.0,
            "blob": {"strength": 60.0, "radius": 0.25},
        },
        "scene",
    ).build()
    scene = tetmesh(resolution=24)
    scene.start_from(field)
    points = torch.rand(50, 3) - 0.5
    torch.testing.assert_close(scene.material(points), field.material(points))
    radius = torch.tensor(scene.mesh().vertices).norm(dim=-1)
    exact = 0.25 * np.sqrt(2 * np.log(60 / 10))  # where the density rises
    assert radius.mean().item() == pytest.approx(exact, abs=0.06) and radius.std() < 0.03
    with pytest.raises(UserError, match="must be equal"):
        tetmesh(resolution=8, hidden=4).start_from(field)


def test_a_diffuse_scene_becomes_a_material_one():
    """The appearance stage takes over shape and colour, and starts without metal."""
    plain, scene = tetmesh(resolution=8), tetmesh(resolution=8, material="pbr", fixed=True)
    with torch.no_grad():
        plain.values += 0.05
        plain.texture.head.bias += torch.tensor([1.0, 0.0, -1.0])
    scene.start_from(plain)
    points = torch.rand(50, 3) - 0.5
    assert torch.equal(scene.sdf(), plain.sdf())
    torch.testing.assert_close(scene.material(points)[:, :3], plain.material(points))
    assert scene.material(points).shape == (50, 5) and scene.material(points)[:, 4].max() < 0.1
    view = orbit(2, 10.0, 2.5, 45.0, 16)
    lit = drawn(scene, view, Shading("environment", EnvironmentLight().light(torch.zeros(2)), eye=view.position))
    assert lit.rgb.isfinite().all() and lit.rgb[lit.opacity[..., 0] > 0.9].std() > 0.01


def test_penalties_on_known_meshes():
    ball = drawn(tetmesh(resolution=16), orbit(1, 0.0, 2.5, 40.0, 8))
    rough = tetmesh(resolution=16)
    with torch.no_grad():
        rough.values += 0.08 * torch.randn(len(rough.values))
    noisy = drawn(rough, orbit(1, 0.0, 2.5, 40.0, 8))
    assert regularizers.laplacian(noisy) > 1.1 * regularizers.laplacian(ball)  # a length, and not its square
    assert regularizers.normal_consistency(noisy) > 2 * regularizers.normal_consistency(ball)
    flat = Surface.of(
        torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2], [0, 2, 3]])
    )
    assert flat.normal_cosines().tolist() == [1.0] * 5
    assert flat.vertex_normals().tolist() == [[0, 0, 1]] * 4
    with pytest.raises(UserError, match="'deviation' needs a scene of type 'flexicubes'"):
        regularizers.check_render(["deviation"], ball)
    with pytest.raises(UserError, match="'orientation' needs a volume renderer"):
        regularizers.check_render(["orientation"], ball)


def test_winding_tells_inside_from_outside():
    body = trimesh.creation.icosphere(subdivisions=3, radius=0.6)
    inside = winding_numbers(np.asarray(body.vertices), np.asarray(body.faces), 40) != 0
    axis = np.linspace(-1, 1, 40)
    radius = np.sqrt(sum(np.square(c) for c in np.meshgrid(axis, axis, axis, indexing="ij")))
    assert (inside == (radius < 0.6))[np.abs(radius - 0.6) > 0.02].all()
    distance = from_inside(inside).numpy()
    assert np.abs(distance - (radius - 0.6)).max() < 2 / 39


@pytest.mark.parametrize(
    "content, told",
    [
        (b"", "no faces|cannot be read"),
        (b"v 0 0 0\nv 1 0 0\n", "no faces|cannot be read"),
        (b"v 0 0 0\nv 1 0 nan\nv 0 1 0\nf 1 2 3\n", "no faces|not finite"),
    ],
)
def test_a_bad_mesh_file_is_told_in_a_sentence(tmp_path, content, told):
    path = tmp_path / "bad.obj"
    path.write_bytes(content)
    with pytest.raises(UserError, match=told):
        read_mesh(path)
    with pytest.raises(UserError, match=r"missing.obj"):
        read_mesh(tmp_path / "missing.obj")


def test_faces_of_vertices_that_are_not_there_and_open_meshes_are_told(tmp_path):
    path = tmp_path / "bad.ply"
    trimesh.creation.box().export(path)
    path.write_bytes(path.read_bytes()[:-4] + np.int32(99).tobytes())
    with pytest.raises(UserError, match="faces of vertices that it does not have"):
        read_mesh(path)
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.6)
    ball.update_faces(ball.triangles_center[:, 2] < 0.4)
    with pytest.raises(UserError, match="not closed"):
        mesh_distance(ball)


def test_of_many_small_parts_the_largest_stays():
    balls = trimesh.util.concatenate(
        [
            trimesh.creation.icosphere(subdivisions=1 + (k == 7), radius=0.02).apply_translation(
                [0.1 * (k % 8) - 0.4, 0.1 * (k // 8) - 0.4, 0]
            )
            for k in range(60)
        ]
    )
    kept = remove_small_components(
        Mesh(np.float32(balls.vertices), np.asarray(balls.faces), np.zeros((len(balls.vertices), 3))), 0.3
    )
    assert len(kept.faces) == 320


def test_small_parts_are_left_out_of_the_export():
    mesh = toy_mesh(make_toy("duck", "yellow", np.random.default_rng(1)), 40)
    far = mesh.vertices[:3] * 0.01 + 0.9
    joined = type(mesh)(
        np.concatenate([mesh.vertices, far]),
        np.concatenate([mesh.faces, [[len(mesh.vertices) + i for i in range(3)]]]),
        np.concatenate([mesh.colors, mesh.colors[:3]]),
    )
    kept = remove_small_components(joined, 0.02)
    assert len(kept.faces) <= len(mesh.faces) and np.abs(kept.vertices).max() < 0.9
    assert json.dumps(kept.colors[0].tolist())  # plain numbers
