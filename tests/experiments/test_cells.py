"""Texts in reports stay texts: neither a spreadsheet computes them, nor does a browser run them."""

import pytest

from threestudio_like.experiments.cells import guarded, unguarded, without_html


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "\t=1", "'quoted"])
def test_a_formula_becomes_a_text_and_is_read_back(text):
    cell = guarded(text)
    assert isinstance(cell, str) and cell[0] == "'" and unguarded(cell) == text


@pytest.mark.parametrize("cell", ["a red dog", "-1", "-0.5", "1e-05", "-1.2e-05", 3, None, ""])
def test_what_computes_nothing_stays(cell):
    assert guarded(cell) == cell


def test_raw_html_is_shown_as_it_is_written():
    assert without_html("<script>alert(1)</script> p < 0.05") == "\\<script>alert(1)\\</script> p < 0.05"
