"""Where the time of a DreamFusion step goes: `python benchmarks/dreamfusion_step.py [key=value ...]`.

Trains the recipe for a while first (an empty scene is not the one that runs), then times the parts of further steps.
"""

import argparse
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see launch.py

import numpy as np  # noqa: E402
import torch  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import priors  # noqa: E402
import systems  # noqa: E402
import threestudio_like  # noqa: E402
from threestudio_like.config import load  # noqa: E402
from threestudio_like.randomness import generator  # noqa: E402
from threestudio_like.run import Run, parse_recipe  # noqa: E402
from threestudio_like.train import make_optimizer  # noqa: E402


class Clock:
    """Adds up seconds by name."""

    def __init__(self):
        self.seconds = defaultdict(list)

    def timed(self, name: str, function):
        def run(*args, **named):
            begin = now()
            result = function(*args, **named)
            self.seconds[name].append(now() - begin)
            return result

        return run


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="dreamfusion.yaml")
    parser.add_argument("--warm-up", type=int, default=100)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    for room in (threestudio_like, priors, systems):
        room.register_all()
    run = Run(parse_recipe(load(given.config, given.overrides), "benchmark"))
    system = run.build("main")
    optimizer = make_optimizer(system, list(system.parameter_groups()))
    clock = Clock()
    guidance = system.guides["look"].guidance
    renderer = system.particles[0].renderer
    renderer.refresh = clock.timed("occupancy grid", renderer.refresh)
    renderer.forward = clock.timed("render, forward", renderer.forward)
    guidance.guided_eps = clock.timed("U-Net, text and null", guidance.guided_eps)
    for step in range(given.warm_up + given.steps):
        if step == given.warm_up:
            clock.seconds.clear()
        begin = now()
        result = system(step, generator(run.fabric.device, 0, step))
        loss = sum(result.losses.values())
        clock.timed("backward", loss.backward)()
        clock.timed("optimiser", optimizer.step)()
        optimizer.zero_grad(set_to_none=True)
        clock.seconds["whole step"].append(now() - begin)
    whole = sum(clock.seconds["whole step"])
    print(f"{run.fabric.device}, {torch.get_num_threads()} threads, {given.steps} steps after {given.warm_up}\n")
    print("| part | ms a step | share |\n|---|---|---|")
    for name, seconds in clock.seconds.items():
        print(f"| {name} | {1000 * np.sum(seconds) / given.steps:.1f} | {100 * np.sum(seconds) / whole:.0f} % |")


if __name__ == "__main__":
    main()
