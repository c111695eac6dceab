"""The report of made-up runs: every number traceable, the best in bold, claims decided, odd characters harmless."""

import csv
import io
import re
import sys
from collections import Counter
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import pytest

from tests.fabricated import REVISION, fail, finish
from threestudio_like.errors import UserError
from threestudio_like.evaluate.result import Context
from threestudio_like.experiments import jobs, records, report, statistics
from threestudio_like.experiments.analysis import Analysis
from threestudio_like.experiments.comparison import parse_comparison
from threestudio_like.experiments.config import Claim
from threestudio_like.experiments.metrics import analyse_runs
from threestudio_like.experiments.report import figures, tables

PROMPTS = ["a duck", "50 % of a_dog & $x$ | <b>cat</b>", "ред 🐶 \\ {x}", "a car", "a boat", "a house"]
CLAIMS = [
    {"says": "b is faster", "source": "s", "metric": "train_seconds", "method": "b", "lower_than": "a"},
    {"says": "b is more saturated", "source": "s", "metric": "saturation", "method": "b", "higher_than": "a"},
    {"says": "as often right", "source": "s", "metric": "consistent", "method": "b", "higher_than": "a"},
    {"says": "at least 40 %", "source": "s", "metric": "consistent", "method": "a", "at_least": 0.4},
    {"says": "at least 85 %", "source": "s", "metric": "consistent", "method": "a", "at_least": 0.85},
    {"says": "at most 5 %", "source": "s", "metric": "consistent", "method": "a", "at_most": 0.05},
    {"says": "nobody knows", "source": "s", "metric": "psnr", "method": "a", "at_least": 20.0},
]


def made_up(folder):
    plain = {
        "prompts": PROMPTS,
        "seeds": [0, 1],
        "metrics": ["consistent", "saturation", "train_seconds"],
        "claims": CLAIMS,
        "title": "a & b",
        "out": str(folder / "report"),
        "methods": {"a": {"config": "dreamfusion"}, "b": {"config": "dreamfusion", "keys": {"steps": 5}}},
    }
    return parse_comparison(plain, "test")


@pytest.fixture
def comparison(tmp_path):
    return made_up(tmp_path)


def analysed(comparison) -> Analysis:
    return analyse_runs(comparison, Context())


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """All runs done but one: b is faster and paler; both are right always. For reading only."""
    comparison = made_up(tmp_path_factory.mktemp("done"))
    rng = np.random.default_rng(0)
    for cell in comparison.cells:
        if cell is comparison.cells[-1]:
            fail(cell, "the loss <is> nan | & 5 %")
            continue
        speed, pale = (100, 0.8) if cell.method == "a" else (50, 0.4)
        figures = {"consistent": 1.0, "train_seconds": speed + rng.random(), "saturation": pale + 0.01 * rng.random()}
        finish(cell, figures, rng.integers(255, size=(8, 4, 4, 3), dtype=np.uint8))
    return analysed(comparison)


def test_verdicts(done):
    words = {verdict.claim.says: verdict.word for verdict in done.verdicts}
    assert words == {
        "b is faster": "reproduced",
        "b is more saturated": "not reproduced",
        "as often right": "undecided",
        "at least 40 %": "reproduced",
        "at least 85 %": "undecided",
        "at most 5 %": "not reproduced",
        "nobody knows": "undecided",
    }


def test_few_runs_prove_nothing(comparison):
    for cell in comparison.cells[:3] + comparison.cells[12:15]:
        finish(cell, {"train_seconds": 10.0 if cell.method == "b" else 90.0 + cell.seed})
    assert {verdict.word for verdict in analysed(comparison).verdicts} == {"undecided"}


def test_one_run_reaches_no_threshold_and_what_is_not_finite_is_left_out(comparison):
    claim = {"says": "s", "source": "s", "metric": "saturation", "method": "a", "at_least": 0.3}
    comparison = replace(comparison, config=replace(comparison.config, claims=(Claim(**claim),)))
    finish(comparison.cells[0], {"saturation": 0.4, "train_seconds": float("nan")})
    found = analysed(comparison)
    assert [verdict.word for verdict in found.verdicts] == ["undecided"]
    assert found.values("a", "train_seconds") == {} and "object_seconds" not in found.figures[comparison.cells[0]]
    told = "\n".join(found.warnings)
    assert (
        "1 runs have figures that are not finite numbers" in told
        and "No run has a figure for: Consistent, %, Seconds" in told
    )


