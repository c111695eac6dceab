"""Functions applied to all tensors of a dataclass at once."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import TypeVar

from torch import Tensor

Data = TypeVar("Data")


def map_tensors(function: Callable[..., Tensor], first: Data, *others: Data) -> Data:
    """Applies a function to each tensor of one or several dataclasses; returns a copy of the first with the results.

    Fields that hold no tensor are the first one's: `map_tensors(lambda x: x.to(device), cameras)`.
    """
    names = [field.name for field in fields(first) if isinstance(getattr(first, field.name), Tensor)]  # type: ignore[arg-type]
    results = {name: function(*(getattr(part, name) for part in (first, *others))) for name in names}
    return replace(first, **results)  # type: ignore[type-var]
