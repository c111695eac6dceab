"""`--generate`: images, folders and texts become meshes; what cannot be read is told, and the rest is done."""

import csv
import json
import os
import shlex
import shutil
import signal
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch
import trimesh
import yaml
from PIL import Image, ImageOps

import launch
from priors.backbones.base import Backbone
from priors.backbones.multiview import FoldedMultiview
from priors.generator import OneStepConfig, OneStepGenerator
from priors.reconstructor import Reconstructor
from systems.geco import drawing
from systems.geco import generate as generation
from systems.geco.generate import means, unique_names
from systems.geco.pipeline import Generation, TextToImage, load_pipeline
from tests.export.gltf import gltf_tree
from tests.tiny import picture, tiny_reconstructor
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.config.registry import Component
from threestudio_like.engine.record import git_revision


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def keys(models, tmp_path_factory):
    """A random generator and reconstructor, both as a run leaves them."""
    weights = tmp_path_factory.mktemp("geco")
    teacher = FoldedMultiview("cpu", FoldedMultiview.Config(str(models("multiview"))))
    torch.manual_seed(0)
    made = OneStepGenerator(teacher, OneStepConfig())
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    made.save(weights / "generator")
    tiny_reconstructor(weights / "reconstructor")
    return [
        f"backbone.model={models('multiview')}",
        f"generation.weights={weights}",
        "data.views.size=16",
        f"generation.text.backbone.model={models('toybox')}",
        "generation.text.steps=2",
        "device=cpu",
        "generation.show={strip_size: 8, video_frames: 3, video_size: 16}",
    ]


def run(keys, *more) -> int:
    return launch.main(["--config", "geco.yaml", "--generate", *keys, *more])


def test_an_image_becomes_as_many_meshes_as_asked(keys, tmp_path):
    image, out = picture(tmp_path / "my duck.png"), tmp_path / "out"
    assert run(keys, f"image={image}", "n=2", "seed=5", f"out={out}") == 0
    places = [out / "my-duck-5", out / "my-duck-6"]
    for place in places:
        assert {"mesh.glb", "turntable.png", "turntable.mp4", "views.png", "image.png", "metrics.json"} <= {
            path.name for path in place.iterdir()
        }
        assert len(trimesh.load(place / "mesh.glb", force="mesh").faces) > 0
        assert Image.open(place / "views.png").size == (32, 48)
        figures = json.loads((place / "metrics.json").read_text())
        parts = [figures[f"{part}_seconds"] for part in ("image", "views", "reconstruction", "mesh", "export")]
        assert all(part > 0 for part in parts) and figures["total_seconds"] == pytest.approx(sum(parts))
    one, two = (np.asarray(Image.open(place / "views.png")) for place in places)
    assert not np.array_equal(one, two)  # another seed, another object
    summary = json.loads((out / "metrics.json").read_text())
    assert summary["status"] == "done" and set(summary["made"]) == {"my-duck-5", "my-duck-6"} and not summary["failed"]
    assert run(keys, f"image={image}", "seed=6", f"out={tmp_path / 'again'}") == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "again/my-duck-6/views.png")), two)


def test_views_of_ones_own_are_taken_and_the_object_is_fitted_to_them(keys, tmp_path):
    image, made = f"image={picture(tmp_path / 'duck.png')}", {}
    assert run(keys, image, f"out={tmp_path / 'first'}") == 0
    views = Image.open(tmp_path / "first/duck-0/views.png")
    ImageOps.mirror(views).save(tmp_path / "own.png")
    for steps in (0, 2):
        out = tmp_path / str(steps)
        own = [f"generation.views={tmp_path / 'own.png'}", f"generation.refine={steps}"]
        assert run(keys, image, *own, f"out={out}") == 0
        shown = np.asarray(Image.open(out / "duck-0/views.png"), dtype=int)
        assert abs(shown - np.asarray(ImageOps.mirror(views))).max() <= 1
        assert ("refinement_seconds" in json.loads((out / "duck-0/metrics.json").read_text())) == (steps > 0)
        made[steps] = trimesh.load(out / "duck-0/mesh.glb", force="mesh", process=False).vertices
    assert made[0].shape != made[2].shape or not np.array_equal(made[0], made[2])