def test_the_best_are_highest_or_lowest_as_the_metric_has_it(comparison):
    for cell in comparison.cells:
        good = cell.method == "b"
        finish(cell, {"consistent": float(good), "train_seconds": 10.0 if good else 90.0, "saturation": 0.5})
    best = analysed(comparison).best
    assert (best["consistent"], best["train_seconds"], best["saturation"]) == ({"b"}, {"b"}, frozenset())


def test_seconds_are_those_of_one_of_the_particles(comparison):
    finish(comparison.cells[0], {"train_seconds": 90.0})
    for k in range(3):
        (comparison.cells[0].job.folder / f"particle-{k}").mkdir()
    assert analysed(comparison).figures[comparison.cells[0]]["object_seconds"] == 30.0


def test_the_best_is_bold_and_what_differs_is_marked(done):
    row = next(line for line in tables.markdown(done).splitlines() if line.startswith("| b |"))
    assert re.fullmatch(r"\| b \| 11 \| \*\*100\*\* \[54, 100\] \| 0\.4\d ± 0\.00† \| \*\*5\d\*\* ± 0† \|", row), row
    row = next(line for line in tables.latex(done).splitlines() if line.startswith("b &"))
    assert re.fullmatch(
        r"b & 11 & \\textbf\{100\} \[54, 100\] & 0\.4\d \$\\pm\$ 0\.00\$\^\\dagger\$ & "
        r"\\textbf\{5\d\} \$\\pm\$ 0\$\^\\dagger\$ \\\\",
        row,
    ), row


def test_every_file_is_read_and_every_interval_computed_once(done, monkeypatch):
    """Three formats, three figures and seven claims take one pass over the files, and one over the numbers."""
    files, computed, comparison = Counter(), Counter(), done.comparison

    def count(module, name, counter, key):
        original = getattr(module, name)

        def counted(first, *rest, **keywords):
            counter[key(first)] += 1
            return original(first, *rest, **keywords)

        monkeypatch.setattr(module, name, counted)

    count(jobs, "read_map", files, str)
    count(records, "read_yaml", files, str)
    for name in ("interval", "rate", "difference"):
        count(statistics, name, computed, lambda _, name=name: name)
    list(report.write(analysed(comparison), comparison.folder))
    read = {f"{cell.job.folder}/{name}" for cell in comparison.cells for name in ("metrics.json", "config.yaml")}
    assert set(files) == read | {f"{cell.job.folder}/sweep.json" for cell in comparison.cells}
    assert set(files.values()) == {1}
    # a pair of methods on 3 metrics and, the other way round, in 3 claims; 2 methods on 2 metrics, and a rate
    assert computed == {"difference": 3 + 3, "interval": 2 * 2 + 3 + 3, "rate": 2}


def test_a_package_that_reports_need_is_named(done, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UserError, match=r"needs jinja2: pip install -e \"\.\[report\]\""):
        list(report.write(done, done.comparison.folder))


def test_latex_is_escaped():
    assert tables.tex("50 % of a_dog & $x$ {\\}") == r"50 \% of a\_dog \& \$x\$ \{\textbackslash{}\}"


def test_every_number_can_be_traced(done):
    rows = list(csv.DictReader(io.StringIO(tables.results(done))))
    assert len(rows) == 24 and {row["revision"] for row in rows[:-1]} == {REVISION}
    for row, cell in zip(rows, done.comparison.cells, strict=True):
        assert (row["prompt"], row["config"], row["folder"]) == (cell.prompt, "dreamfusion", str(cell.job.folder))
        assert row["status"] != "done" or float(row["train_seconds"]) == cell.job.read().metrics["train_seconds"]
    assert rows[-1]["status"] == "failed" and rows[-1]["reason"] == "the loss <is> nan | & 5 %"
    means = [float(row["train_seconds"]) for row in rows if row["method"] == "a"]
    assert done.intervals["a", "train_seconds"].mean == pytest.approx(np.mean(means))


