"""InstantMesh's checkpoint, converted by the launcher, computes what InstantMesh computes, and its errors are told."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

import launch
from priors.conversion.reconstructor import InstantMeshReconstructor
from priors.reconstructor import Reconstructor, ReconstructorSize
from tests.priors import published_instantmesh as published
from threestudio_like.config.registry import parse
from threestudio_like.errors import UserError
from threestudio_like.kernels.cubes.patches import CORNERS, EDGES
from threestudio_like.scenes.flexicubes import positive_weights

SIDE = 2.1 / published.GRID
CLOSE = dict(atol=2e-4, rtol=2e-4)


@pytest.fixture(scope="module")
def weights():
    """Weights whose surface goes through many cubes: a fifth of the grid's vertices are inside."""
    weights = published.state()
    oracle = published.Published(weights)
    planes = oracle.planes(*views())
    level = np.quantile(oracle.distance(planes, vertices().reshape(-1, 3)), 0.2)
    weights["synthesizer.decoder.net_sdf.6.bias"] -= level
    return weights


@pytest.fixture(scope="module")
def converted(weights, tmp_path_factory):
    root = tmp_path_factory.mktemp("converted")
    file = published.write_checkpoint(root / "instant_mesh_large.ckpt", weights)
    assert launch.main(["--convert", str(file), f"out={root / 'model'}", *published.KEYS]) == 0
    assert {path.suffix for path in (root / "model").iterdir()} == {".json", ".safetensors"}
    return Reconstructor.load(root / "model").eval().requires_grad_(False)


@pytest.fixture(scope="module")
def theirs(weights):
    oracle = published.Published(weights)
    return oracle, oracle.planes(*views())


@pytest.fixture(scope="module")
def scene(converted):
    images, cameras = (torch.from_numpy(array).float()[None] for array in views())
    return converted.scene(converted(images, cameras))


def views(count=3):
    generator = np.random.default_rng(0)
    return generator.random((count, 3, published.IMAGE, published.IMAGE)), generator.normal(size=(count, 16))


def vertices():
    """The grid's, which reaches from -1.05 to 1.05."""
    line = np.linspace(-1.05, 1.05, published.GRID + 1)
    return np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1)


def points():
    """In the scene cube, at its edge where planes fall to zero, and beyond."""
    return np.random.default_rng(1).uniform(-1.15, 1.15, size=(400, 3))


def same(ours, truth):
    torch.testing.assert_close(ours.double(), torch.from_numpy(np.asarray(truth, dtype=float)), **CLOSE)


def test_every_tensor_is_taken(converted, weights):
    grown = ENCODER_POSITIONS * published.ENCODER
    assert sum(p.numel() for p in converted.parameters()) == sum(w.numel() for w in weights.values()) + grown


