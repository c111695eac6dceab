"""GECO's two stages: what moves and what rests, what is learned, exact resume, shares of processes, the baselines."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

import launch
from priors.reconstructor import Reconstructor
from priors.toybox.views import tile
from systems.geco import targets as geco_data
from systems.geco.evaluation import BASELINES
from systems.geco.targets import ConditionImages, ImageFolder, TargetSampling, teacher_views
from tests.tiny import tiny_reconstructor
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.data.framing import Framing
from threestudio_like.data.toybox.multiview import MultiviewSet
from threestudio_like.engine import checkpoint
from threestudio_like.engine.monitor import Monitor
from threestudio_like.engine.run import Run
from threestudio_like.engine.system import Context
from threestudio_like.engine.trainer import Settings, train
from threestudio_like.errors import UserError
from threestudio_like.evaluate.scorer import Scorer, ScorerSize
from threestudio_like.utils.seeding import generator

CPU = torch.device("cpu")
TINY = [
    "generator={scale: 4.0, lora: null}",
    "stages.views.guidance.scale=4.0",
    "stages.views.pairs=0.0",
    "data.views={count: 4, held_out_count: 2, size: 16, samples: 1}",
    "data.samples=1",
    "data.targets=2",
    "data.points=16",
    "targets={steps: 2, scale: 2.0, count: 3}",
    "device=cpu",
    "evaluation={objects: 1, size: 16, shown: 1, diverse: 1, seeds: 2}",
    "stages.scene.cameras={size: 12, views: 2}",
    "generation.show={strip_size: 8, video_frames: 3, video_size: 16}",
    *(f"stages.{stage}.{key}" for stage in ("views", "scene") for key in ("steps=2", "batch=2", "lr=1.0e-3")),
]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def keys(models, tmp_path_factory):
    root = tmp_path_factory.mktemp("geco")
    torch.manual_seed(0)
    Scorer(ScorerSize(16, (8, 8), 8), ["a"]).save(root / "scorer")
    tiny_reconstructor(root / "reconstructor")
    tiny_reconstructor(root / "single", seed=1)
    return [
        *TINY,
        f"backbone.model={models('multiview')}",
        f"reconstructor.pretrained={root / 'reconstructor'}",
        f"perceptual.model={root / 'scorer'}",
        f"evaluation.scorer={root / 'scorer'}",
        "generation.text=null",
        f"evaluation.single={root / 'single'}",
    ]


def built(stage, keys, *more, rank=0, processes=1):
    recipe = parse_recipe(load("geco-long.yaml", [*keys, *more]), "test")
    torch.manual_seed(0)
    return recipe.stages[stage].build(Context(CPU, 0, "", rank, processes))


def moved(parameters, before):
    return [not torch.equal(a, b) for a, b in zip(parameters, before, strict=True)]


def steps(system, count, rate=1e-3):
    optimizer = torch.optim.Adam([p for group in system.parameter_groups() for p in group.parameters], rate)
    results = []
    for step in range(count):
        result = system(step, generator(CPU, step))
        sum(result.losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        results.append(result)
    return results


def test_generator_and_student_move_and_the_teacher_rests(keys):
    system = built("views", keys)
    parts = [system.generator, system.guidance.fake_score, system.teacher.unet, system.pretrained.model]
    before = [[p.clone() for p in part.parameters()] for part in parts]
    assert all(torch.equal(a, b) for a, b in zip(before[0], before[2], strict=True))  # all start as the teacher
    assert all(torch.equal(a, b) for a, b in zip(before[1], before[2], strict=True))
    result = steps(system, 1)[0]
    assert set(result.losses) == {"views", "fake_score"}
    generator_moved, student_moved, *rest = (
        moved(part.parameters(), was) for part, was in zip(parts, before, strict=True)
    )
    assert np.mean(generator_moved) > 0.9 and np.mean(student_moved) > 0.9 and not any(map(any, rest))


def test_a_generator_that_is_computed_again_learns_the_same(keys):
    found, calls = [], []
    for recompute in (False, True):
        system = built("views", keys, f"stages.views.recompute={recompute}")
        system.generator.register_forward_pre_hook(lambda *given: calls.append(1))
        result = system(0, generator(CPU, 0))
        sum(result.losses.values()).backward()
        found.append([*result.losses.values(), *(p.grad for p in system.generator.parameters())])
    assert len(calls) == 3
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)


def test_mixed_precision_changes_what_is_trained_and_not_the_teacher(keys):
    """Autocast changes no bit of the teacher's output; the generator's is of half precision wherever it is called."""
    system = built("views", keys)
    image = system.images[np.array([0])]
    z, t = system.teacher.noise(1, generator(CPU)), torch.tensor([500])

    def seen():
        condition = system.teacher.condition(image)
        found = system.teacher.predict(z, t, condition.text, condition)
        drawn = system.teacher.decode(system.teacher.sample(condition, 4.0, 2, None, z))
        return condition.text, found, drawn, system.generator(z, condition)

    with torch.no_grad():
        *alone, generated = seen()
        with torch.autocast("cpu", torch.bfloat16):
            *mixed, halved = seen()
        system.generator.mixed = True
        *_, evaluated = seen()
    assert all(torch.equal(one, two) for one, two in zip(alone, mixed, strict=True))
    assert torch.equal(halved, evaluated) and not torch.equal(halved, generated)
    torch.testing.assert_close(halved, generated, rtol=0.2, atol=0.2)


@pytest.mark.parametrize("stage", ["views", "scene"])
def test_a_run_in_mixed_precision_evaluates_what_it_trains(keys, stage):
    recipe = parse_recipe(load("geco-long.yaml", keys), "test")
    for mixed in (False, True):
        system = recipe.stages[stage].build(Context(CPU, 0, "", mixed=mixed))
        assert system.generator.mixed == mixed and not system.pretrained.model.mixed
        assert stage == "views" or system.reconstructor.mixed == mixed


def test_the_generator_moves_only_every_so_many_steps(keys):
    system = built("views", keys, "stages.views.update_every=2")
    before = [p.clone() for p in system.generator.parameters()]
    results = steps(system, 1)
    assert set(results[0].losses) == {"fake_score"} and not any(moved(system.generator.parameters(), before))
    assert set(system(1, generator(CPU, 1)).losses) == {"views", "fake_score"}


def test_a_low_rank_generator_learns_its_difference_only(keys, tmp_path):
    system = built("views", keys, "generator.lora={rank: 2}")
    steps(system, 2)

    def size(part):
        return sum(p.numel() for p in part.parameters())

    assert size(system.generator) < size(system.teacher.unet)
    system.generator.save(tmp_path)
    again = built("views", keys, f"generator.weights={tmp_path}")
    z, condition = system.teacher.noise(1, generator(CPU)), system.teacher.condition(torch.rand(1, 3, 16, 16))
    with torch.no_grad():
        torch.testing.assert_close(again.generator(z, condition), system.generator(z, condition))


@pytest.mark.slow
def test_score_distillation_brings_a_lost_generator_back(keys):
    """To where the teacher's score points: nearer to what the teacher makes of the image than where it was put."""
    system = built(
        "views",
        keys,
        "stages.views.guidance={type: sds, scale: 1.0, t_max: 0.5, weighting: uniform}",
        "generator.scale=1.0",
        "data.views.count=1",
    )
    with torch.no_grad():
        for parameter in system.generator.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator(CPU, parameter.shape)))
    condition = system.teacher.condition(system.images[np.array([0])])
    with torch.no_grad():
        aim = system.teacher.sample(condition, 1.0, 5, generator(CPU, 1))

        def apart():
            return (system.generator(system.teacher.noise(1, generator(CPU, 2)), condition) - aim).square().mean()

        before = apart()
    steps(system, 15, 4e-3)
    with torch.no_grad():
        assert apart() < 0.8 * before


