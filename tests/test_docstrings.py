"""Reads the docstrings from the source: each is there, is a plain sentence, and every field of a config has a line.

A function's docstring begins with a verb in the third person ("Returns ...", "Draws ..."); that of a module, class or
property may name the thing instead. The first paragraph ends in a full stop. The rule finds sentences without a subject
("Of a file's bytes.", "In 0..1.", "Those of them that there are.").
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("threestudio_like", "priors", "systems", "benchmarks", "launch.py")
PREPOSITIONS = [
    "about",
    "above",
    "across",
    "after",
    "against",
    "along",
    "among",
    "around",
    "as",
    "at",
    "because",
    "before",
    "behind",
    "below",
    "beneath",
    "beside",
    "between",
    "beyond",
    "by",
    "down",
    "during",
    "for",
    "from",
    "if",
    "in",
    "inside",
    "into",
    "like",
    "near",
    "of",
    "off",
    "on",
    "onto",
    "out",
    "outside",
    "over",
    "since",
    "than",
    "through",
    "to",
    "towards",
    "under",
    "until",
    "up",
    "upon",
    "via",
    "when",
    "while",
    "with",
    "within",
    "without",
]
QUESTIONS = [
    "how",
    "what",
    "whatever",
    "when",
    "where",
    "wherever",
    "which",
    "whichever",
    "who",
    "whoever",
    "whom",
    "whose",
    "why",
]
PRONOUNS = [
    "also",
    "and",
    "but",
    "here",
    "hers",
    "his",
    "it",
    "its",
    "itself",
    "not",
    "now",
    "only",
    "or",
    "so",
    "such",
    "that",
    "their",
    "them",
    "themselves",
    "then",
    "there",
    "these",
    "they",
    "this",
    "those",
]
NO_BEGINNING = {*PREPOSITIONS, *QUESTIONS, *PRONOUNS}
NO_VERBS = [
    "axes",
    "bytes",
    "cameras",
    "captions",
    "colors",
    "colours",
    "coordinates",
    "corners",
    "directions",
    "distances",
    "edges",
    "embeddings",
    "faces",
    "features",
    "gradients",
    "images",
    "indices",
    "matrices",
    "meshes",
    "normals",
    "objects",
    "offsets",
    "pixels",
    "planes",
    "points",
    "positions",
    "quads",
    "rays",
    "rotations",
    "rows",
    "seconds",
    "sizes",
    "texts",
    "tokens",
    "triangles",
    "units",
    "values",
    "vectors",
    "vertices",
    "voxels",
    "weights",
    "words",
]
"""Plurals, which end as verbs in the third person do."""
CLASSES_OF_OTHERS = {
    "Module": {"forward"},
    "Function": {"forward", "backward"},
    "ConfigMixin": set(),
    "Dataset": {"__getitem__"},
    "HTMLParser": {"handle_starttag", "handle_data"},
    "Formatter": {"format"},
    "Handler": {"emit"},
}
"""Bases from elsewhere, and their documented methods that ours override."""


@dataclass(frozen=True)
class Thing:
    """A module, class, function or method: where it stands, and what it is called in a message."""

    name: str
    kind: str
    node: ast.AST

    @property
    def docstring(self) -> str | None:
        return ast.get_docstring(self.node)


def files() -> list[Path]:
    """All source files that others read."""
    return sorted(
        path for room in ROOMS for path in ([ROOT / room] if room.endswith(".py") else (ROOT / room).rglob("*.py"))
    )


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files()}


def called(node: ast.expr) -> str:
    """The last name of `a.b[c](d)`: b."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def documented_methods() -> dict[str, tuple[list[str], set[str]]]:
    """For every class: the names of its bases, and of its methods that have a docstring."""
    classes = {name: ([], methods) for name, methods in CLASSES_OF_OTHERS.items()}
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                methods = [
                    child for child in node.body if isinstance(child, ast.FunctionDef) and ast.get_docstring(child)
                ]
                bases, names = classes.setdefault(node.name, ([], set()))
                bases += [called(base) for base in node.bases]
                names |= {method.name for method in methods}
    return classes


