"""A gallery's page without a browser: which runs are in it, what it says of them, and that texts stay texts."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import imageio.v3 as iio
import numpy as np
import pytest

import launch
from tests.experiments.gallery.made_up import ball, finish, strip
from threestudio_like.errors import UserError
from threestudio_like.experiments import gallery
from threestudio_like.experiments.gallery import cards
from threestudio_like.experiments.gallery.runs import find_runs

PROMPT = '"><script>alert(1)</script> & ${not} {{ 7 * 7 }} <b>ред 🐶'


class Page(HTMLParser):
    """The cards of a page as a browser's parser sees them."""

    def __init__(self, path: Path):
        super().__init__()
        self.cards, self.links, self.sources, self.text, self.scripts, self.tags = [], [], [], [], 0, []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        if tag == "article":
            self.cards.append(given | {"own": json.loads(given["data-card"]), "links": []})
        if "href" in given:
            self.links.append(given["href"])
            self.cards[-1]["links"].append(given["href"])
        if given.get("src"):
            self.sources.append(given["src"])
        self.scripts += tag == "script"

    def handle_data(self, data):
        self.text.append(data)


def written(folder: Path) -> Page:
    gallery.write(folder, folder / "gallery.html")
    return Page(folder / "gallery.html")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Runs of two recipes, one with odd letters, one that failed, one whose mesh is gone, and objects of one pass."""
    folder = tmp_path_factory.mktemp("all") / "outputs"
    finish(folder / "dreamfusion/red", mesh=ball(), color_correct=1.0, train_seconds=90.25, mesh_faces=1280)
    finish(folder / "dreamfusion/#1 ?", PROMPT, seed=3, mesh=ball(), train_seconds=30, saturation=float("nan"))
    finish(folder / "fantasia3d/gone", "a mug", "fantasia3d", mesh_faces=12.0, train_seconds=60, steps=True)
    finish(folder / "fantasia3d/failed", "a cup", "fantasia3d", status="failed", reason="the loss <i>is</i> nan")
    made = finish(folder / "geco/two", "", "geco", asked={"image": "docs/a cat.png"}, status="some failed", psnr=3)
    for seed in (0, 1):
        (made / f"cat-{seed}").mkdir()
        iio.imwrite(made / f"cat-{seed}/turntable.png", strip((9, 90, 9)))
        (made / f"cat-{seed}/metrics.json").write_text(json.dumps({"total_seconds": 0.25 + seed}))
    (folder / "notes").mkdir()
    (folder / "notes/config.yaml").write_text("of: somebody else\n")
    return folder


@pytest.fixture(scope="module")
def page(runs) -> Page:
    return written(runs)


def card(page: Page, folder: str) -> dict:
    return next(one for one in page.cards if one["data-folder"] == folder)


def test_all_runs_are_found_and_nothing_else(runs):
    found = [path.relative_to(runs).as_posix() for path in find_runs(runs)]
    assert found == ["dreamfusion/#1 ?", "dreamfusion/red", "fantasia3d/failed", "fantasia3d/gone", "geco/two"]


def test_a_card_says_what_its_run_was_and_measured(page):
    red = card(page, "dreamfusion/red")
    assert (red["data-title"], red["data-method"], red["data-status"]) == ("a red chair", "dreamfusion", "done")
    figures = {"color_correct": [1.0, "100"], "train_seconds": [90.25, "90"], "mesh_faces": [1280.0, "1280"]}
    assert red["own"]["figures"] == figures
    assert card(page, "fantasia3d/failed")["own"]["figures"] == {}, "of a run that failed nothing is a result"
    assert list(card(page, "fantasia3d/gone")["own"]["figures"]) == ["mesh_faces", "train_seconds"]


def test_each_object_of_one_pass_has_its_card(page):
    made = [one for one in page.cards if one["data-method"] == "geco"]
    assert [one["data-folder"] for one in made] == ["geco/two/cat-0", "geco/two/cat-1"]
    assert {one["data-title"] for one in made} == {"a cat.png"} and {one["data-status"] for one in made} == {"done"}
    assert [one["own"]["figures"]["total_seconds"][0] for one in made] == [0.25, 1.25]


def test_texts_of_users_stay_texts(page, runs):
    assert card(page, "dreamfusion/#1 ?")["data-title"] == PROMPT
    assert PROMPT in "".join(page.text) and "the loss <i>is</i> nan" in "".join(page.text)
    content = (runs / "gallery.html").read_text(encoding="utf-8")
    assert "<script>alert" not in content
    meshes = content.count('<script type="text/plain" class="mesh">')
    assert page.scripts == 4 + meshes and meshes == 2, "the figures' data, three scripts, and each mesh"


def test_a_mesh_that_is_gone_is_told_and_the_rest_is_there(page):
    text = " ".join(page.text)
    assert text.count("The mesh is gone.") == 1 and len(page.cards) == 6


def test_links_lead_to_the_whole_files(page, runs):
    assert "dreamfusion/red/mesh.glb" in page.links
    for link in page.links:
        assert (runs / unquote(link)).exists() and not re.match(r"[a-z]+:|/", link), link


def test_the_page_asks_for_nothing(page, runs):
    assert all(source.startswith("data:image/webp;base64,") for source in page.sources) and len(page.sources) == 6
    assert not {"link", "iframe", "object", "base", "video"} & set(page.tags)
    content = (runs / "gallery.html").read_text(encoding="utf-8")
    assert "@import" not in content and "url(" not in content.split("<body>")[0] and "fetch(" not in own_scripts()


def own_scripts() -> str:
    folder = Path(gallery.__file__).parent
    return "".join((folder / name).read_text(encoding="utf-8") for name in ("cards.js", "gallery.js"))


def test_filters_and_orders_are_those_of_the_runs(runs):
    content = (runs / "gallery.html").read_text(encoding="utf-8")
    found = re.findall(r'name="(method|status)" value="([^"]+)">[^<]+<small>(\d+)', content)
    assert found == [
        ("method", "dreamfusion", "2"),
        ("method", "fantasia3d", "2"),
        ("method", "geco", "2"),
        ("status", "done", "5"),
        ("status", "failed", "1"),
    ]
    ordered = re.findall(r'<option value="(\w+)">', content)
    assert ordered == ["folder", "title", "newest", "color_correct", "mesh_faces", "train_seconds", "total_seconds"]


def test_a_killed_runs_preview_is_shown(tmp_path):
    folder = finish(tmp_path / "cut", status="running")
    (folder / "turntable.png").unlink()
    (folder / "previews").mkdir()
    iio.imwrite(folder / "previews/main-000100.png", np.full((8, 8, 3), 77, np.uint8))
    page = written(tmp_path)
    assert page.cards[0]["data-status"] == "interrupted" and len(page.sources) == 1


def test_a_run_that_never_began_says_why(tmp_path):
    (tmp_path / "sweep/one").mkdir(parents=True)
    (tmp_path / "sweep/one/sweep.json").write_text(json.dumps({"attempts": 1, "reason": "no <memory>"}))
    page = written(tmp_path)
    assert page.cards[0]["data-status"] == "failed" and "no <memory>" in "".join(page.text)


def test_an_earlier_run_is_named_by_its_folder_or_its_system(tmp_path):
    finish(tmp_path / "sweetdreamer/one", recipe="")
    finish(tmp_path / "tries/two", recipe="")
    assert [one["data-method"] for one in written(tmp_path).cards] == ["sweetdreamer", "dreamfusion"]


def test_damaged_records_are_runs_all_the_same(tmp_path):
    folder = finish(tmp_path / "run")
    (folder / "config.yaml").write_text("git_revision: x\nprompt: [half a fi")
    (folder / "metrics.json").write_text('{"status": "do')
    page = written(tmp_path)
    assert (page.cards[0]["data-title"], page.cards[0]["data-status"]) == ("run", "waiting")


@pytest.mark.parametrize("make, says", [(False, "there is no folder"), (True, "there are no runs in")])
def test_a_folder_without_runs_is_a_sentence(tmp_path, capsys, make, says):
    if make:
        (tmp_path / "empty").mkdir()
    assert launch.main(["--gallery", str(tmp_path / "empty")]) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.rglob("*.html"))


def test_the_launcher_prints_the_page(tmp_path, capsys):
    finish(tmp_path / "outputs/run")
    page = tmp_path / "shown/all.html"
    assert launch.main(["--gallery", str(tmp_path / "outputs"), f"out={page}"]) == 0
    assert capsys.readouterr().out.strip() == str(page)
    assert Page(page).cards[0]["data-folder"] == "../outputs/run"


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_simplification", None)
    with pytest.raises(UserError, match=r"--gallery needs fast-simplification: pip install -e \"\.\[report\]\""):
        gallery.write(tmp_path, tmp_path / "gallery.html")


@pytest.mark.parametrize("count", [1, 24, 25, 100, 250, 500, 501, 2000])
def test_a_page_of_any_number_stays_under_40_megabytes(count):
    """The most that the cards can weigh: sheets as large as they may be, and meshes of all their faces."""
    size = cards.size_for(count)
    assert size.sheet_bytes > 4000 and size.faces >= 100
    most = count * 4 / 3 * (size.sheet_bytes + size.faces * cards.FACE_BYTES)
    assert most <= 36 * 1024**2 * 1.001


def test_sizes_shrink_with_the_number():
    sizes = [cards.size_for(count) for count in (10, 50, 200, 400, 600, 1500)]
    for what in ("frames", "pixels", "faces"):
        values = [getattr(size, what) for size in sizes]
        assert values == sorted(values, reverse=True), what


@pytest.mark.slow
def test_five_hundred_runs(tmp_path):
    """Each with eight noisy views and a mesh of 5,120 faces, which is more than the page carries."""
    rng, mesh = np.random.default_rng(0), ball(4)
    first = finish(tmp_path / "outputs/run-0", mesh=mesh, train_seconds=1)
    iio.imwrite(first / "turntable.png", rng.integers(255, size=(256, 1024, 3), dtype=np.uint8))
    for i in range(1, 500):
        folder = finish(tmp_path / f"outputs/run-{i}", f"prompt {i}", train_seconds=i)
        for name in ("mesh.glb", "turntable.png"):
            (folder / name).unlink(missing_ok=True)
            (folder / name).hardlink_to(first / name)
    page = written(tmp_path / "outputs")
    assert len(page.cards) == 500
    assert (tmp_path / "outputs/gallery.html").stat().st_size < 40e6


def test_the_bundle_is_three_js_with_its_licence():
    folder = Path(gallery.__file__).parent / "three"
    bundle = (folder / "three.min.js").read_text(encoding="utf-8")
    assert len(bundle) < 700_000 and "SPDX-License-Identifier: MIT" in bundle
    assert "</script" not in bundle.lower() and "<!--" not in bundle
    licence = (folder / "LICENSE").read_text(encoding="utf-8")
    assert "The MIT License" in licence and "three.js authors" in licence
