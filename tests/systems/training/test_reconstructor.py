"""Training a reconstructor: both phases pass gradients on, one object can be learned, what is left can be used."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh

import launch
from priors.reconstructor import Decoder, Reconstructor
from systems.training.reconstructor import NEAR, OCCUPANCY_WIDTH, ReconstructorTraining, truncated_error
from tests.systems.hues import turned
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.data.toybox.reconstruction import ReconstructionSet, SurfacePoints
from threestudio_like.engine.system import Context
from threestudio_like.errors import UserError
from threestudio_like.evaluate.reconstruction import write_reconstruction
from threestudio_like.evaluate.scorer import Scorer, ScorerSize
from threestudio_like.scenes.triplane import Planes
from threestudio_like.utils.seeding import generator

TINY = [
    "data.views.count=3",
    "data.views.held_out_count=2",
    "data.views.left_out=[boat, teapot, rabbit]",
    "data.views.size=16",
    "data.views.samples=1",
    "data.samples=1",
    "data.targets=2",
    "data.target_size=12",
    "data.points=64",
    "size={image: 16, patch: 8, encoder_width: 16, encoder_layers: 1, encoder_heads: 2, width: 16, layers: 1, "
    "heads: 2, tokens: 4, upsample: 2, channels: 6, hidden: 16, hidden_layers: 1, grid: 8}",
    "evaluation.objects=2",
    "evaluation.size=16",
    "evaluation.shown=1",
    "stages.points={steps: 2, batch: 3, points: 32}",
    *(
        f"stages.{stage}.{key}"
        for stage in ("volume", "mesh")
        for key in ("steps=2", "batch=3", "points=32", "rendered=2", "targets=2")
    ),
]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("scorer")
    Scorer(ScorerSize(16, (8, 8), 8), ["a"]).save(folder)
    return [f"perceptual.model={folder}", f"evaluation.scorer={folder}"]


def built(stage, scorer, *keys) -> ReconstructorTraining:
    recipe = parse_recipe(load("priors/reconstructor.yaml", [*TINY, *scorer, *keys]), "test")
    torch.manual_seed(0)
    return recipe.stages[stage].build(Context(torch.device("cpu"), 0, ""))


def losses(system, step=1000, seed=0):
    return system(step, generator("cpu", seed)).losses


@pytest.mark.parametrize("stage, idle", [("volume", ("deformation_net", "weights_net")), ("mesh", ())])
def test_gradients_reach_all_that_the_phase_uses(stage, idle, scorer):
    system = built(stage, scorer)
    found = losses(system)
    assert set(found) == set(system.config.weights) | (set(system.config.regularizers) if stage == "mesh" else set())
    assert all(torch.isfinite(loss) and loss >= 0 for loss in found.values())
    sum(found.values()).backward()
    without = {name for name, p in system.model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0}
    assert all(any(part in name for part in (*idle, "key.bias")) for name in without)


@pytest.mark.parametrize("stage", ["volume", "mesh"])
def test_rendering_alone_teaches_the_encoder(stage, scorer):
    """Without points, from images to tokens to planes to images."""
    system = built(
        stage,
        scorer,
        "stages.volume.weights.distance=0",
        "stages.volume.weights.occupancy=0",
        "stages.volume.weights.color=0",
        "stages.mesh.weights.distance=0",
        "stages.mesh.weights.occupancy=0",
        "stages.mesh.weights.color=0",
    )
    found = losses(system)
    assert "distance" not in found
    sum(found.values()).backward()
    assert system.model.encoder.pose[0].weight.grad.abs().sum() > 0


@pytest.mark.slow
def test_one_object_can_be_learned(scorer):
    """Eighty steps on one object's points: nearer the truth, and its surface has about its volume."""
    system = built(
        "volume",
        scorer,
        "data.views.count=1",
        "stages.volume.rendered=0",
        "stages.volume.views=[6]",
        "stages.volume.points=64",
        "size.grid=16",
    )
    optimizer = torch.optim.Adam(system.model.parameters(), 3e-3)
    before = {name: loss.item() for name, loss in losses(system).items()}
    for step in range(80):
        optimizer.zero_grad()
        sum(losses(system, 1000, step).values()).backward()
        optimizer.step()
        system.after_step(step)
    after = {name: loss.item() for name, loss in losses(system).items()}
    assert all(after[name] < 0.6 * before[name] for name in ("distance", "occupancy", "color"))
    objects = system.config.data.objects("train")
    mesh, true = system.reconstruct(objects, 0, np.arange(6)).mesh(), objects.mesh(0)

    def volume(m):
        return trimesh.Trimesh(m.vertices, m.faces, process=False).volume

    assert volume(mesh) == pytest.approx(volume(true), rel=0.5)
    ball = 4 / 3 * math.pi * 0.5**3
    assert abs(volume(mesh) - volume(true)) < abs(ball - volume(true))


