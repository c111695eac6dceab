"""Comparisons: what their files may say, where their runs are, what is refused; one from end to end, and killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests import fitting
from threestudio_like.config.loading import CONFIGS, is_comparison, load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.errors import UserError
from threestudio_like.evaluate.metrics import known_metrics
from threestudio_like.experiments.comparison import parse_comparison

FILES = sorted(path.stem for path in (CONFIGS / "comparisons").glob("*.yaml"))
PLAIN = {
    "prompts": ["a red dog", "a dog, red"],
    "metrics": ["color_correct"],
    "seeds": [0, 1],
    "methods": {
        "one": {"config": "dreamfusion"},
        "two": {"config": "dreamfusion", "keys": {"steps": 5, "shading.lambertian_prob": 0.5}},
    },
}


CLAIM = {"says": "s", "source": "s", "metric": "saturation"}


@pytest.mark.parametrize("name", FILES)
def test_every_file_parses_and_so_do_all_its_recipes(name):
    plain = load(f"comparisons/{name}")
    assert is_comparison(plain)
    comparison = parse_comparison(plain, name)
    seen = set()
    for cell in comparison.cells:
        if cell.method not in seen:
            seen.add(cell.method)
            parse_recipe(load(cell.job.config, cell.job.keys), cell.method)
    if name.startswith("ablation"):
        assert len((CONFIGS / f"comparisons/{name}.yaml").read_text().splitlines()) <= 15
        assert len(comparison.methods) >= 3


def test_cells_are_all_combinations_each_in_a_folder_of_its_own(tmp_path):
    comparison = parse_comparison(PLAIN | {"out": str(tmp_path / "report")}, "test")
    assert [(cell.method, cell.prompt, cell.seed) for cell in comparison.cells[:3]] == [
        ("one", "a red dog", 0),
        ("one", "a red dog", 1),
        ("one", "a dog, red", 0),
    ]
    folders = [cell.job.folder for cell in comparison.cells]
    assert len(set(folders)) == 8 and folders[0] == tmp_path / "runs/dreamfusion/a-red-dog-0"
    assert folders[4].parent.name.startswith("dreamfusion_steps-5_lambertian_prob-0p5_")
    assert comparison.cells[-1].job.keys == ("steps=5", "shading.lambertian_prob=0.5", "prompt=a dog, red", "seed=1")


def test_a_methods_own_keys_count_before_the_comparisons(tmp_path):
    comparison = parse_comparison(PLAIN | {"keys": {"steps": 9}, "out": str(tmp_path / "report")}, "test")
    steps = {cell.method: [key for key in cell.job.keys if key.startswith("steps=")] for cell in comparison.cells}
    assert steps == {"one": ["steps=9"], "two": ["steps=5"]}


def test_a_seed_of_everything_comes_before_the_next():
    turns = [(cell.seed, cell.prompt, cell.method) for cell in parse_comparison(PLAIN, "test").in_turn]
    assert [seed for seed, *_ in turns] == [0] * 4 + [1] * 4
    assert turns[:3] == [(0, "a red dog", "one"), (0, "a red dog", "two"), (0, "a dog, red", "one")]


def test_comparisons_share_the_runs_they_have_in_common(tmp_path):
    other = {"methods": {"another name": {"config": "dreamfusion.yaml"}}, "out": str(tmp_path / "b")}
    a, b = parse_comparison(PLAIN | {"out": str(tmp_path / "a")}, "a"), parse_comparison(PLAIN | other, "b")
    assert {cell.job.folder for cell in b.cells} < {cell.job.folder for cell in a.cells}
    shared = parse_comparison(PLAIN | other | {"keys": {"steps": 7}}, "b")
    assert not {cell.job.folder for cell in shared.cells} & {cell.job.folder for cell in a.cells}


def test_recipes_of_one_name_have_folders_of_their_own(tmp_path):
    (tmp_path / "dreamfusion.yaml").write_text("extends: sweetdreamer-nerf.yaml\nsteps: 5\n")
    methods = {"stock": {"config": "dreamfusion.yaml"}, "mine": {"config": str(tmp_path / "dreamfusion.yaml")}}
    one, two = parse_comparison(
        PLAIN | {"methods": methods, "prompts": ["a"], "seeds": [0], "claims": []}, "test"
    ).cells
    assert one.job.folder.parent.name == "dreamfusion" and one.job.folder != two.job.folder


def test_recipes_may_lie_beside_the_comparison(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: dreamfusion.yaml\nsteps: 5\n")
    plain = PLAIN | {"methods": {"mine": {"config": "mine.yaml"}}, "claims": []}
    cell, *_ = parse_comparison(plain, "test", tmp_path).cells
    assert cell.job.config == str(tmp_path / "mine.yaml")


def test_a_grid_is_a_method_for_every_combination():
    plain = {
        "prompts": ["a duck"],
        "metrics": ["saturation"],
        "config": "dreamfusion",
        "keys": {"seed": 3},
        "grid": {"guidance.rgb.method.scale": [5, 7.5], "guidance.rgb.method.t_max": [{"ramp": {0: 0.9, 5: 0.5}}]},
    }
    comparison = parse_comparison(plain, "grid")
    assert list(comparison.methods) == [f"scale {scale}, t_max {{ramp: {{0: 0.9, 5: 0.5}}}}" for scale in ("5", "7.5")]
    job = comparison.cells[1].job
    recipe = load(job.config, job.keys)
    assert recipe["guidance"]["rgb"]["method"]["scale"] == 7.5 and recipe["seed"] == 0


@pytest.mark.parametrize(
    "change, says",
    [
        ({"prompts": []}, "prompts: must be not empty"),
        ({"seeds": []}, "seeds: must be not empty"),
        ({"prompts": ["a", "a"]}, "'prompts' has the same entry twice"),
        ({"metrics": ["color_corect"]}, "unknown metric 'color_corect'; did you mean 'color_correct'"),
        (
            {"methods": {"x": {"config": "dreamfusoin"}}},
            "methods.x: no recipe 'dreamfusoin'; did you mean 'dreamfusion'",
        ),
        ({"methods": {"x": {"confg": "dreamfusion"}}}, "methods.x: unknown key 'confg'; did you mean 'config'"),
        ({"methods": {}}, "give `methods:`, or a recipe `config:` and a `grid:`"),
        ({"methods": {}, "config": "dreamfusion", "grid": {"steps": []}}, "grid.steps is empty"),
        ({"methods": {}, "config": "dreamfusion", "grid": {"steps": [5, 5]}}, "grid: a key has the same value twice"),
        (
            {"methods": {"x": {"config": "dreamfusion"}, "y": {"config": "dreamfusion.yaml"}}},
            "'y' and 'x' are the same method",
        ),
        ({"promts": ["a"]}, "unknown key 'promts'; did you mean 'prompts'"),
        ({"judge": "x"}, "unknown key 'judge'; it is 'scorer' now"),
        ({"steps": 5}, "a key of its recipes is `keys.steps`"),
        ({"claims": [CLAIM | {"method": "three", "at_least": 1.0}]}, "'three', which is not a method"),
        ({"claims": [CLAIM | {"method": "one"}]}, "exactly one of higher_than"),
    ],
)
def test_mistakes_are_named(change, says):
    with pytest.raises(UserError, match=says.replace("(", r"\(")):
        parse_comparison(PLAIN | change, "test")


def test_every_metric_says_what_it_is():
    for name, metric in known_metrics().items():
        assert len(metric.about) > 20 and metric.title and metric.show(0.5), name
    known = known_metrics()
    assert known["consistent"].show(0.85) == "85" and known["chamfer"].show(0.0291) == "0.029"


@pytest.fixture
def compare(tmp_path):
    """Starts a comparison of the small system of the training loop's tests: one method of three cannot end."""
    program, recipe = fitting.write(tmp_path)
    prompts = [r"a \${dog} & <b>cat</b> | 50 %", "ред 🐶 'x'"]
    methods = {
        "slow": {"config": str(recipe), "keys": {"lr": 0.01}},
        "broken": {"config": str(recipe), "keys": {"break_at": 3}},
    }
    (tmp_path / "few.yaml").write_text(
        json.dumps(
            {"title": "Fits", "prompts": prompts, "metrics": ["train_seconds"], "methods": methods}, ensure_ascii=False
        )
    )

    def start(*words):
        own = ["--config", str(tmp_path / "few.yaml"), f"out={tmp_path}/report"]
        command = [sys.executable, str(program), *own, *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_every_run_done_once(compare, tmp_path):
    for moment in (1, 2):  # kill -9 when the first, then the second run has begun
        process = compare("--workers", "2")
        until = time.monotonic() + 300

        def begun():
            return len(list((tmp_path / "runs").glob("*/*/log.txt")))

        while begun() < moment and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert process.poll() is None, process.communicate()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    table, _ = compare("--table").communicate(timeout=300)
    assert "runs are still to be done" in table or "failed" in table
    _, err = compare("--workers", "2").communicate(timeout=600)
    assert "Traceback" not in err and not err.splitlines()[-1].startswith("error: "), err
    report = (tmp_path / "report/report.md").read_text()
    assert report.count(" | done | ") == 2
    assert report.count("| failed: error: stage 'main', step 3: the loss 'fit' is nan") == 2
    logs = [path.read_text() for path in (tmp_path / "runs").glob("*lr-0p01*/*/log.txt")]
    assert len(logs) == 2 and all(log.count("stage 'main': steps 0 to 400") == 1 for log in logs)
    assert not list((tmp_path / "runs").glob("*/*.1"))
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "report.html",
        "report.md",
        "table.tex",
        "results.csv",
        "tests.csv",
        "figures",
    }
    page = (tmp_path / "report/report.html").read_text()
    assert "a ${dog} &amp; &lt;b&gt;cat&lt;/b&gt; | 50 %" in page and "ред 🐶" in page
