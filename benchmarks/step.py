"""Measures where the time of a step goes, method by method: `python benchmarks/step.py [method ...] [--comparison
claims]`.

The methods are a comparison's. They train for a while first (an empty scene is not the one that runs) and are then
timed in turn, block by block, so that whatever else the machine does hits all alike. The memory is measured in a
process each. With `--reference` each method also runs by the reference path beside it, and the ratio of both is given:
`python benchmarks/step.py DreamFusion --reference --steps 200`.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see launch.py

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from priors.backbones.base import Backbone
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.engine.run import Run
from threestudio_like.engine.trainer import make_optimizer
from threestudio_like.experiments.comparison import Comparison, parse_comparison
from threestudio_like.kernels import encoded_mlp
from threestudio_like.kernels.encoded_mlp import reference
from threestudio_like.renderers.volume import VolumeRenderer
from threestudio_like.scenes.field import Field
from threestudio_like.utils.seeding import generator

BLOCK = 5
REFERENCE = "by parts"


@contextmanager
def by_parts() -> Iterator[None]:
    """Takes a step's reference path: the encoding and the MLP one after the other; all that the field knows evaluated
    for finding the samples that light reaches, faint ones among them; the U-Net in one call."""

    def together(backbone, x_t, t, texts, condition):
        n = len(texts)
        return backbone.predict(x_t.repeat(n, 1, 1, 1), t.repeat(n), torch.cat(texts), condition).chunk(n)

    with (
        mock.patch.object(encoded_mlp, "kernels", lambda *given: reference),
        mock.patch.object(VolumeRenderer, "faint_opacity", torch.tensor(0.0)),
        mock.patch.object(Field, "density", lambda field, x: field.at(x).density),
        mock.patch.object(Backbone, "predict_each", together),
    ):
        yield


class Method:
    """A method's first stage, stepped and timed."""

    def __init__(self, comparison: Comparison, name: str, path=nullcontext):
        job = next(cell.job for cell in comparison.cells if cell.method == name)
        run = Run(parse_recipe(load(job.config, list(job.keys)), name))
        self.system = run.build(next(iter(run.recipe.stages)))
        self.optimizer = make_optimizer(self.system, list(self.system.parameter_groups()))
        self.device, self.step, self.seconds, self.path = run.fabric.device, 0, defaultdict(list), path
        for particle in self.system.particles:
            self.time(particle.renderer, "refresh", "occupancy grid")
            self.time(particle.renderer, "forward", "render, forward")
        for term in self.system.terms.values():
            self.time(term.guidance, "residual", "prior's noise less the noise, or the fake score's")
            if term.guidance.parameter_groups():
                self.time(term.guidance, "fake_score_loss", "fake_score's own loss, forward")

    def time(self, owner, name: str, part: str) -> None:
        """Replaces a method of `owner` by one that adds its seconds to a part."""
        function = getattr(owner, name)

        def timed(*args, **named):
            begin = now()
            result = function(*args, **named)
            self.seconds[part].append(now() - begin)
            return result

        setattr(owner, name, timed)

    def run(self, steps: int) -> None:
        """Trains this many steps, timed."""
        with self.path():
            self._run(steps)

    def _run(self, steps: int) -> None:
        for _ in range(steps):
            begin, busy = now(), time.process_time()
            losses = self.system(self.step, generator(self.device, 0, self.step)).losses
            middle = now()
            sum(losses.values()).backward()
            self.seconds["backward"].append(now() - middle)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.seconds["whole step"].append(now() - begin)
            self.seconds["whole step, CPU time"].append(time.process_time() - busy)
            self.step += 1


def now() -> float:
    """Returns the time once the device has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=["DreamFusion", "DreamFusion by VSD"])
    parser.add_argument("--comparison", default="comparisons/claims.yaml")
    parser.add_argument("--warm-up", type=int, default=100)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--reference", action="store_true", help="time each method by the reference path too")
    parser.add_argument("--memory-of", help="only runs this method, and prints its process's peak memory in MiB")
    given = parser.parse_args()
    comparison = parse_comparison(load(given.comparison, []), Path(given.comparison).stem)
    if given.memory_of:
        Method(comparison, given.memory_of).run(given.warm_up)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        return
    methods = {name: Method(comparison, name) for name in given.methods}
    if given.reference:
        methods |= {f"{name} {REFERENCE}": Method(comparison, name, by_parts) for name in given.methods}
    for method in methods.values():
        method.run(given.warm_up)
        method.seconds.clear()
    for _ in range(given.steps // BLOCK):
        for method in methods.values():
            method.run(BLOCK)
    alone = [sys.executable, __file__, "--comparison", given.comparison, "--warm-up", str(given.warm_up), "--memory-of"]
    memory = {
        name: int(subprocess.run([*alone, name], check=True, capture_output=True, text=True).stdout.split()[-1])
        for name in given.methods
    }
    parts = list(dict.fromkeys(part for method in methods.values() for part in method.seconds))

    def per_step(method, part):
        return 1000 * np.sum(method.seconds.get(part, [0.0])) / len(method.seconds["whole step"])

    print(f"{torch.get_num_threads()} threads, {given.steps} steps after {given.warm_up}\n")
    print(f"| ms a step | {' | '.join(methods)} |\n|---|{'---:|' * len(methods)}")
    for part in parts:
        cells = [
            f"{(own := per_step(m, part)):.1f} ({100 * own / per_step(m, 'whole step'):.0f} %)"
            for m in methods.values()
        ]
        print(f"| {part} | {' | '.join(cells)} |")
    print(f"| process's peak memory, MiB | {' | '.join(str(memory.get(name, '')) for name in methods)} |")
    for name in given.methods if given.reference else ():
        wall, busy = (
            per_step(methods[f"{name} {REFERENCE}"], part) / per_step(methods[name], part)
            for part in ("whole step", "whole step, CPU time")
        )
        print(f"\n{name}: the reference path takes {wall:.2f} times as long, and {busy:.2f} times the CPU time")


if __name__ == "__main__":
    main()