def test_a_mesh_is_written_as_asked(keys, tmp_path):
    """With a texture, in millimetres, and with what made it."""
    out, show = tmp_path / "out", "generation.show={strip_size: 8, video_frames: 2, video_size: 16, video_format: gif"
    keys = [key for key in keys if not key.startswith("generation.show")]
    show += ", texture_size: 16, formats: [glb, obj, stl], size_mm: 70}"
    assert run([*keys, show], f"image={picture(tmp_path / 'duck.png')}", "seed=5", f"out={out}") == 0
    place = out / "duck-5"
    assert {"mesh.mtl", "mesh.png", "turntable.gif"} <= {path.name for path in place.iterdir()}
    assert trimesh.load(place / "mesh.stl").extents.max() == pytest.approx(70, rel=1e-4)
    tree = gltf_tree(place / "mesh.glb")
    assert "TEXCOORD_0" in tree["meshes"][0]["primitives"][0]["attributes"] and tree["nodes"][0]["name"] == "duck-5"
    extras = tree["asset"]["extras"]
    assert extras.pop("revision", None) == git_revision()
    assert extras == {"recipe": "geco", "method": "GECO", "seed": 5}


def test_an_unfamiliar_image_is_told_and_the_last_line_says_what_to_open(keys, tmp_path, monkeypatch, caplog):
    image, out = picture(tmp_path / "castle.png"), tmp_path / "out"
    monkeypatch.setattr(generation, "unfamiliar", lambda prior, image: f"unlike, {tuple(image.shape)}")
    with caplog.at_level("INFO"):
        assert run(keys, f"image={image}", f"out={out}") == 0
    told = [record.getMessage() for record in caplog.records]
    assert told.count(f"{image}: unlike, (3, 16, 16)") == 1
    assert told[-1] == f"done: 1 of 1 objects; open {out / 'castle-0' / 'turntable.png'}"


def test_what_was_done_before_is_kept_and_what_failed_is_tried_in_place(keys, tmp_path):
    """A sweep counts its attempts in the run's folder, which must not go away."""
    out = tmp_path / "out"

    def again():
        return run(keys, f"image={picture(tmp_path / 'a.png')}", f"out={out}")

    assert again() == 0 and again() == 0 and (tmp_path / "out.1/a-0/mesh.glb").exists()
    (out / "metrics.json").write_text('{"status": "failed"}')
    (out / "sweep.json").write_text('{"attempts": 1}')
    assert again() == 0 and (out / "sweep.json").exists() and not (tmp_path / "out.2").exists()
    (out / "checkpoints").mkdir()
    assert again() == 2


def test_what_was_made_before_a_stop_is_not_made_again(keys, tmp_path, monkeypatch, capsys):
    """The same command goes on; another one starts anew beside it."""
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    picture(folder / "a.png"), picture(folder / "b.png", (20, 150, 20))
    real, calls = generation.save, []

    def stopped(*args):
        calls.append(args[3].name)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args)

    monkeypatch.setattr(generation, "save", stopped)
    assert run(keys, f"image={folder}", f"out={out}") == 130
    assert (
        capsys.readouterr().err.strip().endswith(f"--generate {shlex.join([*keys, f'image={folder}', f'out={out}'])}")
    )
    assert json.loads((out / "metrics.json").read_text())["status"] == "interrupted"
    assert run(keys, f"image={folder}", f"out={out}") == 0 and calls == ["a-0", "b-0", "b-0"]
    summary = json.loads((out / "metrics.json").read_text())
    assert summary["status"] == "done" and set(summary["made"]) == {"a-0", "b-0"} and not (tmp_path / "out.1").exists()
    assert json.loads((out / "a-0/metrics.json").read_text())["image"] == str(folder / "a.png")
    (out / "metrics.json").write_text(json.dumps(summary | {"status": "some failed"}))
    assert run(keys, f"image={folder / 'b.png'}", f"out={out}") == 0
    assert (tmp_path / "out.1/a-0").exists() and not (out / "a-0").exists()


