"""The gallery: all toys, none chosen, each method's row from its own run, and the truth beside."""

import numpy as np
from PIL import Image

from benchmarks import gallery
from benchmarks.first_picture import BACKGROUND, LABELS, MARGIN, without_margins
from threestudio_like.config.loading import load
from threestudio_like.data.toybox.catalogue import CATEGORIES, COLORS, caption
from threestudio_like.experiments.comparison import parse_comparison

SIZE, HEAD = 16, 54


def comparison(tmp_path):
    return parse_comparison(load("comparisons/gallery.yaml") | {"out": str(tmp_path / "report")}, "gallery")


def test_every_toy_is_in_it_in_the_next_color(tmp_path):
    expected = [caption(category, list(COLORS)[i % len(COLORS)]) for i, category in enumerate(CATEGORIES)]
    assert list(comparison(tmp_path).config.prompts) == expected


def test_a_sheet_shows_the_truth_and_each_run(tmp_path):
    found = comparison(tmp_path)
    cell = next(cell for cell in found.cells if (cell.prompt, cell.method) == ("a blue lamp", "SweetDreamer"))
    cell.job.folder.mkdir(parents=True)
    Image.new("RGB", (64, 16), (255, 0, 0)).save(cell.job.folder / "turntable.png")
    pixels = np.asarray(gallery.sheet(found, "a blue lamp", SIZE))[HEAD:, LABELS:]
    rows = dict(zip(["truth", *found.methods], np.split(pixels, 1 + len(found.methods)), strict=True))
    assert (rows["SweetDreamer"] == (255, 0, 0)).all()
    assert (rows["DreamFusion"] == BACKGROUND).all()  # there is no such run
    colored, bare = np.split(rows["truth"].astype(int), 2)
    blue = colored[..., 2] - colored[..., 0] > 60
    assert 0.05 < blue.mean() < 0.6
    assert np.ptp(bare, axis=-1).max() < 3


def test_all_rows_are_cut_alike_and_never_beyond_the_picture():
    rows = {name: Image.new("RGB", (64, 40), BACKGROUND) for name in "ab"}
    rows["a"].paste((255, 0, 0), (8, 20, 16, 24))
    rows["b"].paste((255, 0, 0), (8, 20, 16, 22))
    assert without_margins(rows)["b"].size == (64, 4 + 2 * MARGIN)
    rows["b"].paste((0, 0, 0), (8, 2, 16, 40))  # down to the lower edge
    cut = without_margins(rows)
    assert cut["a"].size == cut["b"].size == (64, 40)
    assert (np.asarray(cut["a"])[0] == BACKGROUND).all() and (np.asarray(cut["a"])[-1] == BACKGROUND).all()


def test_the_page_shows_all(tmp_path):
    page = gallery.page(comparison(tmp_path))
    assert page.count(".webp)") == len(CATEGORIES) and "(a-green-robot.webp)" in page
