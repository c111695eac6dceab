"""Reads the README and the pages of docs/: what they link to, name and command exists and parses."""

import re
import shlex
import subprocess
import sys
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
import yaml

from threestudio_like.cli.arguments import read_arguments
from threestudio_like.cli.options import parser_for
from threestudio_like.cli.requests import CompareRequest, GenerateRequest, SweepRequest
from threestudio_like.cli.resolve import resolve
from threestudio_like.cli.without_recipe import ConvertRequest, DemoRequest, GalleryRequest, ViewRequest
from threestudio_like.config.loading import CONFIGS, is_comparison, load
from threestudio_like.config.recipe import RunConfig, parse_recipe
from threestudio_like.config.registry import registered
from threestudio_like.evaluate.metrics import known_metrics
from threestudio_like.experiments.comparison import parse_comparison
from threestudio_like.experiments.jobs import grid

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
REPORTS = sorted(DOCS.glob("reports/*/report.md"))
FRONT = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
MEASURED_AT = re.compile(r"(?<!\()revision `?([0-9a-f]{7,40})\b")
PAGES = [*FRONT, *sorted(set(DOCS.rglob("*.md")) - set(REPORTS))]
CARDS = sorted(ROOT.glob("priors/weights/*/README.md"))
ROOMS = ("benchmarks/", "configs/", "docs/", "priors/", "systems/", "tests/", "threestudio_like/")
PLACEHOLDERS = ("NAME", "FOLDER", "...", "[.yaml]")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def fenced(page: Path) -> list[str]:
    """The page's fenced blocks."""
    return re.findall(r"(?ms)^```[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"))


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))


def inline_code(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of the page's headings, as the site and GitHub name them."""
    headings = re.findall(r"(?m)^#+ (.+)$", prose(page))
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]+`", "", prose(page)))


def commands(page: Path, start: str) -> list[str]:
    """The commands of the page's blocks and inline code that begin so."""
    lines = [part for block in fenced(page) for line in block.splitlines() for part in line.split(" && ")]
    found = [text for text in (*lines, *inline_code(page)) if text.startswith(start)]
    return [text for text in found if not any(word in text for word in PLACEHOLDERS)]


@pytest.mark.parametrize("page", [*PAGES, *REPORTS, *CARDS], ids=name_of)
def test_links_lead_somewhere(page):
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{link}: there is no {target}"
        assert not anchor or anchor in anchors(target), f"{link}: {name_of(target)} has no such heading"


@pytest.mark.parametrize("page", [*PAGES, *CARDS], ids=name_of)
def test_named_files_exist(page):
    for text in inline_code(page):
        if re.fullmatch(r"[\w./*-]+", text) and text.startswith(ROOMS):
            assert any(ROOT.glob(text.rstrip("/"))) or any(CONFIGS.glob(text)), f"`{text}` is no file"
        elif re.fullmatch(r"[\w./*-]+\.yaml", text) and text != "config.yaml" and text != "mkdocs.yml":
            assert any(CONFIGS.glob(text)) or (page.parent / text).exists(), f"`{text}` is no recipe"


LAUNCHES = sorted({command for page in PAGES for command in commands(page, "python launch.py ")})


@pytest.mark.parametrize("command", LAUNCHES)
def test_launcher_commands_parse(command):
    words = shlex.split(command, comments=True)[2:]
    request = resolve(read_arguments(words, "launch.py"))
    if isinstance(request, ConvertRequest):
        return
    if isinstance(request, CompareRequest):
        parse_comparison(request.plain, request.path.stem, request.path.parent)
        return
    if isinstance(request, DemoRequest | GalleryRequest | ViewRequest):
        return
    parse_recipe(request.plain, request.name)
    if isinstance(request, SweepRequest):
        for job in grid(request.axes, Path("unused"), request.config, request.keys):
            parse_recipe(load(job.config, job.keys), request.name)
    if isinstance(request, GenerateRequest):
        assert all((ROOT / image).exists() for image in request.images)


@pytest.mark.parametrize("page", [DOCS / "recipes.md", DOCS / "comparisons.md"], ids=name_of)
def test_whole_examples_parse(page, tmp_path):
    examples = [block for block in fenced(page) if re.search(r"(?m)^(system|prompts):", block)]
    assert examples
    (tmp_path / "mine-sd.yaml").write_text("extends: dreamfusion-sd.yaml", encoding="utf-8")
    (tmp_path / "their-results").mkdir()
    (tmp_path / "their-results/a-red-chair-0.glb").touch()
    for text in examples:
        (tmp_path / "example.yaml").write_text(text, encoding="utf-8")
        plain = load(str(tmp_path / "example.yaml"))
        parse_comparison(plain, "example", tmp_path) if is_comparison(plain) else parse_recipe(plain, "example")


def test_there_are_commands_to_parse():
    assert len(LAUNCHES) > 20


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_benchmarks_and_extras_exist(page):
    for command in commands(page, "python benchmarks/"):
        assert (ROOT / command.split()[1]).is_file(), command
    extras = re.findall(r'(?m)^ +"(\w+)": [\[A-Z]', (ROOT / "setup.py").read_text(encoding="utf-8"))
    for extra in re.findall(r"pip install -e \"\.\[([a-z]+)\]\"", page.read_text(encoding="utf-8")):
        assert extra in extras, f"setup.py has no extra '{extra}'"


def table(page: Path, header: str) -> dict[str, str]:
    """The rows of the table under this header, the rest of each by its first cell."""
    rows = page.read_text(encoding="utf-8").split(header)[1].splitlines()[2:]
    cells = [row.strip("| ").split(" | ", 1) for row in rows[: next(i for i, row in enumerate(rows) if "|" not in row)]]
    return {cell[0]: cell[1] for cell in cells}


def test_parts_of_recipes_are_those_registered():
    for slot, types in table(DOCS / "recipes.md", "| slot | types |").items():
        slot = slot.split("`")[1]
        ours = {name for name in registered(slot) if not name.endswith("_for_tests")}
        assert set(re.findall(r"`(\w+)`", types)) == ours, slot


