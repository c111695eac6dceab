"""What is installed and published: the licence is named, imports are declared, nothing is POSIX-only without need."""

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CARDS = sorted((ROOT / "priors/weights").glob("*/README.md"))
OURS = ("threestudio_like", "priors", "systems")
PLUGINS = {"imageio-ffmpeg", "tensorboard"}
"""Requirements that only other libraries import."""
POSIX = ("fcntl", "resource", "pwd", "grp", "termios")
MODULES_OF = {name: name for name in ("triton", "rembg", "psutil", "wandb")}
"""Modules of optional requirements that need not be installed here, and the requirements' names."""


def test_the_licence_is_whole_and_named():
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence and "END OF TERMS AND CONDITIONS" in licence
    assert 'license="Apache-2.0"' in (ROOT / "setup.py").read_text(encoding="utf-8")
    assert "[Apache-2.0](LICENSE)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_every_model_card_names_the_licence(card):
    assert card.read_text(encoding="utf-8").startswith("---\nlicense: apache-2.0\n---\n")


def sources():
    return [ROOT / "launch.py", *(path for package in OURS for path in sorted((ROOT / package).rglob("*.py")))]


def imported(tree: ast.AST) -> set[str]:
    """Names the packages that a syntax tree imports, at its top or within functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found


def declared(monkeypatch) -> tuple[set[str], set[str]]:
    """Runs `setup.py` with a `setup` that keeps what it is given: the names required, and those of the extras."""
    given = {}
    monkeypatch.setattr("setuptools.setup", lambda **keys: given.update(keys))
    monkeypatch.chdir(ROOT)
    exec(compile((ROOT / "setup.py").read_text(encoding="utf-8"), "setup.py", "exec"), {"__file__": "setup.py"})

    def names(requirements):
        return {re.match(r"[\w-]+", line)[0].lower().replace("_", "-") for line in requirements}

    extras = {extra: names(lines) for extra, lines in given["extras_require"].items()}
    return names(given["install_requires"]), set().union(*(extras[extra] for extra in extras if extra != "test"))


def test_every_import_is_declared_and_every_requirement_imported(monkeypatch):
    required, optional = declared(monkeypatch)
    distributions = packages_distributions()
    roots = set().union(*(imported(ast.parse(path.read_text(encoding="utf-8"))) for path in sources()))
    outside = roots - set(OURS) - sys.stdlib_module_names - {"launch"}
    used = {}
    for root in outside:
        names = {name.lower().replace("_", "-") for name in distributions.get(root, [MODULES_OF.get(root, root)])}
        used[root] = names & (required | optional)
        assert used[root], f"{root} is imported, but setup.py declares none of {sorted(names)}"
    assert required - PLUGINS - set().union(*used.values()) == set(), "required, but imported nowhere"


def guarded(tree: ast.AST) -> set[str]:
    """Names the packages whose import is tried, with something else to do where it fails."""
    tries = [node for node in ast.walk(tree) if isinstance(node, ast.Try)]
    caught = [t for t in tries if any("ImportError" in ast.unparse(h.type or ast.Constant("")) for h in t.handlers)]
    return set().union(*(imported(ast.Module(t.body, [])) for t in caught))


def test_posix_modules_are_imported_with_something_to_do_without_them():
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not (imported(tree) & set(POSIX)) - guarded(tree), path


HIDDEN = f"""
import builtins, importlib, importlib.util, pkgutil
original = builtins.__import__

def without_posix(name, globals=None, *rest, **keys):
    if name in {POSIX} and (globals or {{}}).get("__name__", "").partition(".")[0] in {OURS}:
        raise ModuleNotFoundError(f"No module named '{{name}}'")
    return original(name, globals, *rest, **keys)

builtins.__import__ = without_posix
for package in {OURS}:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if module.name.endswith(".cuda") and importlib.util.find_spec("triton") is None:
            continue
        importlib.import_module(module.name)
import launch
"""


@pytest.mark.slow
def test_everything_is_imported_where_posix_modules_are_missing():
    done = subprocess.run([sys.executable, "-c", HIDDEN], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