ENCODER_POSITIONS = (published.IMAGE // published.PATCH) ** 2 - published.TRAINED_SIDE**2
"""Positions that the interpolation adds."""


def test_the_planes_are_the_published_ones(scene, theirs):
    planes = scene.planes.planes[0]
    assert planes.std() > 0.1
    same(planes[:2], theirs[1][:2])
    same(planes[2].mT, theirs[1][2])


def test_the_views_and_the_cameras_matter(converted):
    images, cameras = (torch.from_numpy(array).float()[None] for array in views())
    planes = converted(images, cameras).planes
    assert (converted(images.flip(-1), cameras).planes - planes).abs().max() > 0.01
    assert (converted(images, cameras.flip(-1)).planes - planes).abs().max() > 0.01


def test_points_have_the_published_distance_and_color(scene, theirs):
    oracle, planes = theirs
    x = points()
    here = torch.from_numpy(x).float()
    same(scene.features(here), oracle.features(planes, x))
    same(scene.distance(here), oracle.distance(planes, x))
    same(scene.material(here), oracle.color(planes, x))
    assert oracle.distance(planes, x).std() > 0.05 and oracle.color(planes, x).std() > 0.01


def test_grid_vertices_are_moved_as_published(scene, theirs):
    oracle, planes = theirs
    x = points()
    moved = (
        scene.extraction.shift
        / scene.resolution
        * scene.decoder.deformation(scene.features(torch.from_numpy(x).float()))
    )
    same(moved, oracle.shift(planes, x))
    assert moved.abs().max() > 0.1 / (4 * published.GRID)


def test_each_cubes_weights_are_the_published_ones(scene, theirs):
    """By the places of corners and edges, whatever their numbers."""
    oracle, planes = theirs
    for low in np.random.default_rng(2).uniform(-1, 0.8, size=(5, 3)):
        corners = torch.tensor(low + SIDE * np.array(CORNERS)).float()
        raw = scene.decoder.weights(scene.features(corners).flatten()[None])
        ours = positive_weights(raw, scene.extraction.weight_scale)
        corner, edge, quad = oracle.weights(planes, low, SIDE)
        same(ours.corner[0], [corner[place] for place in CORNERS])
        middles = [tuple((np.array(CORNERS[a]) + CORNERS[b]) / 2) for a, b in EDGES]
        same(ours.edge[0], [edge[middle] for middle in middles])
        same(ours.quad, [quad])
        assert np.std(list(corner.values())) > 1e-3 and np.std(list(edge.values())) > 1e-3


def cut_once(value):
    """Whether the surface cuts a cube in one way only: no corner is apart, and no face has four changes of sign."""
    inside, outside = ([place for place in value if (value[place] < 0) == side] for side in (True, False))
    for axis, end in product(range(3), (0, 1)):
        face = [place for place in value if place[axis] == end]
        if sum((value[a] < 0) != (value[b] < 0) for a in face for b in face if neighbours(a, b)) == 8:
            return False
    return bool(inside) and bool(outside) and connected(inside) and connected(outside)


def neighbours(a, b):
    return sum(abs(np.subtract(a, b))) == 1


def connected(places):
    """Whether corners of a cube hang together along its edges."""
    reached, front = set(), {places[0]}
    while front:
        reached |= front
        front = {b for a in front for b in places if neighbours(a, b)} - reached
    return reached == set(places)


def test_vertices_of_the_surface_are_the_published_ones(scene, theirs):
    """In cubes that the surface cuts once, the vertex is the weighted mean of the crossings of moved, weighted edges.

    Cubes at the end of the grid are left out: we close a surface that would leave it.
    """
    oracle, planes = theirs
    grid = vertices()
    flat = grid.reshape(-1, 3)
    distance = oracle.distance(planes, flat).reshape(grid.shape[:3])
    moved = (flat + oracle.shift(planes, flat)).reshape(grid.shape)
    surface, found = scene.surface(training=False).vertices.double().numpy(), 0
    for cube in product(range(1, published.GRID - 1), repeat=3):
        places = list(product((0, 1), repeat=3))
        value = {place: distance[tuple(np.add(cube, place))] for place in places}
        if not cut_once(value):
            continue
        corner, edge, _ = oracle.weights(planes, grid[cube], SIDE)
        total, weight = 0, 0
        for a, b in product(places, places):
            if not neighbours(a, b) or value[a] >= 0 or value[b] < 0:
                continue
            one, two = value[a] * corner[a], value[b] * corner[b]
            crossing = (moved[tuple(np.add(cube, a))] * two - moved[tuple(np.add(cube, b))] * one) / (two - one)
            share = edge[tuple(np.add(a, b) / 2)]
            total, weight = total + share * crossing, weight + share
        assert np.linalg.norm(surface - total / weight, axis=-1).min() < 1e-3
        found += 1
    assert found > 10


def test_the_inside_is_where_the_distance_is_negative(scene, theirs):
    """The mesh winds once around the moved grid vertices of negative distance, and around no others."""
    oracle, planes = theirs
    inner = vertices()[1:-1, 1:-1, 1:-1].reshape(-1, 3)  # those at the end are outside
    inside = oracle.distance(planes, inner) < 0
    winding = winding_numbers(scene.mesh().to_trimesh(), inner + oracle.shift(planes, inner))
    assert 0.1 < inside.mean() < 0.5
    assert (winding.round() == inside).mean() > 0.95


def winding_numbers(body, x):
    """Sums the solid angles of a mesh's faces around points [N, 3] (van Oosterom and Strackee 1983)."""
    a, b, c = np.moveaxis(body.triangles[None] - x[:, None, None], 2, 0)
    one, two, three = (np.linalg.norm(side, axis=-1) for side in (a, b, c))
    volume = (a * np.cross(b, c)).sum(-1)
    below = one * two * three + (a * b).sum(-1) * three + (a * c).sum(-1) * two + (b * c).sum(-1) * one
    return np.arctan2(volume, below).sum(-1) / (2 * np.pi)


def test_other_sizes_are_read_from_the_shapes(tmp_path, monkeypatch):
    for name, value in (("LAYERS", 1), ("ENCODER_LAYERS", 1), ("CHANNELS", 3), ("TOKENS", 3), ("HIDDEN", 5)):
        monkeypatch.setattr(published, name, value)
    file = published.write_checkpoint(tmp_path / "base.ckpt")
    assert launch.main(["--convert", str(file), f"out={tmp_path / 'model'}", *published.KEYS]) == 0
    config = Reconstructor.load(tmp_path / "model").config
    assert (config.layers, config.channels, config.tokens, config.hidden, config.heads) == (1, 3, 3, 5, 3)
    assert (config.hidden_layers, config.vit["num_hidden_layers"], config.vit["num_attention_heads"]) == (3, 1, 2)


LARGE = dict(
    TRAINED_SIDE=14, PATCH=16, ENCODER=768, ENCODER_LAYERS=12, ENCODER_MLP=3072,
    WIDTH=1024, LAYERS=16, TOKENS=32, CHANNELS=80, HIDDEN=64,
)  # fmt: skip
"""The published configuration of instant-mesh-large, on DINO ViT-B/16."""


def test_the_large_variant_fits(monkeypatch):
    """At full size, without memory for the weights."""
    for name, value in LARGE.items():
        monkeypatch.setattr(published, name, value)
    tensors = {f"lrm_generator.{name}": torch.empty(shape, device="meta") for name, shape in published.shapes().items()}
    model = InstantMeshReconstructor(InstantMeshReconstructor.Config()).reconstructor(tensors)
    config = model.config
    assert (config.width, config.layers, config.heads, config.tokens, config.upsample) == (1024, 16, 16, 32, 2)
    assert (config.channels, config.hidden, config.hidden_layers, config.grid) == (80, 64, 3, 128)
    assert config.vit == config.vit | dict(image_size=320, hidden_size=768, num_attention_heads=12, patch_size=16)
    planes = model(torch.empty(1, 6, 3, 320, 320, device="meta"), torch.empty(1, 6, 16, device="meta"))
    assert planes.planes.shape == (1, 3, 80, 64, 64)
    added = (20**2 - 14**2) * 768  # positions of the larger views
    assert sum(p.numel() for p in model.parameters()) == sum(tensor.numel() for tensor in tensors.values()) + added


def test_the_folder_is_named_after_the_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    published.write_checkpoint(tmp_path / "instant_mesh_base.ckpt")
    assert launch.main(["--convert", "instant_mesh_base.ckpt", *published.KEYS]) == 0
    assert capsys.readouterr().out == "outputs/converted/instant_mesh_base\n"
    assert (tmp_path / "outputs/converted/instant_mesh_base/config.json").is_file()
    assert launch.main(["--convert", "instant_mesh_base.ckpt", *published.KEYS]) == 2  # nothing is written over
    assert "there is something already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, says",
    [
        ({"synthesizer.decoder.net.0.weight": torch.ones(2, 2)}, "instant-nerf variant"),
        ({"transformer.pos_embed": None}, "InstantMesh's shape ('queries')"),
        ({"transformer.norm.bias": None}, "InstantMesh's shape: norm.bias is missing"),
        ({"transformer.norm.more": torch.ones(2)}, "norm.more is unknown"),
        ({"transformer.norm.bias": torch.ones(2)}, "norm.bias has the shape [2] instead of [24]"),
    ],
)
def test_a_checkpoint_of_another_shape_is_a_sentence(change, says, tmp_path, capsys):
    weights = {name: tensor for name, tensor in (published.state() | change).items() if tensor is not None}
    file = published.write_checkpoint(tmp_path / "other.ckpt", weights)
    assert launch.main(["--convert", str(file), f"out={tmp_path / 'model'}", *published.KEYS]) == 2
    told = capsys.readouterr().err
    assert says in told and str(file) in told and "Traceback" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["other.ckpt"]  # nothing half written


def test_the_design_has_none_of_the_small_models_extras():
    with pytest.raises(ValueError, match="epipolar: design instantmesh has none"):
        ReconstructorSize(design="instantmesh")
    size = ReconstructorSize(design="instantmesh", epipolar=False, back_projection=False)
    assert replace(size, tokens=2).design == "instantmesh"


def test_a_design_of_another_name_is_refused():
    with pytest.raises(UserError, match="design"):
        parse(ReconstructorSize, {"design": "lrm"}, "size")
