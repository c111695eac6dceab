"""Traces one training step and prints its files: `python benchmarks/trace.py [--config NAME] [key=value ...]`.

The step is one turn of the training loop, from one call of the system to the next: forward, backward, optimiser. Every
Python file of this repository in which a line runs is listed in the order of its first line, with the number of its
lines that run and of the moves into it from another of these files. Kernels (`threestudio_like/kernels/`) and the loop
around the step (`threestudio_like/engine/`) are listed apart, each with what only it calls. The steps before the traced
one do what is done once. All runs on one thread, for no other is traced.
"""

import argparse
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from types import FrameType

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.engine.monitor import Monitor
from threestudio_like.engine.run import Run
from threestudio_like.engine.trainer import Settings, train

KERNELS = "threestudio_like/kernels/"
LOOP = "threestudio_like/engine/"


class Trace:
    """Records the lines of this repository that run, file by file."""

    def __init__(self):
        self.lines: dict[str, set[int]] = {}
        self.entries: Counter[str] = Counter()
        self.moves: Counter[tuple[str, str]] = Counter()
        self.callers: defaultdict[str, set[str]] = defaultdict(set)
        """The files from which each file's functions were called."""
        self._file: str | None = None
        self._paths: dict[str, str | None] = {}

    def path_of(self, frame: FrameType) -> str | None:
        """Returns the frame's file relative to the repository; None for libraries and this benchmark."""
        name = frame.f_code.co_filename
        if name not in self._paths:
            path = Path(name)
            inside = path.is_relative_to(ROOT) and path != Path(__file__).resolve()
            self._paths[name] = path.relative_to(ROOT).as_posix() if inside else None
        return self._paths[name]

    def __call__(self, frame: FrameType, event: str, argument: object) -> "Trace | None":
        """Notes one event of the interpreter, as `sys.settrace` wants it."""
        path = self.path_of(frame)
        if path is None:
            return None
        if event == "call" and frame.f_back is not None:
            self.callers[path].add(self.path_of(frame.f_back) or self._file or path)
        if event == "line":
            self.lines.setdefault(path, set()).add(frame.f_lineno)
            if path != self._file:
                self.entries[path] += 1
                if self._file is not None:
                    self.moves[self._file, path] += 1
                self._file = path
        return self

    def start(self) -> None:
        """Begins to trace, in the frames that are already running too."""
        frame = sys._getframe(1)
        while frame is not None:
            frame.f_trace = self
            frame = frame.f_back
        sys.settrace(self)

    def belonging(self, folder: str) -> list[str]:
        """Lists a folder's files, and those whose functions only they call."""
        found = {path for path in self.lines if path.startswith(folder)}
        while more := {
            path
            for path in self.lines
            if self.callers[path] - {path} and path not in found and self.callers[path] - {path} <= found
        }:
            found |= more
        return [path for path in self.lines if path in found]


def table(trace: Trace, title: str, paths: list[str]) -> None:
    """Prints one line a file, and their sums."""
    print(f"\n{title}")
    for path in paths:
        print(f"  {path:50} {len(trace.lines[path]):5} lines {trace.entries[path]:5} moves")
    lines, entries = sum(len(trace.lines[path]) for path in paths), sum(trace.entries[path] for path in paths)
    print(f"  {len(paths)} files, {lines} lines, {entries} moves")


def main() -> None:
    """Trains a recipe's stage for a few steps and traces the last but one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="dreamfusion")
    parser.add_argument("--stage", help="the recipe's first where not given")
    parser.add_argument("--warm-up", type=int, default=1, help="steps before the one that is traced")
    parser.add_argument("overrides", nargs="*", help="recipe keys, key=value")
    given = parser.parse_args()
    trace = Trace()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(parse_recipe(load(given.config, [*given.overrides, f"out={folder}"]), given.config))
        stage = given.stage or next(iter(run.recipe.stages))
        system = run.build(stage)
        system.config.steps = given.warm_up + 2
        forward = system.forward

        def traced(step, generator):
            if step == given.warm_up:
                trace.start()
            elif step == given.warm_up + 1:
                sys.settrace(None)
            return forward(step, generator)

        system.forward = traced
        settings = Settings(run.recipe.run.seed, checkpoint_every=10**9, checkpoint_seconds=1e9, preview_every=0)
        train(system, stage, Path(folder) / "checkpoint.pt", settings, run.fabric, Monitor(None))
    kernels, loop = trace.belonging(KERNELS), trace.belonging(LOOP)
    table(trace, "The step", [path for path in trace.lines if path not in (*kernels, *loop)])
    table(trace, "The loop around it", loop)
    table(trace, "Kernels", kernels)
    print("\nMoves between files, at least 4 times")
    for (one, other), count in trace.moves.most_common():
        if count >= 4:
            print(f"  {count:4}  {one} -> {other}")


if __name__ == "__main__":
    main()
