"""Runs the code of docs/library.md, docs/library.ipynb and docs/extending.md as it stands, in fresh processes."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.tiny import TINY_SCENE
from threestudio_like.config.loading import load
from threestudio_like.utils.paths import ROOT

pytestmark = pytest.mark.slow
DOCS = ROOT / "docs"
TINY = [key for key in TINY_SCENE if not key.startswith("evaluation.formats")]


def run(folder: Path, *command: str, path: Path = ROOT) -> str:
    """Runs Python in a folder, with the packages of `path`; returns what it prints."""
    environment = os.environ | {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=400
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


def launch(folder: Path, *words: str) -> str:
    return run(folder, str(ROOT / "launch.py"), *words)


def blocks(page: str) -> list[tuple[str, str, str]]:
    """The language, title and text of a page's fenced blocks."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r'(?ms)^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', text)


@pytest.fixture(scope="module")
def with_a_run(tmp_path_factory) -> Path:
    """A folder in which `launch.py --config dreamfusion.yaml` was run."""
    folder = tmp_path_factory.mktemp("here")
    launch(folder, "--config", "dreamfusion.yaml", *TINY, "evaluation.scorer=null")
    return folder


def test_the_librarys_code_runs(with_a_run):
    kept = {path: path.stat().st_mtime_ns for path in with_a_run.rglob("*")}
    codes = [code for language, _, code in blocks("library.md") if language == "python"]
    assert len(codes) == 2
    for code in codes:
        run(with_a_run, "-c", code)
    assert (with_a_run / "chair.glb").stat().st_size > 0
    assert all(path.stat().st_mtime_ns == kept[path] for path in kept if path != with_a_run), "a run was written to"


def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    """In an empty folder, in which its recipe's name is that of a tiny one: the first cell trains it."""
    keys = [*TINY, "evaluation.scorer=null"]
    plain = load("dreamfusion.yaml", keys)
    (tmp_path / "dreamfusion.yaml").write_text(yaml.safe_dump(dict(plain)), encoding="utf-8")
    notebook = json.loads((DOCS / "library.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4 and not any(cell.get("outputs") for cell in notebook["cells"])
    code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert "a blue car" in run(tmp_path, "-c", code)
    assert (tmp_path / "outputs/dreamfusion/a-yellow-duck-0/mesh.glb").is_file()


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    """An empty folder with the files of docs/extending.md."""
    folder = tmp_path_factory.mktemp("mine")
    for _, title, text in blocks("extending.md"):
        if title:
            (folder / title).parent.mkdir(exist_ok=True)
            (folder / title).write_text(text, encoding="utf-8")
    return folder


def test_a_method_of_ones_own_gets_its_row(extended):
    commands = [line for kind, _, text in blocks("extending.md") if kind == "sh" for line in text.splitlines()]
    assert [line.split()[:3] for line in commands] == [
        ["threestudio-like", "--config", name] for name in ("mine.yaml", "mine.yaml", "voxels.yaml", "ours.yaml")
    ]
    for command in commands:
        comparison = "ours.yaml" in command
        tiny = [f"keys.{key}" if comparison else key for key in TINY if "voxels" not in command or "scene." not in key]
        launch(extended, *shlex.split(command)[1:], *tiny)
    assert (extended / "outputs/mine/a-red-chair-0/mesh.glb").is_file()
    assert (extended / "outputs/voxels/a-yellow-duck-0/mesh.glb").is_file()
    report = (extended / "outputs/comparisons/ours/report.md").read_text(encoding="utf-8")
    assert "Brightness" in report and re.search(r"(?m)^\| *Mine *\|", report), report


def test_its_guidance_is_what_it_says(extended):
    run(
        extended,
        "-c",
        """
import torch
import priors
from threestudio_like import orbit
from my_methods.guidance import Blend

prior, cameras = priors.load("toybox"), orbit(2, 20.0, 2.7, 41.0, 64)
images = torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()

def gradient(guidance):
    generator = torch.Generator().manual_seed(0)
    loss = guidance(images, prior.condition("a red chair", cameras), 0, generator).distillation
    return torch.autograd.grad(loss, images)[0]

for share, kind in ((1.0, priors.SDS), (0.0, priors.CSD)):
    found, expected = gradient(Blend(prior, share=share, scale=3.0)), gradient(kind(prior, scale=3.0))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
""",
    )


def test_an_installed_plug_in_needs_no_imports(extended, tmp_path):
    """By the entry point of docs/extending.md, as `pip install` writes it."""
    info = tmp_path / "my_methods-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-methods\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[threestudio_like.plugins]\nmy_methods = my_methods\n")
    (tmp_path / "my_methods").symlink_to(extended / "my_methods")
    (tmp_path / "mine.yaml").write_text((extended / "mine.yaml").read_text().replace("imports: [my_methods]\n", ""))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = "import launch, sys; sys.exit(launch.main(['--config', '../mine.yaml', '--check']))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    ended = subprocess.run([sys.executable, "-c", code], cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0 and "toplight" in ended.stdout, ended.stderr
