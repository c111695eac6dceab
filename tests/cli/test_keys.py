"""A recipe's keys, listed from the source; and mistakes that are told before anything heavy is imported."""

import ast
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

import launch
import priors
import systems
import threestudio_like
from threestudio_like.config.fields import config_fields
from threestudio_like.config.loading import CONFIGS
from threestudio_like.config.registry import find, place_of, registered

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = [
    (slot, name)
    for package in (threestudio_like, priors, systems)
    for slot, classes in package.COMPONENTS.items()
    for name in classes
]
MISTAKES = [
    (["--config", "dreamfusio"], "no recipe 'dreamfusio'; did you mean 'dreamfusion'?"),
    (["--config", "dreamfusion", "sed=3"], "unknown key 'sed'; did you mean 'seed'?"),
    (["--config", "dreamfusion", "stpes=3"], "unknown key 'stpes'; did you mean 'steps'?"),
    (["--config", "dreamfusion", "seed=x"], "seed: expected int, got 'x'"),
    (["--config", "dreamfusion", "device=cudaa"], "'cudaa' is not possible; did you mean 'cuda'?"),
    (["--config", "dreamfusion", "system=dreamfussion"], "unknown system 'dreamfussion'; did you mean 'dreamfusion'?"),
    (["dreamfusion.yaml", "--check"], "--config: name a recipe or comparison; did you mean --config dreamfusion.yaml?"),
    (["--config", "dreamfusion", "prompt=a", "red"], 'key.path=value; quote values with spaces: prompt="a red chair"'),
    (["--config", "dreamfusion", "--prompt", "a b"], "unknown option '--prompt'; write prompt=\"...\", without dashes"),
    (["--config", "dreamfusion", "--scene.hidden=3"], '; write scene.hidden="...", without dashes'),
    (["--config", "dreamfusion", "extends=geco"], "extends: it belongs in a recipe's file"),
    (["--config", "dreamfusion", "--chekc"], "unknown option '--chekc'; did you mean '--check'?"),
    (["--config", "dreamfusion", "--sweep", "seed=0,1", "sed=3"], "unknown key 'sed'; did you mean 'seed'?"),
    (["--config", "dreamfusion", "--sweep", "sed=0,1"], "unknown key 'sed'; did you mean 'seed'?"),
    (["--config", "dreamfusion", "--sweep", "scene.hiden=0,1"], "unknown key 'hiden'; did you mean 'hidden'?"),
    (["--config", "dreamfusion", "scene.hiden=3"], "scene: unknown key 'hiden'; did you mean 'hidden'?"),
    (["--config", "dreamfusion", "scene.type=feild"], "scene.type: unknown scene 'feild'; did you mean 'field'?"),
    (["--config", "dreamfusion", "guidance.rgb.method.scael=3"], "unknown key 'scael'; did you mean 'scale'?"),
    (["--config", "dreamfusion", "guidance.rgb.method.type=sdss"], "unknown guidance 'sdss'; did you mean 'sds'?"),
    (["--config", "dreamfusion", "scene.background.colour=1"], "unknown key 'colour'; did you mean 'color'?"),
    (["--config", "prolificdreamer", "stages.nerf.stesp=3"], "stages.nerf: unknown key 'stesp'; did you mean 'steps'?"),
]


@pytest.mark.parametrize("slot, name", COMPONENTS)
def test_the_source_tells_the_fields_that_the_class_has(slot, name):
    read = config_fields(place_of(slot, name))
    fields = {field.name: field for field in dataclasses.fields(find(slot, name).Config)}
    assert list(read) == list(fields)
    for key, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        written = read[key].default
        assert not required or written is None or "kw_only" in ast.unparse(written)


def test_help_lists_a_recipes_keys_with_types_values_and_what_they_mean(capsys):
    assert launch.main(["--help", "--config", "prolificdreamer", "seed=7", "stages.nerf.steps=3"]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert (
        "  seed = 7    [int, at least 0 and below 2^63]" in lines
        and "  device = auto    [auto | cpu | cuda; may change on --resume]" in lines
    )
    assert "keys of the stage nerf: prolificdreamer (stages.nerf.KEY for it alone):" in lines
    assert (
        "  steps = 3    [int, at least 0]" in lines
        and f"  guidance.rgb.method.type = vsd    [{' | '.join(registered('guidance'))}]" in lines
    )
    assert any(line.startswith("  guidance.rgb.method.fake_score.type = ") for line in lines)
    below = lines[lines.index("  evaluation.video_frames = 60    [int, at least 0; may change on --resume]") + 1]
    assert below.startswith(" " * 8) and "Frames" in below


@pytest.mark.parametrize(
    "recipe, line",
    [
        ("dreamfusion", "logger = [tensorboard]    [list of tensorboard | csv | wandb; may change on --resume]"),
        ("dreamfusion", "evaluation.video_format = mp4    [mp4 | gif | webp; may change on --resume]"),
        ("dreamfusion-sd", "backbone.compiled = null    [default | reduce-overhead | null; may change on --resume]"),
    ],
)
def test_help_spells_the_choices_out_whatever_name_they_have_in_the_source(recipe, line, capsys):
    assert launch.main(["--help", "--config", recipe]) == 0
    assert f"  {line}" in capsys.readouterr().out.splitlines()


def test_help_lists_a_comparisons_keys(capsys):
    assert launch.main(["--help", "--config", "comparisons/quick"]) == 0
    assert any(line.startswith("  seeds = ") for line in capsys.readouterr().out.splitlines())


def test_a_mistake_is_told_before_anything_heavy_is_imported():
    code = f"""
import sys, launch
for argv, says in {MISTAKES!r}:
    print(launch.main(argv), file=sys.stderr)
assert launch.main(["--help", "--config", "dreamfusion"]) == 0
libraries = ("torch", "diffusers", "transformers", "numba", "scipy", "lightning_fabric")
heavy = [name for name in libraries if name in sys.modules]
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert len(said) == 2 * len(MISTAKES)
    for (_, says), line, code in zip(MISTAKES, said[::2], said[1::2], strict=True):
        assert line.startswith("error: ") and says in line and code == "2", line


RECIPES = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml") if path.parent.name != "backbones")


@pytest.mark.parametrize("recipe", RECIPES)
def test_help_says_of_every_key_what_it_means(recipe, capsys):
    assert launch.main(["--help", "--config", recipe]) == 0
    lines = capsys.readouterr().out.splitlines()
    keys = [i for i, line in enumerate(lines) if re.match(r"  \S+ = ", line)]
    silent = [lines[i] for i in keys if not lines[i + 1 : i + 2] or not lines[i + 1].startswith("        ")]
    assert keys and not silent, silent


def test_a_reader_who_stops_reading_is_no_mistake():
    words = [sys.executable, "launch.py", "--help", "--config", "prolificdreamer"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as run:
        run.stdout.close()
        assert run.stderr.read() == b""
    assert run.returncode == 0