def test_a_reason_is_said_once(keys, tmp_path, capsys, caplog):
    (tmp_path / "text.png").write_text("no image")
    assert run(keys, f"image={tmp_path / 'text.png'}", f"out={tmp_path / 'out'}") == 2
    assert (capsys.readouterr().err + caplog.text).count("not an image") == 1


def test_in_a_folder_the_others_are_done(keys, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    picture(folder / "a.png"), picture(folder / "a.jpg"), picture(folder / "b.png", (20, 150, 20))
    Image.new("RGB", (30, 30), "white").save(folder / "empty.png")
    Image.new("RGB", (1, 1), "red").save(folder / "one-pixel.png")
    (folder / "text.png").write_text("not an image")
    (folder / "cut.png").write_bytes((folder / "b.png").read_bytes()[:60])
    assert run(keys, f"image={folder}", f"out={tmp_path / 'out'}") == 1
    summary = json.loads((tmp_path / "out/metrics.json").read_text())
    assert summary["status"] == "some failed" and set(summary["made"]) == {"a-0", "a-png-0", "b-0"}
    assert set(summary["failed"]) == {"empty", "one-pixel", "text", "cut"}
    assert all(f"{name}.png" in reason for name, reason in summary["failed"].items())
    assert (tmp_path / "out/b-0/mesh.glb").exists()


def test_a_text_becomes_a_mesh_by_way_of_an_image(keys, tmp_path):
    """A random prior's picture has no plain background, which must not be hidden; then it is asked for all of it."""
    out = tmp_path / "out"
    code = run(keys, "prompt=a red duck", f"out={out}")
    summary = json.loads((out / "metrics.json").read_text())
    assert (out / "a-red-duck.png").exists() and len(summary["made"]) + len(summary["failed"]) == 1
    assert code == (0 if summary["made"] else 2)


@pytest.mark.parametrize("good", [0, 2, 9])
def test_a_text_is_drawn_until_its_object_can_be_cut_out(tmp_path, monkeypatch, good):
    """The first good drawing of at most five is kept; the last one where none is."""
    keyed = np.asarray(Image.open(picture(tmp_path / "good.png"))) / 255
    noise = np.random.default_rng(0).random(keyed.shape)
    asked = []

    def draw(backbone, config, prompts, *keys):
        asked.append(keys)
        return torch.from_numpy(keyed if keys[-1] == good else noise).float().permute(2, 0, 1)[None]

    monkeypatch.setattr(drawing, "draw", draw)
    backbone = create_autospec(Backbone, instance=True)
    config = Generation(text=TextToImage(Component("backbone", "pixel", None)))
    drawing.draw_object(backbone, config, "a red duck", 7, tmp_path / "drawn.png", 16)
    assert asked == [(7, attempt) for attempt in range(min(good + 1, 5))]
    assert np.allclose(np.asarray(Image.open(tmp_path / "drawn.png")) / 255, keyed if good < 5 else noise, atol=0.01)


@pytest.mark.parametrize("has_its_own", [True, False])
def test_without_a_reconstructor_beside_the_generator_the_recipes_is_taken(keys, models, tmp_path, has_its_own):
    weights = next(key.split("=")[1] for key in keys if key.startswith("generation.weights="))
    other = shutil.copytree(weights, tmp_path / "weights")
    if not has_its_own:
        shutil.rmtree(other / "reconstructor")
    tiny_reconstructor(tmp_path / "recipes", seed=1)
    more = [f"generation.weights={other}", f"reconstructor.pretrained={tmp_path / 'recipes'}"]
    recipe = parse_recipe(load("geco.yaml", [*keys, *more]), "geco")
    found = load_pipeline(recipe.stages["scene"].config, torch.device("cpu")).reconstructor.state_dict()
    expected = Reconstructor.load(other / "reconstructor" if has_its_own else tmp_path / "recipes").state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "more, says",
    [
        ([], "say image=PATH"),
        (["n=0", "image=x.png"], "at least 1"),
        (["n=many", "image=x.png"], "got 'many'"),
        (["image=/nowhere.png"], "there is no such image"),
        (["image=/nowhere.png", "prompt=a duck"], "one of them"),
        (["prompt=a duck", "generation.text=null"], "no `generation.text`"),
        (["image={picture}", "generation.weights=/nowhere"], "'/nowhere/generator' does not exist"),
        (["image={picture}", "backbone.model=/nowhere/at/all"], "'/nowhere/at/all' does not exist"),
        (["image={picture}", "generation.views={text}"], "not an image that can be read"),
        (["image={picture}", "generation.views={picture}", "n=2"], "they are of one object"),
        (["image={text}"], "not an image that can be read"),
        (["image={empty}"], "no images in this folder"),
        (["imag=x.png", "image={picture}"], "unknown key 'imag'"),
    ],
)
def test_mistakes_are_sentences(keys, tmp_path, capsys, more, says):
    places = {"picture": picture(tmp_path / "picture.png"), "text": tmp_path / "text.png", "empty": tmp_path / "empty"}
    places["text"].write_text("no image")
    places["empty"].mkdir()
    assert run(keys, *(key.format(**places) if "{" in key else key for key in more), f"out={tmp_path / 'out'}") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ") and says in said


