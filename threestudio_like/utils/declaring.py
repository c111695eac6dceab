"""Enters functions that modules declare into the table of their kind."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Declared(Protocol):
    """An entry of a table, with its function."""

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself."""
        ...


Entry = TypeVar("Entry", bound=Declared)


def declare(table: dict[str, Entry], kind: str, name: str, entry: Entry) -> None:
    """Enters a function by its name. Raises ValueError where a function of another module has the name."""
    taken = table.get(name)
    if taken is not None and taken.function.__module__ != entry.function.__module__:
        raise ValueError(f"the {kind} '{name}' is declared twice")
    table[name] = entry