def test_metrics_named_are_metrics():
    for names in table(DOCS / "comparisons.md", "| metric | better | meaning |"):
        assert set(re.findall(r"`(\w+)`", names)) <= known_metrics().keys()


def test_the_launchers_page_names_every_option_and_run_key():
    page = DOCS / "launcher.md"
    options = {word.lstrip("-") for name in table(page, "| option | effect |") for word in re.findall(r"--\w+", name)}
    asked = {option.lstrip("-") for option in parser_for("")._option_string_actions if option.startswith("--")}
    assert options == asked - {"config"}
    keys = {key for names in table(page, "| key | meaning | default |") for key in re.findall(r"`(\w+)`", names)}
    assert keys == {field.name for field in fields(RunConfig)}


@pytest.mark.parametrize("page", sorted(DOCS.glob("reference/*.md")), ids=name_of)
def test_modules_of_the_reference_exist(page):
    for module in re.findall(r"(?m)^::: ([\w.]+)$", page.read_text(encoding="utf-8")):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), module


def test_every_page_has_a_place_in_the_navigation():
    def pages(node):
        if isinstance(node, str):
            return [node]
        return [page for part in (node.values() if isinstance(node, dict) else node) for page in pages(part)]

    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    named = {page for page in pages(nav) if not page.startswith("http")}
    assert named == {path.relative_to(DOCS).as_posix() for path in ({*PAGES, *REPORTS} - {*FRONT})}


def git(*words) -> subprocess.CompletedProcess:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)


def test_measurements_were_made_at_revisions_that_there_are():
    """Other projects' revisions stand beside their names, in brackets or links."""
    if git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        pytest.skip("a checkout without its history")
    named = {(page.name, found) for page in PAGES for found in re.findall(MEASURED_AT, page.read_text("utf-8"))}
    assert len(named) > 20
    assert not [one for one in named if git("cat-file", "-e", f"{one[1]}^{{commit}}").returncode]


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.slow
def test_the_site_builds_without_warnings():
    pytest.importorskip("zensical", reason='the site is built where `pip install -e ".[docs]"` was run')
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
