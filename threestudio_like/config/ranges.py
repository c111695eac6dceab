"""Ranges of values, as the types of Configs' fields: checked in recipes and in what is built, and shown by `--help`.

A constraint is one of annotated-types' (`Annotated[float, Gt(0)]`), or `RISING`. That of a schedule holds for all of
its values. Every number of a Config is finite, whatever its type.
"""

import dataclasses
import functools
import itertools
import math
import operator
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import BaseMetadata, Ge, GroupedMetadata, Gt, Interval, Le, Lt, MinLen

from threestudio_like.config.schedule import Schedule
from threestudio_like.errors import UserError

COMPARISONS: dict[type, tuple[str, str, Callable[[Any, Any], bool]]] = {
    Gt: ("above", "gt", operator.gt),
    Ge: ("at least", "ge", operator.ge),
    Lt: ("below", "lt", operator.lt),
    Le: ("at most", "le", operator.le),
}
"""What is said of a bound, its attribute, and its comparison."""


@dataclass(frozen=True)
class Rising(BaseMetadata):
    """Constrains a sequence of numbers: none is below the one before it."""


RISING = Rising()

Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Interval(ge=0, le=1)]
"""A part of a whole, or a probability."""
Part = Annotated[float, Interval(gt=0, le=1)]
"""A part of a whole that is not nothing."""
Decay = Annotated[float, Interval(ge=0, lt=1)]
"""A factor by which an average forgets."""
Whole = Annotated[int, Ge(0)]
Count = Annotated[int, Ge(1)]
Seed = Annotated[int, Interval(ge=0, lt=2**63)]
Pixels = Annotated[int, Interval(ge=1, le=8192)]
"""Pixels, or texels, along a side."""
Cells = Annotated[int, Interval(ge=3, le=1024)]
"""Cells of a grid along a side."""
Threads = Annotated[int, Interval(ge=1, le=1024)]
Width = Annotated[int, Interval(ge=1, le=65536)]
"""Features of a network's layer."""
Samples = Annotated[int, Interval(ge=1, le=8)]
"""Samples along a pixel's side."""
Angle = Annotated[float, Interval(ge=-360, le=360)]
"""Degrees."""
Elevation = Annotated[float, Interval(ge=-90, le=90)]
"""Degrees over the horizon."""
FieldOfView = Annotated[float, Interval(gt=0, lt=180)]
"""Degrees."""
Distance = Annotated[float, Interval(gt=0, le=1000)]
"""Scene units from the middle."""
StepLength = Annotated[float, Interval(ge=1e-4, le=2)]
"""Scene units between the samples of a ray; shorter ones would never end."""
Color = tuple[Share, Share, Share]
"""Red, green and blue."""
Radiance = tuple[NonNegative, NonNegative, NonNegative]
"""Red, green and blue."""
AngleRange = Annotated[tuple[Angle, Angle], RISING]
ElevationRange = Annotated[tuple[Elevation, Elevation], RISING]
FieldOfViewRange = Annotated[tuple[FieldOfView, FieldOfView], RISING]
DistanceRange = Annotated[tuple[Distance, Distance], RISING]
ShareRange = Annotated[tuple[Share, Share], RISING]
PartRange = Annotated[tuple[Part, Part], RISING]
NonNegativeSchedule = Annotated[Schedule, Ge(0)]
PositiveSchedule = Annotated[Schedule, Gt(0)]
ShareSchedule = Annotated[Schedule, Interval(ge=0, le=1)]
PixelsSchedule = Annotated[Schedule, Interval(ge=1, le=8192)]
LevelsSchedule = Annotated[Schedule, Interval(ge=1, le=32)]
"""Levels of a hash grid."""


def violated(value: Any, constraints: tuple[Any, ...]) -> bool:
    """Tells whether a value breaks one of the constraints of an `Annotated` type."""
    return any(breaks(value, constraint) for constraint in flat(constraints))