def test_without_pairs_the_teacher_draws_nothing_in_the_first_stage(keys):
    system = built("views", keys)
    assert set(steps(system, 1)[0].losses) == {"views", "fake_score"} and system._targets is None


@pytest.mark.parametrize("recompute", ["true", "false"])
def test_pairs_are_half_the_squared_distance_to_the_teachers_views_of_the_same_noise(keys, recompute):
    """One pair, so the one that is drawn; the generator starts as the teacher's one step."""
    system = built("views", keys, "stages.views.pairs=0.5", f"stages.views.recompute={recompute}", "targets.count=1")
    with torch.no_grad():
        condition = system.teacher.condition(system.images[np.array([0])])
        z = system.teacher.noise_for(system.config.targets.seed, 0)
        apart = system.generator(z, condition) - system.teacher.encode(tile(system.slow_views(np.array([0]))))
    loss = system.regression(generator(CPU, 0))
    assert loss.item() == pytest.approx(0.5 * apart.square().sum().item(), rel=1e-4) and loss > 1e-3
    torch.testing.assert_close(steps(system, 1)[0].losses["pairs"], 0.5 * loss)
    with torch.no_grad():
        before = system.regression(generator(CPU, 0))
    for result in steps(system, 15, 1e-3):
        assert result.losses["pairs"].isfinite()
    assert system.regression(generator(CPU, 0)) < 0.9 * before