def test_the_report_is_one_page_that_needs_nothing_else(done):
    folder = done.comparison.folder
    written = {path.name for path in report.write(done, folder)}
    assert written == {"results.csv", "tests.csv", "table.tex", "report.md", "report.html"}
    assert {path.name for path in (folder / "figures").iterdir()} == {
        f"{name}.{kind}" for name in ("means", "cost", "gallery") for kind in ("pdf", "png")
    }
    page = (folder / "report.html").read_text()
    assert not re.findall(r"src=\"(?!data:)", page) and "@import" not in page and page.count("<script") == 3
    for link in re.findall(r"href=\"([^\"]+)", page):
        assert (folder / unquote(link)).exists(), link
    assert "50 % of a_dog &amp; $x$ | &lt;b&gt;cat&lt;/b&gt;" in page and "ред 🐶" in page
    assert "the loss &lt;is&gt; nan" in page
    assert page.count("data:image/webp") == 12 and "not reproduced" in page, "a sheet of each run of the first seed"
    for cell in done.comparison.cells:
        assert str(cell.job.folder) in page


@pytest.mark.parametrize("count", [1, 5, 6, 11, 13])
def test_a_panel_is_drawn_for_any_number_of_metrics(done, monkeypatch, count):
    found = [name for name in done.metrics if ("a", name) in done.intervals][:1] * count
    monkeypatch.setattr(type(done), "metrics", found)
    drawn = figures.means(done)
    assert sum(axes.axison for axes in drawn.axes) == count


def test_an_empty_report_says_so(comparison):
    assert "24 of 24 runs are still to be done" in tables.markdown(analysed(comparison))
    list(report.write(analysed(comparison), comparison.folder))


def test_runs_of_several_revisions_and_unreadable_records_are_told(comparison):
    finish(comparison.cells[0], {"consistent": 1.0})
    finish(comparison.cells[1], {"consistent": 1.0}, revision="f" * 40 + "+")
    finish(comparison.cells[2], {"consistent": 1.0})
    (comparison.cells[2].job.folder / "config.yaml").write_text("steps: [half a fi")
    told = "\n".join(analysed(comparison).warnings)
    assert "1 at 0000000000; 1 at ffffffffff+; 1 at unknown" in told and "A + behind a revision" in told
    (comparison.cells[0].job.folder / "metrics.json").write_text('{"status": "do')
    assert comparison.cells[0].job.read().status == "waiting" and "22 of 24" in "\n".join(analysed(comparison).warnings)


def test_tests_are_adjusted_together_and_decided_at_one_in_twenty(comparison):
    """Three methods on six prompts: each pair's p of 2 / 2^6 = 0.031 becomes 0.094 by Holm; alone it would do."""
    plain = {
        "prompts": PROMPTS,
        "seeds": [0],
        "metrics": ["train_seconds"],
        "title": "three",
        "out": str(comparison.folder / "three"),
        "methods": {name: {"config": "dreamfusion", "keys": {"steps": 3 + i}} for i, name in enumerate("abc")},
    }
    three = parse_comparison(plain, "test")
    for cell in three.cells:
        finish(cell, {"train_seconds": {"a": 10.0, "b": 20.0, "c": 40.0}[cell.method] + PROMPTS.index(cell.prompt)})
    tests = analysed(three).tests
    assert [test.p for test in tests] == pytest.approx([3 / 32] * 3)


def test_five_prompts_decide_nothing_between_two_methods(comparison):
    """The lowest p that five prompts can have is 2 / 2^5 = 0.0625."""
    for cell in comparison.cells:
        if cell.prompt != PROMPTS[-1]:
            finish(cell, {"train_seconds": 10.0 if cell.method == "b" else 90.0 + cell.seed})
    verdicts = {verdict.claim.says: verdict.word for verdict in analysed(comparison).verdicts}
    assert verdicts["b is faster"] == "undecided"
