"""Writes what `benchmarks/gpu.py` measured as tables in markdown, with the goals beside it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.gpu_rows import COMPILED, KERNELS, PACKAGES, PARTS, PASS, TESTS, TOYBOX
from threestudio_like.engine.record import git_revision

REST = 0.25
"""The share of a step that may be neither the diffusion model's nor the VAE's."""
COLUMNS = (
    "recipe, stage, first step",
    "ms a step",
    "diffusion and VAE, ms",
    "all else",
    "GPU at work",
    "kernels",
    "GiB",
)
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


@dataclass(frozen=True)
class Goal:
    """A bound of something that is measured."""

    what: str
    bound: float
    unit: str
    of: Callable[[dict], float | None]
    """Returns it from the results, by row; None where it was not measured."""

    def row(self, results: dict) -> str:
        """Writes a line of the table."""
        value = self.of(results)
        said = "not measured" if value is None else f"{value:.3g} {self.unit}"
        met = "" if value is None else "met" if value <= self.bound else "missed"
        return f"| {self.what} | at most {self.bound:g} {self.unit} | {said} | {met} |"


def step_ms(row: str) -> Callable[[dict], float | None]:
    """Returns what finds the milliseconds of a row's step, compiled or not, whichever is faster."""

    def of(results: dict) -> float | None:
        found = [results.get(name, {}).get("ms") for name in (row, f"{row} {COMPILED}")]
        return min((ms for ms in found if ms is not None), default=None)

    return of


def ten_thousand(results: dict) -> float | None:
    """Reckons the minutes of dreamfusion-sd's 10,000 steps, half of them at either size of its views."""
    halves = [step_ms(f"dreamfusion-sd main {step}")(results) for step in (0, 6000)]
    return None if None in halves else sum(5000 * ms for ms in halves) / 60_000


def rest(result: dict) -> float:
    """Returns the share of a step that is neither the diffusion model's nor the VAE's."""
    return 1 - result["priors_ms"] / result["ms"]


def largest_rest(results: dict) -> float | None:
    """Returns the largest such share of all steps, in percent."""
    shares = [rest(result) for result in results.values() if "priors_ms" in result and result["priors_ms"] > 0]
    return 100 * max(shares) if shares else None


GOALS = (
    Goal("largest share of what is neither diffusion model nor VAE", 100 * REST, "%", largest_rest),
    Goal("10,000 steps of dreamfusion-sd, reckoned from its two sizes", 10, "min", ten_thousand),
    Goal("VSD's step, prolificdreamer-sd's NeRF at 512", 60, "ms", step_ms("prolificdreamer-sd nerf 6000")),
    Goal("VSD's step, prolificdreamer-sd's texture", 60, "ms", step_ms("prolificdreamer-sd texture 0")),
    Goal("GECO's pass at the paper's size", 0.3, "s", lambda results: results.get(PASS, {}).get("total_seconds")),
)


def table(results: dict) -> str:
    """Writes all tables."""
    measured = [name for part in PARTS for name in part if name in results]
    failed = [f"- {name}: {results[name]['failed']}" for name in measured if "failed" in results[name]]
    steps = [step_row(name, results[name]) for name in measured if "priors_ms" in results[name]]
    others = [other_row(name, results[name]) for name in (TESTS, PACKAGES, TOYBOX, PASS) if name in measured]
    kernels = results.get(KERNELS, {}).get("table", "")
    goals = ["| goal | | measured | |\n|---|---|---|---|", *(goal.row(results) for goal in GOALS)]
    lines = [f"{device()}, revision {git_revision()}", "\n".join(goals), "\n".join([HEAD, *steps])]
    lines += ["\n".join(one for one in others if one), kernels, "\n".join(["Failed:", *failed]) if failed else ""]
    return "\n\n".join(line for line in lines if line) + "\n"


def step_row(name: str, result: dict) -> str:
    """Writes the line of a stage's steps."""
    busy = "" if result["busy"] is None else f"{100 * result['busy']:.0f} %"
    kernels = "" if result["kernels"] is None else f"{result['kernels']:.0f}"
    share = f"{100 * rest(result):.0f} %"
    times = f"{result['ms']:.1f} | {result['priors_ms']:.1f} | {share}"
    return f"| {name} | {times} | {busy} | {kernels} | {result['peak_gib']:.1f} |"


def other_row(name: str, result: dict) -> str:
    """Writes what another row found, in a line."""
    if "failed" in result:
        return ""
    found = [f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in result.items()]
    return f"{name}: {', '.join(found)}"


def device() -> str:
    """Names the GPU and the version of torch."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return f"{name}, torch {torch.__version__}"
