"""The mistakes that users make in recipes and command lines, drawn at random: each turns a case into another."""

import copy
import random
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from benchmarks.odd import BLOCKS, FROM_THREESTUDIO, HUGE, OPTIONS, OVERRIDES, SMALL, WORDS

Edit = Callable[[str], str | bytes]


@dataclass
class Case:
    """A recipe in a file, and a command line."""

    tree: dict
    keys: list[str] = field(default_factory=list)
    """`key=value` texts."""
    options: list[str] = field(default_factory=lambda: ["--check"])
    files: dict[str, bytes] = field(default_factory=dict)
    """Other files beside the recipe, by their names."""
    edits: list[Edit] = field(default_factory=list)
    """Changes of the recipe's text."""
    heavy: bool = False
    """Whether a number is so large that a run could rightly take long."""

    def recipe(self) -> bytes:
        """Writes the recipe."""
        written: Any = yaml.safe_dump(self.tree, sort_keys=False, allow_unicode=True)
        for edit in self.edits:
            written = edit(written) if isinstance(written, str) else written
        return written if isinstance(written, bytes) else written.encode(errors="surrogatepass")


Mutation = Callable[[random.Random, Case], None]


def places(node: Any) -> list[tuple[Any, Any]]:
    """Lists all places of a tree, each as its block or list and its key or index there."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    return [place for key in keys for place in [(node, key), *places(node[key])]]


def paths(node: Any, path: str = "") -> list[str]:
    """Lists the dotted paths of a tree's keys."""
    keys = node if isinstance(node, dict) else ()
    own = [(f"{path}.{key}".lstrip("."), node[key]) for key in keys]
    return [one for here, value in own for one in [here, *paths(value, here)]]


def value(rng: random.Random, case: Case) -> Any:
    """Draws a value of any type."""
    kind = rng.choice((WORDS, SMALL, HUGE, BLOCKS))
    case.heavy |= kind is HUGE
    return copy.deepcopy(rng.choice(kind))


def typo(rng: random.Random, name: str) -> str:
    """Misspells a name."""
    i, letter = rng.randrange(len(name) + 1), rng.choice([*string.ascii_lowercase, ".", " ", "-", "_", "é", ""])
    return name[:i] + letter + name[i + rng.randint(0, 1) :]


def wrong_value(rng: random.Random, case: Case) -> None:
    """Puts a value of any type somewhere."""
    block, key = rng.choice(places(case.tree))
    block[key] = value(rng, case)


def wrapped(rng: random.Random, case: Case) -> None:
    """Puts a value into a list, a block or a text, or takes it out of one."""
    block, key = rng.choice(places(case.tree))
    old = block[key]
    first = next(iter(old.values() if isinstance(old, dict) else old), None) if isinstance(old, dict | list) else None
    block[key] = rng.choice([[old], {"value": old}, {"type": old}, {0: old}, {key: old}, str(old), first])


def misspelt(rng: random.Random, case: Case) -> None:
    """Misspells a key, or a name that is a value."""
    block, key = rng.choice([place for place in places(case.tree) if isinstance(place[0], dict)] or [({"x": 1}, "x")])
    if isinstance(block[key], str) and rng.random() < 0.4:
        block[key] = typo(rng, block[key])
        return
    old, new = dict(block), typo(rng, str(key))
    block.clear()
    block.update({new if name == key else name: one for name, one in old.items()})


def removed(rng: random.Random, case: Case) -> None:
    """Removes a key or an item."""
    block, key = rng.choice(places(case.tree))
    block.pop(key)


def moved(rng: random.Random, case: Case) -> None:
    """Moves or copies a key into another block, or exchanges two values."""
    (block, key), (other, there) = rng.choice(places(case.tree)), rng.choice(places(case.tree))
    old = copy.deepcopy(block[key])
    if rng.random() < 0.4:
        block[key], other[there] = copy.deepcopy(other[there]), old
    elif isinstance(other[there], dict):
        other[there][key] = old
    elif isinstance(other, dict):
        other[key] = old


def foreign(rng: random.Random, case: Case) -> None:
    """Adds a key that threestudio has, at the top or in a block."""
    key = rng.choice(list(FROM_THREESTUDIO))
    block = rng.choice([case.tree, *[b[k] for b, k in places(case.tree) if isinstance(b[k], dict)]])
    block[key] = copy.deepcopy(FROM_THREESTUDIO[key])


def staged(rng: random.Random, case: Case) -> None:
    """Adds, removes, renames, empties or reorders stages."""
    stages = case.tree.setdefault("stages", {"main": {}})
    if not isinstance(stages, dict) or not stages:
        return
    name, odd_name = (
        rng.choice(list(stages)),
        rng.choice(["next", "", "a/b", "..", "../x", "main", 5, None, "a" * 300, "ä"]),
    )
    what = rng.randrange(6)
    if what == 0:
        stages[odd_name] = copy.deepcopy(stages[name])
    elif what == 1:
        stages[odd_name] = stages.pop(name)
    elif what == 2:
        starts: list[Any] = [{"init": {"stage": name}}, {"init": {"stage": "nope"}}, {"init": 1}]
        stages[name] = rng.choice([None, [], "x", 1, *starts])
    elif what == 3:
        stages.pop(name)
    elif what == 4:
        case.tree["stages"] = dict(reversed(stages.items()))
    else:
        case.tree["stages"] = rng.choice([list(stages), list(stages.values()), name, None, {}, {name: {"stages": {}}}])