def test_the_losses_at_points_are_least_at_the_truth(scorer, monkeypatch):
    """Of true distances s: nothing of the distance's, and of the occupancy's softplus(-|s| / w)."""
    system, on_surface = built("volume", scorer), 2
    distance = torch.tensor([[0.0, 0.0, -0.15, -0.02, 0.03, 0.1]])
    points = SurfacePoints(torch.rand(1, 6, 3), distance, torch.full((1, on_surface, 3), 0.5))
    planes = Planes(torch.zeros(1, 3, 6, 8, 8))
    monkeypatch.setattr(Decoder, "distance", lambda self, x, features: distance)
    monkeypatch.setattr(Decoder, "color", lambda self, features: torch.full((1, on_surface, 3), 0.7))
    found = system.point_losses(planes, points)
    expected = F.softplus(-distance[:, on_surface:].abs() / OCCUPANCY_WIDTH).mean()
    torch.testing.assert_close(found["occupancy"], expected)
    assert found["distance"] == 0 and found["color"].item() == pytest.approx(0.04)


def test_an_object_that_has_vanished_is_pulled_back(scorer):
    """Rendering an empty mesh has no gradient; the middle of the object has."""
    system = built("mesh", scorer)
    with torch.no_grad():
        system.model.decoder.distance_net[-1].bias.fill_(2.0)
    result = system(1000, generator("cpu", 0))
    assert result.logs["vanished"] == 1 and "rgb" not in result.losses
    sum(result.losses.values()).backward()
    assert result.losses["vanished"] > 1 and system.model.decoder.distance_net[-1].bias.grad.item() > 0


def test_distances_count_up_to_here():
    truth = torch.tensor([[0.1, 0.1, 0.5, 0.5, 0.5, -0.5, -0.5]])
    guess = torch.tensor([[0.3, -0.1, 0.9, 0.1, NEAR, -0.9, 0.0]])
    torch.testing.assert_close(
        truncated_error(guess, truth), torch.tensor([[0.2, 0.2, 0.0, NEAR - 0.1, 0.0, 0.0, NEAR]])
    )


def test_one_view_is_the_condition_image(scorer):
    """A reconstructor of single images never sees the six."""
    system = built("volume", scorer, "stages.volume.views=[1]", "hues=0", "framing.share=0")
    objects = system.config.data.objects("train")
    batch = system.draw(generator("cpu", 3))
    assert batch.images.shape[1] == 1
    known = objects.views.images(np.arange(3))
    assert all((image - known).abs().flatten(1).amax(1).min() < 1e-6 for image in batch.images[:, 0])
    framed = built("volume", scorer, "stages.volume.views=[1]", "hues=0", "framing.share=1").draw(generator("cpu", 3))
    assert not any(torch.equal(*pair) for pair in zip(framed.images, batch.images, strict=True))
    assert torch.equal(framed.truth.rgb, batch.truth.rgb)
    assert list(system.input_views()) == [""] and built("mesh", scorer).input_views().keys() == {"", "single_"}


def test_hues_turn_in_the_images_and_in_what_they_show(scorer):
    """The colours of a step's points and views are those of its images: turned by the same angle."""
    still, rotated = (built("volume", scorer, f"hues={share}").draw(generator("cpu", 3)) for share in (0, 1))
    assert torch.equal(still.points.x, rotated.points.x) and not torch.allclose(still.images, rotated.images)

    def grey(batch):
        return (batch.images.mean(2), batch.points.color.mean(-1), batch.truth.rgb.mean(-1))

    def spread(batch):
        return (batch.points.color.amax(-1) - batch.points.color.amin(-1)).mean()

    assert all((a - b).abs().mean() < 0.05 for a, b in zip(grey(still), grey(rotated), strict=True))
    assert not torch.allclose(still.points.color, rotated.points.color) and spread(rotated) > 0.5 * spread(still)


def test_two_processes_share_one_batch(scorer):
    """The same objects, each process another third."""
    keys = [*TINY, *scorer, "stages.volume.batch=1", "stages.volume.rendered=1"]
    stage = parse_recipe(load("priors/reconstructor.yaml", keys), "test").stages["volume"]
    shares = [stage.build(Context(torch.device("cpu"), 0, "", rank, 3)).draw(generator("cpu", 5)) for rank in range(3)]
    whole = built("volume", scorer).draw(generator("cpu", 5))
    for rank, share in enumerate(shares):
        assert torch.equal(share.images[0], whole.images[rank]) and torch.equal(share.points.x[0], whole.points.x[rank])


