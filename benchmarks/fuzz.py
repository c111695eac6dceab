"""Fuzzes recipes and command lines in one warm process: every mistake is a sentence, every status is true.

python -m benchmarks.fuzz [--cases 2000] [--seed 0] [--recipes dreamfusion geco ...]

Each case is a recipe at tiny sizes with the mistakes that users make (`benchmarks/mutations.py`). It is checked; where
that accepts it, it is run too, for two steps. Printed are the counts, and every case that ended as none may: in a
traceback, after a minute, with a file outside its folder, or with a status that is not true. The exit code is 1 where
there are any.
"""

import contextlib
import difflib
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import warm
from benchmarks.mutations import Case, mutated
from systems.training.text_to_image import vocabulary
from tests.priors.model_folders import MAKERS
from tests.tiny import TINY, tiny_reconstructor, write_meshes
from threestudio_like.config.loading import load
from threestudio_like.config.reading import read_yaml
from threestudio_like.evaluate.scorer import Scorer, ScorerSize
from threestudio_like.utils.paths import CONFIGS

TOYBOX, SCORER, CCM = "backbone.model=<toybox>", "evaluation.scorer=<scorer>", "backbone.model=<agp>"
RECIPES = {
    "dreamfusion": (TOYBOX, SCORER),
    "fantasia3d": (TOYBOX, SCORER),
    "prolificdreamer": (TOYBOX, SCORER),
    "playground2d": (TOYBOX,),
    "sweetdreamer-nerf": (TOYBOX, SCORER, f"guidance.ccm.{CCM}"),
    "sweetdreamer": (TOYBOX, SCORER, f"vars.ccm.{CCM}"),
    "dreamfusion-sd": ("backbone.model=<sd21>",),
    "dreamfusion-sdxl": ("backbone.model=<sdxl>",),
    "dreamfusion-sd3": ("backbone.model=<sd35>",),
    "geco": (
        *(SCORER, f"generation.text.{TOYBOX}", "backbone.model=<multiview>", "perceptual.model=<scorer>"),
        "reconstructor.pretrained=<reconstructor>",
    ),
    "priors/scorer": (),
    "priors/agp": (TOYBOX,),
    "priors/agp-sd": (
        *("backbone.model=<sd21>", "data.folder=<meshes>", "data.views=2", "data.size=8", "data.held_out_every=2"),
        "data.workers=1",
    ),
    "priors/reconstructor": (),
}
"""The keys that give each recipe its models."""
EVERY = (*RECIPES, "comparisons/quick")


@dataclass
class Findings:
    """Counts the ends of cases, and gathers those that must not be."""

    counts: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, stage: str, outcome: warm.Outcome, case: str) -> None:
        """Counts an end, and prints what is wrong with it."""
        self.counts[f"{stage}: {outcome.ended}"] += 1
        for sentence in outcome.wrong:
            self.wrong.append(f"{stage}: {sentence}\n    {case}")
            print(self.wrong[-1], flush=True)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        return f"{counts}; {len(self.wrong)} wrong"


def made(folder: Path, name: str) -> Path:
    """Makes a model of a published layout at tiny sizes, or meshes, once in a folder."""
    place = folder / name
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if name == "scorer":
            Scorer(ScorerSize(), vocabulary()).save(place)
        else:
            ({"meshes": write_meshes, "reconstructor": tiny_reconstructor} | MAKERS)[name](place)
    return place


def keys_of(recipe: str, folder: Path) -> list[str]:
    """Returns the keys that make a recipe tiny, with models that are made in a folder."""
    models = [re.sub("<(.*)>", lambda found: str(made(folder, found[1])), key) for key in RECIPES[recipe]]
    return [*TINY[f"{recipe}.yaml"], *models, "device=cpu", "expected_seconds=null"]


def trees(folder: Path, only: Collection[str]) -> dict[str, dict]:
    """Loads the recipes at tiny sizes as plain data, and a comparison, which is checked and never run."""
    loaded = {name: dict(load(name, keys_of(name, folder))) for name in RECIPES if name in only}
    return loaded | {name: read_yaml(CONFIGS / f"{name}.yaml") for name in only if name not in RECIPES}


def try_case(case: Case, good: dict, sizes: list[str], found: Findings) -> None:
    """Checks a case in the folder that one works in, and runs it where it is accepted and not large."""
    Path("recipe.yaml").write_bytes(case.recipe())
    for name, content in case.files.items():
        Path(name).write_bytes(content)
    line = ["--config", "recipe.yaml", *case.options, *case.keys]
    shown = f"{line!r}; {changes(good, case)}"
    outcome = warm.run(line, None)
    if "--check" not in case.options and outcome.ended in ("accepted", "failed"):
        found.counts["not checked"] += 1  # it has been run, where it may write
        return
    found.add("check", outcome, shown)
    if outcome.ended != "accepted" or outcome.folder is None or case.heavy:
        return
    own = Path(outcome.folder).expanduser()
    missing = [key for key in sizes if key.partition("=")[0] not in flat(case.tree)]
    line = [*(part for part in line if part != "--check"), *missing]
    if warm.run([*line, "--check"], None).ended == "accepted":
        found.add("run", warm.run(line, own), shown)


def changes(good: dict, case: Case) -> str:
    """Shows in which lines a case's recipe differs from the good one."""
    texts = [one.recipe().decode(errors="replace").splitlines() for one in (Case(good), case)]
    lines = [line for line in difflib.ndiff(*texts) if line[0] in "+-"]
    files = [f"{name}: {content[:300]!r}" for name, content in case.files.items()]
    return " | ".join([line[:200] for line in lines[:12]] + ["..."] * (len(lines) > 12) + files)


def flat(node: object, path: str = "") -> set[str]:
    """Lists the dotted paths of all keys of a tree."""
    blocks = node.items() if isinstance(node, dict) else ()
    below = {f"{path}.{key}".lstrip("."): value for key, value in blocks}
    return {*below, *(deeper for here, value in below.items() for deeper in flat(value, here))}


def campaign(cases: int, seed: int, folder: Path, only: Collection[str] = EVERY) -> Findings:
    """Tries so many cases in folders of their own below this one."""
    os.environ |= {"TSL_CACHE": str(folder / "cache"), "HOME": str(folder / "home"), "TSL_KERNELS": "reference"}
    rng, found = random.Random(seed), Findings()
    good = trees(folder / "models", only)
    for number in range(cases):
        name = rng.choice(list(good))
        case = mutated(rng, good[name])
        place = folder / "cases" / str(number) / "here"
        place.mkdir(parents=True)
        with contextlib.chdir(place):
            try_case(case, good[name], TINY.get(f"{name}.yaml", []), found)
        if number % 50 == 49:
            print(f"{number + 1} cases: {found}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Carries the campaign out, and prints what was found."""
    parser = warm.arguments(__doc__, 2000)
    parser.add_argument("--recipes", nargs="+", choices=EVERY, default=EVERY)
    args = parser.parse_args()
    warm.carry_out(lambda folder: campaign(args.cases, args.seed, folder, args.recipes), args.cases, args.seed)


if __name__ == "__main__":
    main()
