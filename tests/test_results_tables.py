"""The tables of results in the docs are those of the committed runs."""

import re
from pathlib import Path

import pytest

from benchmarks.results_tables import BLOCK, main

PAGE = "Before.\n\n<!-- table: quick metrics=consistent,frechet n=no -->\n{}<!-- end table -->\n\nAfter.\n"


def test_the_docs_are_up_to_date(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("page", ["results.md", "performance.md"])
def test_other_tables_name_their_command_and_revision(page):
    text = BLOCK.sub("", (Path(__file__).parents[1] / "docs" / page).read_text(encoding="utf-8"))
    sections = [section for section in re.split(r"(?m)^#+ ", text) if "\n|" in section]
    assert sections
    for section in sections:
        assert re.search(r"`python (benchmarks/|-m benchmarks\.|launch\.py)", section), section
        assert re.search(r"revision\s`[0-9a-f]{7}`", section), section


@pytest.mark.parametrize("before", ["| typed by hand |\n", ""])
def test_a_stale_table_is_told_and_then_filled(tmp_path, capsys, before):
    page = tmp_path / "page.md"
    page.write_text(PAGE.format(before))
    assert main(["--check", str(page)]) == 1 and "differs from its runs" in capsys.readouterr().out
    assert page.read_text() == PAGE.format(before)
    assert main([str(page)]) == 0 and main(["--check", str(page)]) == 0
    lines = page.read_text().splitlines()
    assert lines[3] == "| method | Consistent, % ↑ | Fréchet ↓ |" and lines[5].startswith("| DreamFusion | ")
    assert len(lines) == 13 and (lines[0], lines[-1]) == ("Before.", "After.")


@pytest.mark.parametrize(
    "comment, says",
    [
        ("<!-- table: quik -->\n<!-- end table -->", "no recipe 'comparisons/quik'"),
        ("<!-- table: quick metrics=consistnt -->\n<!-- end table -->", "did you mean 'consistent'"),
        ("<!-- table: quick columns=3 -->\n<!-- end table -->", "unknown option 'columns'"),
        ("<!-- table: quick -->\n| a |", "has no `<!-- end table -->`"),
    ],
)
def test_mistakes_in_a_comment_are_named(tmp_path, capsys, comment, says):
    (tmp_path / "page.md").write_text(comment + "\n")
    assert main([str(tmp_path / "page.md")]) == 2 and says in capsys.readouterr().err
