"""The library: what it costs to import, how its pieces are built, finished runs, and the wheel."""

import json
import os
import shutil
import subprocess
import sys

import pytest

import priors
import threestudio_like
from threestudio_like import Field, Run, Solid, TetMesh, UserError, VolumeRenderer, orbit
from threestudio_like.config import plugins
from threestudio_like.config.registry import Component, registered
from threestudio_like.utils.paths import ROOT


def python(code: str, *path: str, **options) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or (str(ROOT),))}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, **options)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


def test_imports_are_lazy():
    """By what is loaded, and by seconds with room for a busy machine."""
    code = """
import sys, time
import torch
began = time.perf_counter()
import priors, threestudio_like
print(time.perf_counter() - began)
import priors.guidance.sds, priors.guidance.vsd
assert not {"diffusers", "transformers", "peft"} & sys.modules.keys()
"""
    assert float(python(code)) < 1.0
    code = "import sys, priors, threestudio_like, systems; assert 'torch' not in sys.modules"
    python(code)


@pytest.mark.parametrize("package", [threestudio_like, priors], ids=lambda package: package.__name__)
def test_every_name_is_there(package):
    assert package.__all__ == sorted(dir(package))
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match="Feild"):
        _ = package.Feild


def test_plain_values_are_read_as_in_recipes():
    scene = Field(density_shift=-3, encoding={"n_levels": 2}, background={"type": "random", "low": 0.5})
    assert scene.config.density_shift == -3.0 and scene.config.encoding.n_levels == 2
    assert scene.background.config.low == 0.5
    grey = Solid(color=(0.5, 0.5, 0.5))
    assert Field(background=grey).background is grey
    assert Field(Field.Config(hidden=8)).config.hidden == 8
    assert isinstance(TetMesh(resolution=4).config.background, Component)
    view = VolumeRenderer(resolution=8)(scene, orbit(2, 20.0, 2.7, 41.0, 8))
    assert view.rgb.shape == (2, 8, 8, 3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Field(hiden=3), "Field: unknown key 'hiden'; did you mean 'hidden'"),
        (lambda: Field(encoding={"n_level": 3}), "Field.encoding: unknown key 'n_level'; did you mean 'n_levels'"),
        (
            lambda: Field(background="solidd"),
            "Field.background: unknown background 'solidd'; did you mean 'solid'",
        ),
        (lambda: Field(Field.Config(), hidden=3), "not both"),
        (lambda: VolumeRenderer(Field.Config()), "VolumeRenderer: expected a VolumeRenderer.Config"),
        (lambda: priors.load("toybx"), "no prior 'toybx'; did you mean 'toybox'"),
        (lambda: priors.load("toybox", precison="fp16"), "did you mean 'precision'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_wrong_is_one_sentence(build, message):
    with pytest.raises(UserError) as caught:
        build()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("toybox", "PixelBackbone"),
        ("agp", "GeometricBackbone"),
        ("multiview", "FoldedMultiview"),
        ("sd21", "LatentBackbone"),
        ("sdxl", "LatentBackbone"),
        ("sd35", "FlowBackbone"),
        ("zero123plus", "Zero123Plus"),
    ],
)
def test_a_prior_is_what_its_folder_holds(models, name, kind):
    own = {"view_size": 16} if name == "zero123plus" else {}
    assert type(priors.load(str(models(name)), **own)).__name__ == kind


def test_shipped_priors_have_names(models, monkeypatch):
    monkeypatch.setattr("priors.loading.WEIGHTS", models("toybox").parent)
    prior = priors.load("toybox")
    told = prior.condition("a red chair", orbit(3, 20.0, 2.7, 41.0, 8), negative="blue")
    assert told.text.shape[0] == told.uncond.shape[0] == 3


def test_a_folder_that_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="no run here"):
        Run.open(tmp_path)
    (tmp_path / "config.yaml").write_text("system: fit_for_tests\nsteps: 2\nprompt: ''\n")
    from tests import fitting  # noqa: F401

    for metrics in ({"status": "running"}, {}):
        (tmp_path / "metrics.json").write_text(json.dumps(metrics))
        with pytest.raises(UserError, match="--resume it first"):
            Run.open(tmp_path)
    (tmp_path / "metrics.json").write_text('{"status": "done"}')
    with pytest.raises(UserError, match="no checkpoint"):
        _ = Run.open(tmp_path).scene


def test_modules_of_ones_own_are_found(tmp_path, monkeypatch):
    (tmp_path / "mine_for_tests.py").write_text("COMPONENTS = {'scene': {'mine_for_tests': 'mine_for_tests:Scene'}}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    plugins.plug_in(["mine_for_tests"])
    assert "mine_for_tests" in registered("scene")
    with pytest.raises(UserError, match="imports: there is no module 'no_such_module'"):
        plugins.plug_in(["no_such_module"])


@pytest.mark.parametrize(
    "text, told",
    [
        ("value = 1\nvalue = nothing\n", r"NameError: name 'nothing' is not defined \(.*broken_for_tests.py, line 2\)"),
        ("value = (1\n", r"SyntaxError: '\(' was never closed \(broken_for_tests.py, line 1\)"),
        ("import no_such_module\n", r"ModuleNotFoundError: No module named 'no_such_module' \(.*, line 1\)"),
    ],
)
def test_a_module_of_ones_own_that_fails_says_in_which_line(tmp_path, monkeypatch, text, told):
    name = "broken_for_tests"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(UserError, match=f"imports: '{name}' fails: {told}"):
        plugins.plug_in([name])


@pytest.mark.slow
def test_a_wheel_holds_all_that_is_needed(tmp_path):
    """Built, unpacked and used from another folder, beside the installed dependencies."""
    source, wheels, site, elsewhere = (tmp_path / name for name in ("source", "wheels", "site", "elsewhere"))
    elsewhere.mkdir()
    for name in ("threestudio_like", "priors", "systems", "configs"):  # a build leaves files beside its sources
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", str(source), "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels)]
    subprocess.run(build, check=True, capture_output=True, text=True, timeout=300)
    wheel = next(wheels.glob("threestudio_like-*.whl"))
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True, timeout=300)
    code = """
import priors, threestudio_like
from threestudio_like.utils import paths
assert str(paths.ROOT) == sys.argv[1], paths.ROOT
assert (paths.CONFIGS / "comparisons" / "quick.yaml").is_file()
assert len(priors.load("toybox").embed(["a red chair"])) == 1
threestudio_like.Scorer.load("priors/weights/scorer")
"""
    code = f"import sys; sys.argv = ['', {str(site)!r}]" + code
    python(code, str(site), cwd=elsewhere, timeout=300)
    script = [sys.executable, str(site / "bin" / "threestudio-like"), "--config", "dreamfusion", "--check"]
    environment = os.environ | {"PYTHONPATH": str(site)}
    said = subprocess.run(script, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=300)
    assert said.returncode == 0 and "would run in outputs/dreamfusion/a-yellow-duck-0" in said.stdout, said.stderr
    for package in ("threestudio_like", "priors", "systems"):
        assert (site / package / "py.typed").is_file()
