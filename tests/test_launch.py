"""The launcher as a user meets it: mistakes end with exit code 2 and a sentence, kills are survived bit for bit."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import launch
from systems.training.text_to_image import vocabulary
from tests.tiny import TINY_MESH, TINY_SCENE
from threestudio_like.engine import checkpoint
from threestudio_like.evaluate.scorer import Scorer, ScorerSize
from threestudio_like.scenes.isosurface import IsoSurface

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parent.parent
KILLS = int(os.environ.get("TSL_TEST_KILLS", 2))
"""How often the run is killed; the claim was checked with 20."""


@pytest.fixture
def keys(models, tmp_path):
    return [
        *TINY_SCENE,
        f"backbone.model={models('toybox')}",
        "evaluation.scorer=null",
        "device=cpu",
        f"out={tmp_path / 'run'}",
    ]


def refused(capsys, *argv) -> str:
    """The one or two lines on stderr with which the launcher refuses; nothing was computed."""
    capsys.readouterr()
    assert launch.main(list(argv)) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("stage ")]
    assert "Traceback" not in "\n".join(said) and said[-1].startswith("error: ") and len(said) <= 2, said
    return said[-1]


@pytest.mark.parametrize(
    "override, says",
    [
        ("guidance.rgb.methud.scale=3", "unknown key 'methud'; did you mean 'method'?"),
        ("stpes=3", "unknown key 'stpes'; did you mean 'steps'?"),
        ("steps=many", "steps: expected int, got 'many'"),
        ("steps=-1", "steps: must be at least 0"),
        ("seed=1.5", "seed: expected int"),
        ("scene.type=feild", "unknown scene 'feild'; did you mean 'field'?"),
        ("guidance.rgb.method.type=sdss", "unknown guidance 'sdss'; did you mean 'sds'?"),
        ("system=dreamfussion", "unknown system 'dreamfussion'; did you mean 'dreamfusion'?"),
        ("cameras.size=0", "size: must be at least 1"),
        ("cameras.views=0", "views: must be at least 1"),
        ("regularizers.sparsty=1", "unknown regularizer 'sparsty'; did you mean 'sparsity'?"),
        ("lr.encodin=1", "unknown parameter group 'encodin'; did you mean 'encoding'?"),
        ("device=tpu", "device: 'tpu' is not possible"),
        ("prompt=", "prompt is empty"),
        ("prompt=   ", "prompt is empty"),
        ("evaluation.formats=[gif]", "cannot write 'gif'"),
        ("steps", "not an override"),
        ("kernels=cuda", "the 'cuda' kernels are forced but"),
        ("kernels=fast", "kernels: 'fast' is not possible"),
        ("packages=[nerfac]", "packages[0]: 'nerfac' is not possible; did you mean 'nerfacc'?"),
        ("packages=[tiny-cuda-nn]", "packages: tiny-cuda-nn"),
        ("scene.encoding.base_resolution=0", "base_resolution: must be at least 1"),
    ],
)
def test_a_mistaken_key_is_refused(capsys, keys, override, says):
    assert says in refused(capsys, "--config", "dreamfusion.yaml", *keys, override)


@pytest.mark.parametrize(
    "recipe, overrides, says",
    [
        (
            "dreamfusion",
            ["renderer.type=mesh"],
            "renderer: 'mesh' draws a mesh, and a 'field' has none; use type: volume",
        ),
        ("dreamfusion", ["lr.encodng=0.1"], "unknown parameter group 'encodng'; did you mean 'encoding'?"),
        ("dreamfusion", ["regularizers.laplacian=1"], "'laplacian' needs a mesh renderer"),
        ("dreamfusion", ["update_every=2"], "no guidance learns anything in the steps between"),
        ("dreamfusion", ["guidance.rgb.channel=ccm"], "the channel 'ccm' is an image of 4 channels, and the prior in"),
        ("dreamfusion", ["init.stage=main"], "init.stage: the stage starts from itself"),
        ("fantasia3d", ["stages.coarse.regularizers.orientation=1"], "'orientation' needs a volume renderer"),
        ("fantasia3d", ["stages.coarse.regularizers.deviation=1"], "'deviation' needs a scene of type 'flexicubes'"),
        ("prolificdreamer", ["stages.geometry=null"], "stages.texture.init.stage: no stage 'geometry'; known: nerf"),
        ("prolificdreamer", [f"stages.{name}=null" for name in ("nerf", "geometry", "texture")], "leave one"),
        ("prolificdreamer", ["stages.texture.init.stage=geometri"], "no stage 'geometri'; did you mean 'geometry'?"),
        (
            "prolificdreamer",
            ["stages.geometry.init.stage=geometry"],
            "geometry.init.stage: the stage starts from itself",
        ),
        ("prolificdreamer", ["stages.geometry.init.stage=texture"], "'texture', which comes later; stages run in the"),
        ("prolificdreamer", ["stages.nerf.init.stage=nope"], "no stage 'nope'; no stage is before this one"),
        (
            "prolificdreamer",
            ["stages.nerff.steps=2"],
            "stages.nerff: prolificdreamer has no such stage; did you mean 'nerf'?",
        ),
        ("prolificdreamer", ["stages.nerf.particles=2"], "particles: 1 cannot start from the 2 of the stage before"),
        (
            "prolificdreamer",
            ["stages.geometry.scene.hidden=16"],
            "init: `scene.hidden` must be what it is in the stage",
        ),
        ("prolificdreamer", ["stages.texture.scene.resolution=16"], "init: `scene.resolution` must be what it is in"),
        ("prolificdreamer", ["stages.texture.scene.type=flexicubes"], "a scene of type 'flexicubes' cannot start from"),
        ("prolificdreamer", ["stages.geometry.lr.sfd=1"], "unknown parameter group 'sfd'; did you mean 'sdf'?"),
        ("fantasia3d", ["evaluation.mesh_resolution=64"], "a scene of type 'tetmesh' has a mesh of its own"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_the_first_step(models, capsys, tmp_path, recipe, overrides, says):
    """By `--check`, and by a run that begins."""
    argv = ["--config", recipe, f"backbone.model={models('toybox')}", "evaluation.scorer=null", "device=cpu"]
    argv += [f"out={tmp_path / 'run'}", *overrides]
    assert says in refused(capsys, *argv, "--check")
    assert not (tmp_path / "run").exists()
    assert says in refused(capsys, *argv)
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_a_prior_of_another_split_is_not_judged(models, keys, capsys, tmp_path):
    prior = shutil.copytree(models("toybox"), tmp_path / "prior")
    (prior / "split.json").write_text('{"held_out_pairs": "0"}')
    Scorer(ScorerSize(), vocabulary()).save(tmp_path / "scorer")
    argv = ["--config", "dreamfusion", *keys, f"backbone.model={prior}", "--check"]
    assert launch.main(argv) == 0
    assert "another split of the toys" in refused(capsys, *argv, f"evaluation.scorer={tmp_path / 'scorer'}")


@pytest.mark.parametrize(
    "words, says",
    [
        (["dreamfusion.yaml", "--table"], "--table goes with --sweep or a comparison"),
        (["dreamfusion.yaml", "--workers", "2"], "--workers goes with --sweep"),
        (["dreamfusion.yaml", "--cluster", "slurm"], "--cluster goes with --sweep"),
        (["dreamfusion.yaml", "--sweep", "seed=0,1", "cluster.gpus=1"], "go with --cluster slurm"),
        (["dreamfusion.yaml", "--stage", "main", "--sweep", "seed=0,1"], "--stage is for one run"),
        (["comparisons/quick.yaml", "--resume"], "--resume is for a recipe"),
        (["comparisons/quick.yaml", "--sweep", "seed=0,1"], "--sweep is for a recipe"),
        (["comparisons/quick.yaml", "reference=null"], "needs a `reference:`"),
    ],
)
def test_an_option_that_means_nothing_is_refused(capsys, tmp_path, words, says):
    assert says in refused(capsys, "--config", *words, f"out={tmp_path / 'run'}")


def test_a_change_of_type_says_what_it_drops(capsys, caplog, keys):
    said = refused(capsys, "--config", "dreamfusion", *keys, "backbone.type=latent")
    assert "the key 'model' is missing; backbone.type changed from pixel to latent: its other keys were drop" in said
    assert "'volume' draws a volume, and a 'tetmesh' has none" in refused(
        capsys, "--config", "dreamfusion", *keys, "scene.type=tetmesh"
    )
    assert any("scene.type changed from field to tetmesh" in record.message for record in caplog.records)
    caplog.clear()
    argv = ["--config", "dreamfusion", *keys, "--check", "guidance.rgb.method.type=csd"]
    assert launch.main(argv) == 0
    assert [record.message for record in caplog.records if "changed from sds to csd" in record.message] == [
        "guidance.rgb.method.type changed from sds to csd: its other keys were dropped: scale, t_max, t_min, weighting"
    ]
    caplog.clear()
    assert launch.main([*argv, "guidance.rgb.method={scale: 3, weighting: uniform, t_min: 0.1, t_max: 0.9}"]) == 0
    assert not [record for record in caplog.records if "changed from" in record.message]


@pytest.mark.parametrize(
    "argv, says",
    [
        (["--resume", "~nobody-here/x"], "there is no such user"),
        (["--config", "dreamfusion", "--check", "out=~nobody-here/x"], "there is no such user"),
        (["--config", "dreamfusion", "--check", "backbone.model=~nobody-here/x"], "there is no such user"),
        (["--config", "dreamfusion", "--help", "imports=5"], "imports: expected a list"),
        (["--config", "dreamfusion", "--help", "imports=['.x']"], "imports: '.x' is not the name of a module"),
        (["--config", "dreamfusion", "--help", "stages=[a]"], "stages: expected a map"),
        (["--config", "dreamfusion", "--help", "system=[a]"], "system: expected a name"),
    ],
)
def test_what_fuzzing_found_is_a_sentence(capsys, argv, says):
    assert says in refused(capsys, *argv)


def test_keys_and_flags_mix_in_any_order(capsys, keys):
    assert launch.main(["seed=7", "--config", "dreamfusion.yaml", *keys, "--check", "steps=3"]) == 0
    assert "dreamfusion, 3 steps" in capsys.readouterr().out


def test_a_missing_or_broken_recipe_is_refused(capsys, tmp_path):
    assert "did you mean 'dreamfusion'" in refused(capsys, "--config", "dreamfusoin.yaml")
    (tmp_path / "bad.yaml").write_text("steps: [1, 2\n  : {")
    assert "cannot be read as YAML" in refused(capsys, "--config", str(tmp_path / "bad.yaml"))
    (tmp_path / "picture.yaml").write_bytes(bytes(range(256)))
    assert "save it as UTF-8" in refused(capsys, "--config", str(tmp_path / "picture.yaml"))
    (tmp_path / "wide.yaml").write_text("system: dreamfusion", encoding="utf-16-le")
    assert "save it as UTF-8" in refused(capsys, "--config", str(tmp_path / "wide.yaml"))


def test_a_missing_prior_is_refused(capsys, keys, tmp_path):
    assert "does not exist" in refused(capsys, "--config", "dreamfusion.yaml", *keys, "backbone.model=/nowhere/at/all")
    assert "does not exist" in refused(
        capsys, "--config", "dreamfusion.yaml", "--check", *keys, "backbone.model=./nowhere/at/all"
    )
    assert "scorer" in refused(capsys, "--config", "dreamfusion.yaml", *keys, f"evaluation.scorer={tmp_path}")
    assert not (tmp_path / "run/checkpoints").exists()


def test_an_output_folder_that_cannot_be_written_is_refused(capsys, keys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    refused(capsys, "--config", "dreamfusion.yaml", *keys, f"out={tmp_path / 'file' / 'run'}")
    refused(capsys, "--config", "dreamfusion.yaml", *keys, "out=/proc/nowhere/run")


def test_resume_where_there_is_nothing_or_the_recipe_changed(capsys, keys):
    assert "there is no run" in refused(capsys, "--config", "dreamfusion.yaml", "--resume", *keys)
    assert launch.main(["--config", "dreamfusion.yaml", *keys]) == 0
    capsys.readouterr()
    assert "the recipe has changed" in refused(capsys, "--config", "dreamfusion.yaml", "--resume", *keys, "seed=3")
    assert launch.main(["--config", "dreamfusion.yaml", "--resume", *keys]) == 0


@pytest.mark.parametrize(
    "prompt",
    [
        "../../a/\\b \"quoted\" 'dog' ${steps} {x} [y] #z %s",
        pytest.param("a red dog " * 500, marks=pytest.mark.slow),
        pytest.param("a 🐶 & a 🐱\nред", marks=pytest.mark.slow),  # noqa: RUF001
    ],
)
def test_odd_prompts_work(keys, tmp_path, prompt):
    assert launch.main(["--config", "dreamfusion.yaml", *keys, f"prompt={prompt}"]) == 0
    assert launch.main(["--config", "dreamfusion.yaml", "--resume", *keys, f"prompt={prompt}"]) == 0
    assert json.loads((tmp_path / "run/metrics.json").read_text())["status"] == "done"


def command(keys, *more) -> list[str]:
    return [sys.executable, "launch.py", "--config", "dreamfusion.yaml", *keys, *more]


def test_a_mesh_that_vanishes_is_said_in_a_sentence(models, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(IsoSurface, "sdf", lambda scene: scene.shape_init.abs() + 0.01)
    assert (
        launch.main(
            [
                "--config",
                "fantasia3d.yaml",
                *TINY_MESH,
                f"backbone.model={models('toybox')}",
                "evaluation.scorer=null",
                "device=cpu",
                f"out={tmp_path / 'run'}",
            ]
        )
        == 1
    )
    assert "error: the mesh has vanished" in capsys.readouterr().err
    assert json.loads((tmp_path / "run/metrics.json").read_text())["status"] == "failed"


@pytest.mark.slow
def test_a_full_disk_is_said_in_a_sentence(keys, tmp_path):
    """A file-size limit stands in for the full disk: writing the checkpoint fails in the middle."""

    def small():
        return (
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
            resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)),
        )

    ended = subprocess.run(command(keys, "preview_every=0"), cwd=ROOT, capture_output=True, text=True, preexec_fn=small)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr and "error: " in ended.stderr.splitlines()[-1]
    assert not list((tmp_path / "run/checkpoints").glob("*.pt"))


@pytest.mark.slow
def test_killed_at_any_moment_a_run_ends_where_the_undisturbed_one_ends(keys, tmp_path):
    more = ["steps=120", "checkpoint_every=5", "preview_every=0"]
    subprocess.run(command(keys, *more, f"out={tmp_path / 'whole'}"), cwd=ROOT, check=True, capture_output=True)
    rng = random.Random(0)
    log, resume = tmp_path / "run/log.txt", []
    for _ in range(KILLS):
        lines = log.read_text().count("stage 'main'") if log.exists() else 0
        child = subprocess.Popen(
            command(keys, *more, *resume), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while child.poll() is None and (not log.exists() or log.read_text().count("stage 'main'") == lines):
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 1.5))
        child.send_signal(signal.SIGKILL)
        child.wait()
        resume = ["--resume"]
    subprocess.run(command(keys, *more, "--resume"), cwd=ROOT, check=True, capture_output=True)
    whole, killed = (
        checkpoint.load(tmp_path / name / "checkpoints/main.pt", torch.device("cpu")) for name in ("whole", "run")
    )
    assert whole.step == killed.step == 120
    assert whole.system.keys() == killed.system.keys()
    assert all(torch.equal(whole.system[key], killed.system[key]) for key in whole.system)
    assert (tmp_path / "whole/mesh.glb").exists() == (tmp_path / "run/mesh.glb").exists()


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(keys, tmp_path):
    child = subprocess.Popen(
        command(keys, "steps=100000"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    log = tmp_path / "run/log.txt"
    while child.poll() is None and not (log.exists() and "stage 'main'" in log.read_text()):
        time.sleep(0.02)
    time.sleep(1)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert "--resume" in said.splitlines()[-1] and "Traceback" not in said
    assert checkpoint.load(tmp_path / "run/checkpoints/main.pt", torch.device("cpu")).step > 0
    assert json.loads((tmp_path / "run/metrics.json").read_text())["status"] == "interrupted"