def test_no_surface_is_a_message_not_a_crash(scorer, tmp_path, caplog):
    system = built("volume", scorer)
    with torch.no_grad():
        system.averaged.decoder.distance_net[-1].bias.fill_(2.0)
    found = system.evaluate(tmp_path)
    assert found["surfaces"] == 0 and found["psnr"] > 0 and "volume_iou" not in found
    scene = system.reconstruct(system.config.data.objects("train"), 0, np.arange(6))
    assert write_reconstruction(scene, tmp_path / "mesh.glb") == {"mesh_vertices": 0, "mesh_faces": 0}
    assert "no surface" in caplog.text and not (tmp_path / "mesh.glb").exists()


@pytest.mark.slow
def test_trains_and_leaves_a_model(scorer, tmp_path, monkeypatch):
    keys = [*TINY, *scorer, f"out={tmp_path / 'run'}", "device=cpu"]
    assert launch.main(["--config", "priors/reconstructor.yaml", *keys]) == 0
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    for name in (
        "psnr",
        "ssim",
        "perceptual",
        "frechet",
        "chamfer",
        "volume_iou",
        "reconstruction_seconds",
        "mesh_seconds",
        "unseen_psnr",
        "single_psnr",
        "single_unseen_psnr",
        "mesh_watertight",
    ):
        assert math.isfinite(metrics[name]), name
    assert metrics["mesh_watertight"] == 1 and trimesh.load(tmp_path / "run/mesh.glb", force="mesh").is_watertight
    assert {"held_out.png", "unseen.png", "single_held_out.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
    model = Reconstructor.load(tmp_path / "run/model")
    assert model.config.grid == 8 and model.dtype == torch.float32
    again = built("mesh", scorer, f"model={tmp_path / 'run/model'}")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.averaged.parameters(), strict=True))
    (tmp_path / "run/model/diffusion_pytorch_model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="cannot be loaded as a reconstructor"):
        Reconstructor.load(tmp_path / "run/model")


@pytest.mark.parametrize(
    "key, says",
    [
        ("stages.volume.weights.colour=1", "unknown loss 'colour'.*'color'"),
        ("stages.volume.views=[0]", r"views\[0\]: must be at least 1 and at most 6"),
        ("stages.volume.views=[7]", r"views\[0\]: must be at least 1 and at most 6"),
        ("stages.volume.rendered=99", "rendered"),
        ("stages.mesh.targets=9", "targets"),
        ("stages.mesh.points=9999", "points"),
        ("size.image=32", "must be equal"),
        ("perceptual.type=lpipz", "unknown perceptual"),
    ],
)
def test_mistakes_are_told_before_any_work(key, says, scorer):
    with pytest.raises(UserError, match=says):
        built("volume", scorer, key)


def test_the_mesh_phase_starts_from_the_volume_phase(scorer):
    first, second = built("volume", scorer), built("mesh", scorer)
    for step in range(2):
        with torch.no_grad():
            first.model.queries.add_(1.0)
        first.after_step(step)
    second.start_from(first)
    assert torch.equal(second.model.queries, first.averaged.queries)
    assert not torch.equal(second.model.queries, first.model.queries)


def test_all_that_an_image_shows_turns_by_its_angle(scorer, monkeypatch):
    """Of training objects: points and target views turn their hues as the images do, and no other way round."""
    asked, objects = [], ReconstructionSet.objects
    monkeypatch.setattr(ReconstructionSet, "objects", lambda self, split: asked.append(split) or objects(self, split))
    still, rotated = (built("volume", scorer, f"hues={share}").draw(generator("cpu", 3)) for share in (0, 1))
    assert set(asked) == {"train"}
    of_images = turned(still.images, rotated.images, 2)
    assert of_images.abs().max() > 0.5
    torch.testing.assert_close(
        turned(still.points.color, rotated.points.color, -1), of_images, atol=0.25, rtol=0, check_dtype=False
    )
    seen = turned(still.truth.rgb, rotated.truth.rgb, -1)
    torch.testing.assert_close(seen, of_images[: len(seen)], atol=0.25, rtol=0)


def test_its_weights_decay(scorer):
    (group,) = built("volume", scorer, "stages.volume.weight_decay=0.25").parameter_groups()
    assert group.weight_decay == 0.25