def extended(rng: random.Random, case: Case) -> None:
    """Lets the recipe extend others: a part of itself, itself, what is not there, what is no name."""
    if rng.random() < 0.4:
        base: dict = {key: case.tree.pop(key) for key in rng.sample(list(case.tree), rng.randint(1, len(case.tree)))}
        base |= rng.choice([{}, {}, {"extends": "recipe.yaml"}, {"extends": "base"}, {"extends": "other.yaml"}])
        case.files["base.yaml"] = Case(base).recipe()
        case.tree["extends"] = rng.choice(["base", "base.yaml", ["base"], ["base", "base.yaml"]])
    else:
        others = ["backbones/toybox", ["dreamfusion"], "comparisons/quick", ["geco", "fantasia3d"], "recipe", "nope"]
        case.tree["extends"] = rng.choice([*others, "", ".", "..", "a" * 300, value(rng, case)])


def overridden(rng: random.Random, case: Case) -> None:
    """Adds a `key=value`: a wrong value, a misspelt key, or one that cannot be read."""
    path = rng.choice([*paths(case.tree), *paths(case.tree), "prompt", "out", "seed", "device", "imports", "vars"])
    what = rng.random()
    if what < 0.25:
        case.keys.append(rng.choice(OVERRIDES))
        return
    given = value(rng, case)
    text = yaml.safe_dump(given, default_flow_style=True, allow_unicode=True, width=10**6).removesuffix("...\n").strip()
    text = given if isinstance(given, str) and rng.random() < 0.5 else text
    case.keys.append(f"{typo(rng, path) if what < 0.4 else path}={text}")


def optioned(rng: random.Random, case: Case) -> None:
    """Gives an option beside `--check`, or in its place."""
    given = rng.choice(OPTIONS)
    alone = "--sweep" in given or rng.random() < 0.6
    case.options = [*([] if alone else case.options), *given]


def edited(rng: random.Random, case: Case) -> None:
    """Changes the recipe's text: what YAML knows and users meet."""
    case.edits.append(rng.choice((edited_line, edited_letter, edited_whole))(rng))


def edited_line(rng: random.Random) -> Edit:
    """Changes a line: indents or doubles it, or gives its value an anchor, a tag or a sign."""
    where, sign = (
        rng.random(),
        rng.choice(["", " \t", " !!set ", " !!binary ", " !!int ", " !!python/object/apply:os.getcwd "]),
    )
    value = rng.choice([sign, f" {rng.choice('#-[]{}&*!|>%@`')} ", " &a ", " *a "])
    before, twice = rng.choice(["", "", "", " ", "\t", "- ", "? "]), rng.random() < 0.2

    def edit(text: str) -> str:
        lines = text.split("\n")
        i = int(where * len(lines))
        lines[i] = before + (lines[i] if before or twice else lines[i].replace(": ", f":{value}", 1))
        return "\n".join(lines[: i + 1 + twice] + lines[i + (not twice) :])

    return edit


def edited_letter(rng: random.Random) -> Edit:
    """Replaces a letter by a sign, or cuts the text there."""
    where, letter = rng.random(), rng.choice("\t:#-[]{}&*!|>'\"%@` \n\0\x07?,\u2028\ufeff")
    rest = rng.random() < 0.8

    def edit(text: str) -> str:
        i = int(where * len(text))
        return text[:i] + (letter + text[i + 1 :]) * rest

    return edit


def edited_whole(rng: random.Random) -> Edit:
    """Puts something before or behind the text, or encodes it otherwise."""
    edits: list[Edit] = [
        lambda text: f"a: &a [x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\n{text}",
        lambda text: f"a: &a {{b: *a}}\n{text}",
        lambda text: f"<<: {{steps: 1}}\n{text}",
        lambda text: f"{text}\nseed: {'[' * 400}{']' * 400}\n",
        lambda text: f"---\n{text}\n---\n{text}",
        lambda text: f"- {text}",
        lambda text: f"%YAML 9.9\n---\n{text}",
        lambda text: f"\ufeff{text}",
        lambda text: "",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.encode("utf-16", "surrogatepass"),
        lambda text: text.encode("latin-1", "replace") + b"\xe9",
    ]
    return rng.choice(edits)


MUTATIONS: tuple[Mutation, ...] = (
    *(wrong_value, wrong_value, wrong_value, wrong_value, wrapped, misspelt, removed, moved, foreign, staged, extended),
    *(overridden, overridden, overridden, optioned, edited),
)


def mutated(rng: random.Random, tree: dict) -> Case:
    """Makes a case of a recipe by one mistake, at times by two or three."""
    case = Case(copy.deepcopy(tree))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if case.tree:
            rng.choice(MUTATIONS)(rng, case)
    return case
