"""Metrics of turntables: known answers, chance for shuffled prompts, and gaps that are told."""

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from tests.fabricated import fail, finish
from threestudio_like.data.toybox.catalogue import CATEGORIES, caption
from threestudio_like.errors import UserError
from threestudio_like.evaluate.captions import clip_score, r_precision
from threestudio_like.evaluate.images import saturation
from threestudio_like.evaluate.metrics import known_metrics, metric, own_figure
from threestudio_like.evaluate.reference import true_views
from threestudio_like.evaluate.result import Context, Result, as_tensor, read_turntable
from threestudio_like.evaluate.scorer import Scorer
from threestudio_like.evaluate.toybox import COLOR_CAPTIONS, toy_of
from threestudio_like.experiments.comparison import parse_comparison
from threestudio_like.experiments.metrics import analyse_runs, make_context
from threestudio_like.experiments.report import tables

METRICS = ["r_precision", "r_precision_geometry", "similarity", "diversity", "frechet", "color_correct"]


@pytest.fixture
def comparison(tmp_path):
    plain = {
        "prompts": ["a red dog", "a blue car"],
        "seeds": [0, 1],
        "metrics": METRICS,
        "reference": "toybox",
        "out": str(tmp_path / "r"),
        "methods": {"true": {"config": "dreamfusion"}, "same": {"config": "dreamfusion", "keys": {"steps": 5}}},
    }
    return parse_comparison(plain, "test")


def bytes_of(views):
    return (views.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)


def test_prompts_name_toys():
    assert toy_of("A red DOG with long ears") == ("dog", "red")
    assert toy_of("a dog") is None and toy_of("a red blue dog") is None


def test_true_toys_are_found_and_shuffled_prompts_are_at_chance():
    scorer = Scorer.load("priors/weights/scorer")
    names = list(CATEGORIES)[::3]
    captions = [
        caption(name, color) for name, color in zip(names, ("red", "blue", "yellow", "green") * 3, strict=False)
    ]
    shown = [true_views(*toy_of(text), 0)[0] for text in captions]

    def result(views, right, captions=captions):
        context = Context(tuple(captions), scorer)
        return Result("m", captions[right], 0, {}, False, 1, (torch.stack([views, views]),), context)

    def found(rights):
        return np.mean([r_precision(result(views, right)) for views, right in zip(shown, rights, strict=True)])

    assert found(range(len(names))) >= 0.8
    shuffled = [found(np.random.default_rng(seed).permutation(len(names))) for seed in range(6)]
    assert np.mean(shuffled) == pytest.approx(1 / len(names), abs=0.12)
    among_all = result(shown[0], COLOR_CAPTIONS.index(captions[0]), COLOR_CAPTIONS)
    assert clip_score(among_all) == pytest.approx(clip_score(result(shown[0], 0)), abs=1e-5)


def test_turntables_are_read_as_they_were_written(comparison):
    cell, views = comparison.cells[0], torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    finish(cell, {}, bytes_of(views))
    color, shape = as_tensor(read_turntable(cell.job.folder))
    torch.testing.assert_close(color, views, atol=0.003, rtol=0)
    assert shape.shape == color.shape and torch.equal(shape[:, 0], shape[:, 1])


