"""Traces one training step and prints the files that it crosses: `python benchmarks/trace.py [--config dreamfusion]
[key=value ...]`.

Every Python file of this repository in which a line runs during the step's forward pass, backward pass and optimiser
step is listed in the order of its first line, with how many of its lines run and how often control enters it from
another of these files. Kernels (`threestudio_like/kernels/`) are listed apart. The step that is traced follows
`--warm-up` others, so that nothing that is done once is counted.
"""

import argparse
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.engine.run import Run
from threestudio_like.engine.trainer import make_optimizer
from threestudio_like.utils.seeding import generator

KERNELS = "threestudio_like/kernels/"


class Trace:
    """The lines of this repository that run, in order."""

    def __init__(self):
        self.lines: dict[str, set[int]] = {}
        self.entries: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        self._file: str | None = None
        self._known: dict[str, str | None] = {}

    def path_of(self, frame: FrameType) -> str | None:
        """The frame's file relative to the repository; None for libraries and this benchmark."""
        name = frame.f_code.co_filename
        if name not in self._known:
            path = Path(name)
            inside = path.is_relative_to(ROOT) and path != Path(__file__).resolve()
            self._known[name] = path.relative_to(ROOT).as_posix() if inside else None
        return self._known[name]

    def __call__(self, frame: FrameType, event: str, argument: object):
        path = self.path_of(frame)
        if path is None:
            return None
        if event == "line":
            self.lines.setdefault(path, set()).add(frame.f_lineno)
            if path != self._file:
                self.entries[path] += 1
                if self._file is not None:
                    self.pairs[self._file, path] += 1
                self._file = path
        return self

    @contextmanager
    def running(self):
        sys.settrace(self)
        try:
            yield
        finally:
            sys.settrace(None)


def table(trace: Trace, title: str, paths: list[str]) -> None:
    """Prints one line a file, and their sums."""
    print(f"\n{title}")
    for path in paths:
        print(f"  {path:50} {len(trace.lines[path]):5} lines {trace.entries[path]:5} entries")
    lines, entries = (sum(of(path) for path in paths) for of in (lambda p: len(trace.lines[p]), trace.entries.get))
    print(f"  {len(paths)} files, {lines} lines, {entries} entries")


def main() -> None:
    """Builds the recipe's first stage (or `--stage`), steps it, and traces one step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="dreamfusion")
    parser.add_argument("--stage")
    parser.add_argument("--warm-up", type=int, default=1, help="steps before the one that is traced")
    parser.add_argument("overrides", nargs="*", help="recipe keys, key=value")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(parse_recipe(load(given.config, [*given.overrides, f"out={folder}"]), given.config))
        system = run.build(given.stage or next(iter(run.recipe.stages)))
    optimizer = make_optimizer(system, list(system.parameter_groups()))

    def take(step: int, random: torch.Generator) -> None:
        result = system(step, random)
        sum(result.losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        system.after_step(step)

    for step in range(given.warm_up):
        take(step, generator(run.fabric.device, run.recipe.run.seed, "trace", step))
    trace, random = Trace(), generator(run.fabric.device, run.recipe.run.seed, "trace", given.warm_up)
    with trace.running():
        take(given.warm_up, random)
    kernels = [path for path in trace.lines if path.startswith(KERNELS)]
    table(trace, "Files of the step, in order", [path for path in trace.lines if path not in kernels])
    table(trace, "Kernels", kernels)
    print("\nMoves between files, at least 4 times")
    for (one, other), count in trace.pairs.most_common():
        if count >= 4:
            print(f"  {count:4}  {one} -> {other}")


if __name__ == "__main__":
    main()