CLASSES = documented_methods()


def inherited(bases: list[str], reached: frozenset[str] = frozenset()) -> set[str]:
    """The methods that these bases, or theirs, document."""
    found = set()
    for base in bases:
        if base in CLASSES and base not in reached:
            above, methods = CLASSES[base]
            found |= methods | inherited(above, reached | {base})
    return found


def things(path: Path) -> Iterator[Thing]:
    """All that a file shows to others: names without an underscore, but for what stands inside functions."""
    place = path.relative_to(ROOT).as_posix()
    yield Thing(place, "module", TREES[path])
    yield from members(place, TREES[path], set())


def members(place: str, parent: ast.AST, known: set[str]) -> Iterator[Thing]:
    for node in parent.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_") or node.name in known:
            continue
        name = f"{place}:{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef):
            yield Thing(name, "class", node)
            yield from members(f"{place}", node, inherited([called(base) for base in node.bases]))
        else:
            decorators = {called(decorator) for decorator in node.decorator_list}
            if not decorators & {"setter", "overload"}:
                yield Thing(name, "property" if decorators & {"property", "cached_property"} else "function", node)


def mistakes(thing: Thing) -> list[str]:
    """Each a sentence about one thing's docstring."""
    if thing.docstring is None:
        return [] if is_bare_config(thing.node) or is_main(thing.node) else [f"{thing.name} has no docstring"]
    paragraph = " ".join(thing.docstring.partition("\n\n")[0].split())
    word = paragraph.split(" ")[0].strip("`,.:;*").lower()
    found = []
    if word in NO_BEGINNING or paragraph.lower().startswith("the same "):
        found.append(f"{thing.name} begins with '{paragraph.split(' ')[0]}': \"{paragraph[:60]}\"")
    elif thing.kind == "function" and (not word.endswith("s") or word in NO_VERBS):
        found.append(f'{thing.name} does not begin with a verb in the third person: "{paragraph[:60]}"')
    if not paragraph.endswith((".", ":", "`", "?", "!")):
        found.append(f'{thing.name} does not end its first paragraph in a full stop: "{paragraph[-60:]}"')
    return found


def is_config(node: ast.AST) -> bool:
    """A dataclass called `Config` or `...Config`."""
    decorators = {called(decorator) for decorator in getattr(node, "decorator_list", [])}
    return isinstance(node, ast.ClassDef) and node.name.endswith("Config") and "dataclass" in decorators


def is_main(node: ast.AST) -> bool:
    """The `main` of a script, which the script's own docstring describes."""
    return isinstance(node, ast.FunctionDef) and node.name == "main"


def is_bare_config(node: ast.AST) -> bool:
    """A class `Config` inside of what it configures needs no words but its fields'."""
    return is_config(node) and node.name == "Config"


def silent_fields(node: ast.ClassDef) -> Iterator[str]:
    """The fields of a dataclass with no string under them."""
    for i, child in enumerate(node.body):
        if isinstance(child, ast.AnnAssign) and not child.target.id.startswith("_"):
            below = node.body[i + 1] if i + 1 < len(node.body) else None
            said = isinstance(below, ast.Expr) and isinstance(getattr(below.value, "value", None), str)
            if not said and called(child.annotation) != "ClassVar":
                yield child.target.id


@pytest.mark.parametrize("path", TREES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_are_plain_sentences(path):
    wrong = [mistake for thing in things(path) for mistake in mistakes(thing)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", TREES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_field_of_a_config_has_a_line(path):
    configs = [node for node in ast.walk(TREES[path]) if is_config(node)]
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}.{name}" for node in configs for name in silent_fields(node)
    ]
    assert not wrong, "fields with no string under them:\n" + "\n".join(wrong)
