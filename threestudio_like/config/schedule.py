"""Numbers that change over the steps of a run."""

import bisect
import numbers
import re
from dataclasses import dataclass
from typing import Literal

from threestudio_like.config.scalars import is_finite
from threestudio_like.errors import UserError


@dataclass(frozen=True)
class Schedule:
    """A function of the step: constant, stepwise, or piecewise linear between knots.

    In YAML: a number; a map `{0: a, 500: b}` that holds each value until the next step; or `{ramp: {0: a, 500: b}}`
    that goes linearly from knot to knot. Before the first knot and after the last the value is that knot's.
    """

    kind: Literal["steps", "ramp"]
    at: tuple[int, ...]
    values: tuple[float, ...]

    def __call__(self, step: int) -> float:
        right = bisect.bisect_right(self.at, step)
        if right == 0 or right == len(self.at) or self.kind == "steps":
            return self.values[max(right - 1, 0)]
        a, b = self.at[right - 1], self.at[right]
        share = (step - a) / (b - a)
        return (1 - share) * self.values[right - 1] + share * self.values[right]

    @staticmethod
    def constant(value: float) -> "Schedule":
        """Returns a schedule of one value."""
        return Schedule("steps", (0,), (float(value),))

    @staticmethod
    def from_config(value: object, where: str) -> "Schedule":
        """Reads the YAML form; `where` is the key's path, for the message. Raises UserError."""
        kind: Literal["steps", "ramp"] = "steps"
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            value = {0: value}
        if isinstance(value, dict) and list(value) == ["ramp"]:
            kind, value = "ramp", value["ramp"]
        if not isinstance(value, dict) or not value:
            raise UserError(
                f"{where}: expected a number, a map {{step: value}} or {{ramp: {{step: value}}}}, got {value!r}"
            )
        knots = []
        for key, number in value.items():
            if not is_step(key) or isinstance(number, bool) or not isinstance(number, numbers.Real):
                raise UserError(f"{where}: a schedule maps steps (whole numbers) to numbers, got {value!r:.200}")
            knots.append((int(key), number))
        if not all(is_finite(number) for _, number in knots):
            raise UserError(f"{where}: every value of a schedule is a finite number, got {value!r:.200}")
        at, values = zip(*sorted(knots), strict=True)
        return Schedule(kind, at, tuple(map(float, values)))


def is_step(key: object) -> bool:
    """Tells whether a key is a step, a whole number, or the text of one."""
    return re.fullmatch("[0-9]{1,18}", str(key)) is not None
