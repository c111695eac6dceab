"""Declares metrics: what each measures, which way is better, what it needs, and the function that computes it.

A metric stands beside its function, in any module of this package or of a package that a comparison `imports:`:

    @metric("brightness", "Brightness", "neither", "The mean of the 8 colour views, in 0..1.", needs=["views"])
    def brightness(result: Result) -> float:
        return result.color.mean().item()
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from threestudio_like.errors import UserError, nearest

Need = Literal["views", "scorer", "captions", "reference", "truth"]
"""The turntables; a scorer of images against texts; the comparison's captions, told apart by it; a reference, which is
a folder of images or the true toys; the true toys of the prompts.
"""
Scope = Literal["result", "prompt", "comparison"]
"""`result`: a function of one `Result`.

`prompt`: of the list of a method's results for one prompt, which gives a figure (or None) for each. `comparison`: of
all results, which gives the figure as a function of any runs, and the results it knows.
"""


@dataclass(frozen=True)
class Metric:
    """A metric as tables name and show it; without `compute` it is a figure that the run itself leaves."""

    name: str
    title: str
    better: Literal["higher", "lower", "neither"]
    about: str
    digits: int = 2
    """Shown after the point."""
    percent: bool = False
    """Whether it is a rate in 0..1, shown in percent, whose interval is exact."""
    needs: frozenset[Need] = frozenset()
    scope: Scope = "result"
    compute: Callable[..., Any] | None = None

    @property
    def arrow(self) -> str:
        """The way that is better, as an arrow."""
        return {"higher": "↑", "lower": "↓", "neither": ""}[self.better]

    @property
    def heading(self) -> str:
        """The title with its arrow."""
        return f"{self.title} {self.arrow}".strip()

    @property
    def unit(self) -> str:
        """The unit behind a number, with its space."""
        return " %" if self.percent else ""

    def of(self, results: Any) -> Any:
        """Computes the metric of what its scope says; of none that runs leave themselves."""
        assert self.compute is not None, f"'{self.name}' is a figure of the run's own"
        return self.compute(results)

    def show(self, value: float) -> str:
        """Writes the number as a table shows it; percents without their sign."""
        return f"{100 * value:.0f}" if self.percent else f"{value:.{self.digits}f}"


_metrics: dict[str, Metric] = {}


def metric(
    name: str,
    title: str,
    better: Literal["higher", "lower", "neither"],
    about: str,
    *,
    needs: Iterable[Need] = (),
    scope: Scope = "result",
    digits: int = 2,
    percent: bool = False,
):
    """Declares the decorated function as the metric `name`, which comparisons may name under `metrics:`."""
    needs = frozenset(needs)
    if unknown := needs - {*get_args(Need)}:
        raise ValueError(f"metric '{name}' needs {sorted(unknown)}; there are: {', '.join(get_args(Need))}")

    def declare(compute: Callable) -> Callable:
        _add(Metric(name, title, better, about, digits, percent, needs, scope, compute))
        return compute

    return declare


def own_figure(
    name: str,
    title: str,
    better: Literal["higher", "lower", "neither"],
    about: str,
    *,
    digits: int = 2,
    percent: bool = False,
) -> None:
    """Declares a figure that runs leave in their `metrics.json` as a metric of comparisons."""
    _add(Metric(name, title, better, about, digits, percent))


def _add(new: Metric) -> None:
    taken = _metrics.get(new.name)
    if taken is not None:
        modules = [getattr(one.compute, "__module__", None) for one in (taken, new)]
        # A module that is imported again declares its metrics again; figures without a function tell no module.
        if modules[0] != modules[1] or (new.compute is None and new != taken):
            raise ValueError(f"the metric '{new.name}' is declared twice")
    _metrics[new.name] = new


def known_metrics() -> dict[str, Metric]:
    """Returns all metrics by name: those of this package, and those of the plug-ins that have been imported."""
    _import_own()
    return dict(_metrics)


def find_metric(name: str) -> Metric:
    """Returns a metric by its name. Raises UserError with the nearest one."""
    known = known_metrics()
    if name not in known:
        raise UserError(f"unknown metric '{name}'{nearest(name, known)}")
    return known[name]


@functools.cache
def _import_own() -> None:
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
