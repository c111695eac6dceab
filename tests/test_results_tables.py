"""The tables of results in the docs are those of the committed runs."""

import pytest

from benchmarks.results_tables import main

PAGE = "Before.\n\n<!-- table: quick metrics=consistent,frechet n=no -->\n{}<!-- end table -->\n\nAfter.\n"


def test_the_docs_are_up_to_date(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().out


def test_a_stale_table_is_told_and_then_filled(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(PAGE.format("| typed by hand |\n"))
    assert main(["--check", str(page)]) == 1 and "differs from its runs" in capsys.readouterr().out
    assert page.read_text() == PAGE.format("| typed by hand |\n")
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