@pytest.mark.slow
def test_a_comparison_takes_what_is_generated_for_a_method(keys, tmp_path):
    told = {key: yaml.safe_load(value) for key, value in (text.split("=", 1) for text in keys)}
    told["generation.show"] |= {"strip_size": 16}
    told |= {
        "generation.scorer": "priors/weights/scorer",
        "generation.text.backbone.model": "priors/weights/toybox",
        "generation.text.steps": 10,
    }  # paints plain backgrounds
    plain = {
        "prompts": ["a red duck", "a blue car"],
        "metrics": ["color_correct", "similarity", "object_seconds", "mesh_watertight"],
        "methods": {"GECO": {"config": "geco.yaml", "generate": True, "keys": told}},
        "out": str(tmp_path / "report"),
    }
    (tmp_path / "made.yaml").write_text(yaml.safe_dump(plain))
    assert launch.main(["--config", str(tmp_path / "made.yaml")]) == 0
    with open(tmp_path / "report/results.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["prompt"] for row in rows] == plain["prompts"] and all(row["revision"] for row in rows)
    for row in rows:
        parts = sum(float(row[f"{part}_seconds"]) for part in ("drawing", "total"))
        assert float(row["object_seconds"]) == pytest.approx(parts) and parts > 0
        assert row["mesh_watertight"] == "1.0" and -1 <= float(row["similarity"]) <= 1
        assert row["color_correct"] in ("0.0", "1.0")


def test_only_one_pass_methods_generate(keys, capsys, tmp_path):
    assert launch.main(["--config", "dreamfusion.yaml", "--generate", f"image={picture(tmp_path / 'a.png')}"]) == 2
    assert "use --config geco.yaml" in capsys.readouterr().err


def test_names_are_never_shared(tmp_path):
    files = [tmp_path / name for name in ("a.jpg", "a.png", "A.png", "é.png", "ü.png")]
    names = unique_names(files)
    assert list(names.values()) == files and len(names) == len(files)


def test_figures_of_objects_are_averaged():
    made = {"a": {"psnr": 1.0, "told": "no number"}, "b": {"psnr": 3.0, "faces": 5}}
    assert means(made) == {"psnr": 2.0, "faces": 5.0}