def test_measures(comparison):
    """Seeds that are alike have no diversity; the true toys are nearer to true toys than noise is."""
    for cell in comparison.cells:
        individual = cell.seed if cell.method == "true" else 0
        views = bytes_of(true_views(*toy_of(cell.prompt), individual)[0])
        finish(cell, {"color_correct": 1.0}, views if cell.method == "true" else views // 3)
    found = analyse_runs(comparison, make_context(comparison))
    assert set(found.values("true", "r_precision").values()) == {1.0}
    assert len(found.values("true", "color_correct")) == 4
    assert set(found.values("same", "diversity").values()) == {0.0}
    assert min(found.values("true", "diversity").values()) > 0
    one, two = (found.values("true", "diversity")["a red dog", seed] for seed in (0, 1))
    assert one == pytest.approx(two)  # a pair has one distance
    true, same = (found.intervals[method, "frechet"] for method in ("true", "same"))
    assert true.mean < same.mean and true.count == 4 and true.low <= true.mean <= true.high
    assert found.differences["frechet", "true", "same"].interval.mean == pytest.approx(true.mean - same.mean)
    assert found.best["frechet"] == {"true"}
    assert not any("turntable" in line for line in found.warnings)


def test_runs_that_left_no_pictures_and_runs_that_failed_are_told(comparison):
    first, second, *_ = comparison.cells
    finish(first, {"color_correct": 1.0})
    fail(second, "it broke")
    found = analyse_runs(comparison, make_context(comparison))
    assert found.values("true", "color_correct") == {("a red dog", 0): 1.0} and found.values("true", "similarity") == {}
    told = "\n".join(found.warnings)
    for said in ("has no readable turntable.png", "seed 1 failed: it broke", "6 of 8 runs are still to be done"):
        assert said in told


def test_saturation_is_compared_with_the_truths(tmp_path):
    """True toys err by what individuals differ in; grey ones by all of the truth's saturation."""
    plain = {
        "prompts": ["a red dog"],
        "metrics": ["saturation_error"],
        "reference": "toybox",
        "out": str(tmp_path / "r"),
        "methods": {"true": {"config": "dreamfusion"}, "grey": {"config": "dreamfusion", "keys": {"steps": 5}}},
    }
    comparison = parse_comparison(plain, "test")
    own = saturation(*true_views("dog", "red", 1)).mean().item()
    for cell, value in zip(comparison.cells, (own, 0.0), strict=True):
        finish(cell, {"saturation": value})
    found = analyse_runs(comparison, make_context(comparison))
    (true,), (grey,) = (found.values(method, "saturation_error").values() for method in ("true", "grey"))
    assert true < 0.1 < grey == pytest.approx(own, abs=0.1)
    lonely = parse_comparison(plain | {"reference": str(tmp_path)}, "test")
    with pytest.raises(UserError, match="'saturation_error' needs the truth"):
        make_context(lonely)


@pytest.mark.parametrize(
    "prompts, says",
    [
        (["a squirrel playing guitar"], "knows no toy in 'a squirrel playing guitar'"),
        (["a red dog", "a dog, red"], "'a red dog' and 'a dog, red' are one caption to it"),
    ],
)
def test_a_scorer_that_cannot_read_the_prompts_is_told_before_anything_runs(tmp_path, prompts, says):
    plain = {
        "prompts": prompts,
        "metrics": ["similarity"],
        "methods": {"one": {"config": "dreamfusion"}},
        "out": str(tmp_path / "x"),
    }
    with pytest.raises(UserError, match=says):
        make_context(parse_comparison(plain, "test"))


def test_a_turntable_of_another_size_is_told(comparison):
    finish(comparison.cells[0], {})
    iio.imwrite(comparison.cells[0].job.folder / "turntable.png", np.zeros((10, 33, 3), np.uint8))
    assert "has no readable turntable.png" in "\n".join(analyse_runs(comparison, make_context(comparison)).warnings)


def test_a_frechet_distance_needs_a_reference(comparison, tmp_path):
    plain = {
        "prompts": ["a red dog"],
        "metrics": ["frechet"],
        "methods": {"one": {"config": "dreamfusion"}},
        "out": str(tmp_path / "x"),
    }
    with pytest.raises(UserError, match="'frechet' needs a `reference:`"):
        make_context(parse_comparison(plain, "test"))
    lonely = parse_comparison(plain | {"reference": str(tmp_path)}, "test")
    finish(lonely.cells[0], {}, np.zeros((8, 4, 4, 3), np.uint8))
    with pytest.raises(UserError, match="is not a folder with at least two images"):
        make_context(lonely)


PLUGIN = """
from threestudio_like.evaluate.metrics import metric
from threestudio_like.evaluate.result import Result


@metric("{name}", "Brightness", "higher", "The mean of the 8 colour views, in 0..1.", needs=["views"])
def brightness(result: Result) -> float:
    return result.color.mean().item()
"""


def test_a_metric_of_ones_own_is_one_file(tmp_path, monkeypatch):
    """A file outside the house, named under `imports:`, is a column of the report's table."""
    (tmp_path / "my_brightness.py").write_text(PLUGIN.format(name="brightness"))
    monkeypatch.syspath_prepend(str(tmp_path))
    plain = {
        "prompts": ["a squirrel"],
        "metrics": ["brightness"],
        "imports": ["my_brightness"],
        "out": str(tmp_path / "r"),
        "methods": {"dark": {"config": "dreamfusion"}, "bright": {"config": "dreamfusion", "keys": {"steps": 5}}},
    }
    comparison = parse_comparison(plain, "test")
    for cell, grey in zip(comparison.cells, (51, 204), strict=True):
        finish(cell, {}, np.full((8, 4, 4, 3), grey, np.uint8))
    written = tables.markdown(analyse_runs(comparison, make_context(comparison)))
    assert "| method | n | Brightness ↑ |" in written and "| bright | 1 | **0.80** |" in written
    assert "| dark | 1 | 0.20 |" in written and "The mean of the 8 colour views" in written
    with pytest.raises(UserError, match="unknown metric 'brightnes'; did you mean 'brightness'"):
        parse_comparison(plain | {"metrics": ["brightnes"]}, "test")
    with pytest.raises(UserError, match="imports: there is no module 'no_such_package'"):
        parse_comparison(plain | {"imports": ["no_such_package"]}, "test")


def test_two_figures_of_one_name_are_declared_twice_and_the_same_one_again_is_not():
    known = known_metrics()["chamfer"]
    with pytest.raises(ValueError, match="'chamfer' is declared twice"):
        own_figure("chamfer", "Chamfer", "higher", "Something else.")
    own_figure(known.name, known.title, known.better, known.about, digits=known.digits)
    assert known_metrics()["chamfer"] == known


def test_a_metric_that_is_declared_badly_says_so(unchecked):
    with pytest.raises(ValueError, match=r"needs \['judge'\]; there are: views, scorer"):
        metric("m", "M", "higher", "a", needs=["judge"])
    with pytest.raises(ValueError, match="'diversity' is declared twice"):
        metric("diversity", "D", "higher", "another one")(lambda result: 0.0)