def test_only_the_reconstructor_moves_in_the_second_stage(keys):
    system = built("scene", keys)
    assert not any(p.requires_grad for p in system.generator.parameters())
    parts = [system.reconstructor, system.generator, system.pretrained.model, system.teacher.unet]
    before = [[p.clone() for p in part.parameters()] for part in parts]
    result = steps(system, 1)[0]
    assert set(result.losses) == {"rgb", "perceptual", "vanished"} and result.logs["without_target"] == 0
    changed, *rest = (moved(part.parameters(), was) for part, was in zip(parts, before, strict=True))
    assert np.mean(changed) > 0.8 and not any(map(any, rest))


@pytest.mark.slow
def test_the_second_stage_learns_the_teachers_objects(keys):
    system = built("scene", keys, "targets.count=1", "stages.scene.batch=1")
    with torch.no_grad():  # a reconstructor that makes everything too small
        system.reconstructor.decoder.distance_net[-1].bias.add_(0.2)
    losses = [result.losses["rgb"].item() for result in steps(system, 30, 3e-3)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_the_same_views_make_no_loss(keys):
    """Were the generator's views the teacher's, the start would be the end."""
    system = built("scene", keys)

    def slow(chosen):
        return torch.from_numpy(system.targets[chosen]).permute(0, 1, 4, 2, 3).float() / 255

    system.fast_views = slow
    losses = system(0, generator(CPU, 0)).losses
    assert all(loss.item() < 1e-6 for loss in losses.values())


def test_objects_without_a_surface_teach_nothing(keys):
    system = built("scene", keys)
    with torch.no_grad():
        system.pretrained.model.decoder.distance_net[-1].bias.fill_(3.0)
    result = system(0, generator(CPU, 0))
    assert result.logs["without_target"] == 1 and all(loss.item() == 0 for loss in result.losses.values())
    sum(result.losses.values()).backward()


def test_the_second_stage_starts_from_the_first(keys):
    first, second = built("views", keys), built("scene", keys)
    steps(first, 1)
    second.start_from(first)
    assert all(
        torch.equal(a, b) for a, b in zip(first.generator.parameters(), second.generator.parameters(), strict=True)
    )
    second.validate(first.config)
    with pytest.raises(UserError, match="cannot start from one of GecoSceneConfig"):
        second.validate(second.config)


@pytest.mark.slow
def test_processes_share_one_batch(keys):
    """Images, noises and cameras are one draw's, each process' part of them another."""
    whole = built("views", keys, "stages.views.batch=3")
    shares = [built("views", keys, "stages.views.batch=1", rank=rank, processes=3) for rank in range(3)]
    drawn = [system.share(100, generator(CPU, 7)) for system in shares]
    assert [part.item() for part in drawn] == whole.share(100, generator(CPU, 7)).tolist()
    own = [torch.rand(1, generator=system.own_generator(generator(CPU, 7))).item() for system in shares]
    assert len(set(own)) == 3
    scenes = [built("scene", keys, "stages.scene.batch=1", rank=rank, processes=2) for rank in range(2)]
    together = built("scene", keys, "stages.scene.batch=2")(0, generator(CPU, 3)).losses
    apart = [system(0, generator(CPU, 3)).losses for system in scenes]
    for name, loss in together.items():
        torch.testing.assert_close(sum(part[name] for part in apart) / 2, loss, rtol=1e-3, atol=1e-6)


def test_the_teachers_views_are_made_once_in_parts_that_processes_share(keys, tmp_path, monkeypatch):
    monkeypatch.setenv("TSL_CACHE", str(tmp_path))
    monkeypatch.setattr(geco_data, "TOGETHER", 2)
    system = built("scene", keys)
    images, config = ConditionImages(system.images.image[:2]), TargetSampling(2, 2.0, 5)
    every = np.arange(5)
    first = teacher_views(system.teacher, images, config, rank=1, processes=2)[every]
    files = sorted(tmp_path.glob("teacher_views*"))
    assert first.shape == (5, 6, 16, 16, 3) and first.dtype == np.uint8 and len(files) == 3
    assert not np.array_equal(first[0], first[2])  # the same image from another noise
    stamps = [file.stat().st_mtime_ns for file in files]
    monkeypatch.setattr(system.teacher, "sample", None)
    assert np.array_equal(teacher_views(system.teacher, images, config)[every], first)
    assert stamps == [file.stat().st_mtime_ns for file in files]
    for changed in (TargetSampling(3, 2.0, 5), TargetSampling(2, 1.0, 5), TargetSampling(2, 2.0, 5, seed=1)):
        with pytest.raises(TypeError):  # would have to be made anew
            teacher_views(system.teacher, images, changed)


def test_images_of_a_folder_take_the_toys_place(keys, tmp_path, caplog):
    for i, color in enumerate([(200, 30, 30), (30, 30, 200)]):
        picture = Image.new("RGB", (40, 30), "white")
        picture.paste(color, (10, 5, 30, 25))
        picture.save(tmp_path / f"{i}.png")
    images = ConditionImages.of(MultiviewSet(), Framing(), ImageFolder(str(tmp_path), size=16))
    assert len(images) == 2 and images[np.array([1])].shape == (1, 3, 16, 16)
    assert images.image[1, 8, 8].tolist() == pytest.approx([30, 30, 200], abs=2) and (images.image[:, 0] == 255).all()
    system = built("views", keys, f"images={{path: {tmp_path}, size: 24}}")
    assert all(loss.isfinite() for loss in system(0, generator(CPU, 0)).losses.values())
    (tmp_path / "2.png").write_text("no image")
    assert len(ConditionImages.of(MultiviewSet(), Framing(), ImageFolder(str(tmp_path), size=16))) == 2
    assert "skipped" in caplog.text and "2.png" in caplog.text
    for i in range(2):
        (tmp_path / f"{i}.png").unlink()
    with pytest.raises(UserError, match=r"2.png"):
        ConditionImages.of(MultiviewSet(), Framing(), ImageFolder(str(tmp_path), size=16))


@pytest.mark.slow
def test_both_stages_resume_bit_for_bit(keys, tmp_path):
    """1 + 1 steps are 2."""

    def run(folder, *more):
        return launch.main(["--config", "geco-long.yaml", *keys, f"out={tmp_path / folder}", *more])

    quick = ["evaluation.baselines=[]", "evaluation.diverse=0"]
    assert run("whole", *quick) == 0
    recipe = parse_recipe(load("geco-long.yaml", [*keys, *quick, f"out={tmp_path / 'cut'}"]), "geco")
    cut_after_one(recipe, tmp_path / "cut")
    for stage in ("views", "scene"):
        whole, cut = (checkpoint.load(tmp_path / f"{run}/checkpoints/{stage}.pt", CPU) for run in ("whole", "cut"))
        assert whole.step == cut.step == 2 and whole.system.keys() == cut.system.keys()
        differing = [key for key in whole.system if not torch.equal(whole.system[key], cut.system[key])]
        assert not differing, differing
        first = torch.load(tmp_path / f"cut/{stage}-1.pt", weights_only=True)
        assert any(not torch.equal(first[key], cut.system[key]) for key in first)


def cut_after_one(recipe, folder):
    """Every stage stops after one step and goes on from its checkpoint in a fresh system."""
    run = Run(recipe)
    settings = Settings(recipe.run.seed, 1, 1e9, 0)
    for stage in recipe.stages:
        path = run.checkpoint_path(stage)
        for until in (1, 2):
            system = run.build(stage)
            system.config.steps = until
            if system.config.init is not None and not path.exists():
                system.start_from(run.finished(system.config.init.stage, to_start_from=True))
            train(system, stage, path, settings, run.fabric, Monitor(None))
            if until == 1:
                torch.save(system.state_dict(), folder / f"{stage}-1.pt")


@pytest.mark.slow
def test_the_whole_ladder_and_what_is_left(keys, tmp_path):
    out = tmp_path / "run"
    unseen = ["data.views.left_out=[boat, teapot, rabbit]", "evaluation.splits=[held_out, unseen]"]
    more = [f"evaluation.baselines=[{','.join(BASELINES)}]", *unseen, f"out={out}"]
    assert launch.main(["--config", "geco-long.yaml", *keys, *more]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    for split in ("", "unseen_"):
        for baseline in BASELINES:
            for name in (
                "psnr",
                "ssim",
                "perceptual",
                "frechet",
                "frechet_unseen_sides",
                "chamfer",
                "volume_iou",
                "seconds",
            ):
                assert math.isfinite(metrics[f"{split}{baseline}_{name}"]), (split, baseline, name)
            assert metrics[f"{split}{baseline}_reconstruction_seconds"] > 0
        assert metrics[f"{split}teacher_views_seconds"] > 0 == metrics[f"{split}single_image_views_seconds"]
    assert metrics["generator_diversity"] > 0 and metrics["teacher_diversity"] > 0
    left = {path.name for path in out.iterdir()}
    assert {
        "generator",
        "reconstructor",
        "views.png",
        "turntable.png",
        "turntable.mp4",
        "mesh.glb",
        "geco-held-out.png",
        "single-image-unseen.png",
    } <= left
    pair = [f"generator.weights={out / 'generator'}", f"reconstructor.weights={out / 'reconstructor'}"]
    again = built("scene", keys, *pair)
    trained = checkpoint.load(out / "checkpoints/scene.pt", CPU).system
    for name, parameter in again.reconstructor.named_parameters():
        torch.testing.assert_close(parameter.detach(), trained[f"reconstructor.{name}"], atol=1e-3, rtol=1e-3)
    for name, parameter in again.generator.named_parameters():
        torch.testing.assert_close(parameter.detach(), trained[f"generator.{name}"], atol=1e-3, rtol=1e-3)


def test_the_untrained_generator_is_the_one_step_teacher(keys, tmp_path):
    system = built(
        "views", keys, "evaluation.baselines=[one_step_teacher,without_stage_2,geco]", "evaluation.diverse=0"
    )
    figures = system.evaluate(tmp_path)
    for name in ("psnr", "views_psnr", "chamfer"):
        assert figures[f"one_step_teacher_{name}"] == pytest.approx(figures[f"without_stage_2_{name}"], rel=1e-4)
    assert not any(name.startswith("geco") for name in figures)  # there is none before stage 2


@pytest.mark.parametrize(
    "more, says",
    [
        (["backbone.model=/nowhere/at/all"], "'/nowhere/at/all' does not exist"),
        (["reconstructor.pretrained=/nowhere/at/all"], "nowhere/at/all"),
        (["generator.weights=/nowhere/at/all"], "'/nowhere/at/all' does not exist"),
        (["data.views.size=32"], "are not the teacher's 16"),
        (["evaluation.single=null", "evaluation.baselines=[single_image]"], "single_image needs `single`"),
        (["evaluation.baselines=[gecko]"], "'gecko' is not possible; did you mean 'geco'"),
        (["evaluation.scorer=/nowhere"], "scorer"),
        (["stages.scene.weights.colour=1"], "unknown loss 'colour'"),
        (["stages.views.guidance={type: sds}", "stages.views.update_every=2"], "learns nothing"),
        (["stages.views.update_every=0"], "update_every: must be at least 1"),
        (["targets.count=0"], "targets.count: must be at least 1"),
        (["images.path=/nowhere/at/all"], "nowhere/at/all"),
        (["generation.example=/nowhere.png"], "nowhere.png"),
        (["generator.lora={rank: 2}", "generator.weights=x"], "not both"),
    ],
)
def test_mistakes_are_told_before_any_work(keys, tmp_path, capsys, more, says):
    assert launch.main(["--config", "geco-long.yaml", "--check", *keys, *more, f"out={tmp_path / 'run'}"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ") and says in said


def test_the_second_stage_starts_from_the_reconstructor_that_it_is_told(keys):
    single = next(key for key in keys if key.startswith("evaluation.single=")).partition("=")[2]
    told, untold = (built("scene", keys, *more) for more in ([f"reconstructor.weights={single}"], []))
    assert torch.equal(told.reconstructor.queries, Reconstructor.load(single).queries)
    assert torch.equal(untold.reconstructor.queries, untold.pretrained.model.queries)
    assert not torch.equal(told.reconstructor.queries, untold.reconstructor.queries)