def refuse_violated(value: Any, constraints: tuple[Any, ...], where: str, written: Any = None) -> None:
    """Raises UserError for a value that breaks one of the constraints, or cannot be compared with them.

    The message shows it as it was `written`, where that is something else.
    """
    try:
        broken = violated(value, constraints)
    except TypeError:
        broken = True
    if broken:
        raise UserError(f"{where}: must be {words(constraints)}, got {value if written is None else written!r}")


def check(value: Any, kind: Any, where: str) -> None:
    """Checks what was built in Python by the ranges of its type, however deep. Raises UserError, as parsing does."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if value is None:
        return
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for name, inner in field_types(type(value)).items():
            check(getattr(value, name), inner, f"{where}.{name}")
    if origin is Annotated:
        check(value, arguments[0], where)
        refuse_violated(value, arguments[1:], where)
    elif origin in (typing.Union, types.UnionType):
        check(value, next(one for one in arguments if one is not types.NoneType), where)
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            check(item, arguments[1], f"{where}.{key}")
    elif origin in (tuple, list) and isinstance(value, tuple | list):
        kinds = arguments[:1] * len(value) if origin is list or arguments[-1] is Ellipsis else arguments
        for i, (one, item) in enumerate(zip(kinds, value, strict=False)):
            check(item, one, f"{where}[{i}]")


@functools.cache
def field_types(kind: type) -> dict[str, Any]:
    """Returns the types of a dataclass' fields by name, with their ranges."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def breaks(value: Any, constraint: Any) -> bool:
    """Tells whether a value breaks one constraint; those of other libraries constrain nothing here."""
    if isinstance(constraint, Rising):
        return any(b < a for a, b in itertools.pairwise(value))
    if isinstance(constraint, MinLen):
        return len(value) < constraint.min_length
    if type(constraint) in COMPARISONS:
        _, name, holds = COMPARISONS[type(constraint)]
        numbers = value.values if isinstance(value, Schedule) else (value,)
        return not all(holds(each, getattr(constraint, name)) for each in numbers)
    return False


def flat(constraints: tuple[Any, ...]) -> Iterator[Any]:
    """Yields the constraints, each interval as its bounds."""
    for constraint in constraints:
        yield from constraint if isinstance(constraint, GroupedMetadata) else (constraint,)


def words(constraints: tuple[Any, ...]) -> str:
    """Says what the constraints ask: "above 0 and at most 1"."""
    bounds, others = [], []
    for constraint in flat(constraints):
        if type(constraint) in COMPARISONS:
            said, name, _ = COMPARISONS[type(constraint)]
            bounds.append(f"{said} {number(getattr(constraint, name))}")
        elif isinstance(constraint, Rising):
            others.append("rising")
        elif isinstance(constraint, MinLen):
            others.append("not empty" if constraint.min_length == 1 else f"of {constraint.min_length} or more")
    return ", ".join([*filter(None, [" and ".join(bounds)]), *others])


def number(value: float) -> str:
    """Writes a bound; large powers of two as such."""
    power = math.log2(value) if value >= 2**20 else 0.5
    return f"2^{power:.0f}" if power.is_integer() else f"{value:g}"


def described(kind: Any) -> str:
    """Names a type with its range: "float, above 0"."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return f"{described(arguments[0])}, {words(arguments[1:])}"
    if origin in (typing.Union, types.UnionType):
        return " | ".join("null" if one is types.NoneType else described(one) for one in arguments)
    if origin is not None:
        named = [described(arguments_of[0]) if (arguments_of := ranged(one)) else described(one) for one in arguments]
        ranges = {words(arguments_of[1:]) for one in arguments if (arguments_of := ranged(one))}
        whole = f"{origin.__name__}[{', '.join(named)}]"
        return f"{whole}, each {ranges.pop()}" if len(ranges) == 1 else whole
    return "..." if kind is Ellipsis else getattr(kind, "__name__", str(kind))


def ranged(kind: Any) -> tuple[Any, ...]:
    """Returns the type and the constraints of an `Annotated` type; nothing for another."""
    return typing.get_args(kind) if typing.get_origin(kind) is Annotated else ()
