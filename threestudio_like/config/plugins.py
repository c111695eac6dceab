"""Plugs in packages from elsewhere: those that a recipe's `imports:` names, and installed ones by their entry points.

A package's classes register themselves where they are defined (`register`), or stand in its `COMPONENTS` table, from
which they are imported when they are chosen.
"""

import functools
import importlib
import importlib.metadata
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from threestudio_like.config.registry import offer
from threestudio_like.errors import UserError, brief, line_of

GROUP = "threestudio_like.plugins"
"""The entry points of installed packages: `name = module`."""


def plug_in(modules: Iterable[str]) -> None:
    """Imports the installed plug-ins, then these modules; the folder that one works in is searched too.

    Raises UserError for a module that cannot be imported.
    """
    plug_in_installed()
    here = str(Path.cwd())
    for name in modules:
        if not all(part.isidentifier() for part in name.split(".")):
            raise UserError(f"imports: '{name}' is not the name of a module; give one as Python's `import` takes it")
        if here not in sys.path:
            sys.path.append(here)
        try:
            use(importlib.import_module(name))
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise failed(name, error) from error
            raise UserError(
                f"imports: there is no module '{name}'; install it, or start from the folder that it lies in"
            ) from None
        except Exception as error:  # it is the user's, and may raise anything while it is imported
            raise failed(name, error) from error


def failed(name: str, error: Exception) -> UserError:
    """Says what went wrong while a module was imported, and where."""
    where = "" if isinstance(error, SyntaxError) else line_of(error)  # which has its own, and that of the parser here
    return UserError(f"imports: '{name}' fails: {type(error).__name__}: {brief(error)}{where}")


@functools.cache
def plug_in_installed() -> None:
    """Imports what installed packages offer as entry points, once. Raises UserError for one that cannot be imported."""
    for point in importlib.metadata.entry_points(group=GROUP):
        try:
            use(importlib.import_module(point.module))
        except ImportError as error:
            raise UserError(
                f"the installed plug-in '{point.name}' cannot be imported ({brief(error)}); mend or remove it"
            ) from None


def use(module: ModuleType) -> None:
    """Offers the classes of a module's `COMPONENTS` table, where it has one."""
    offer(getattr(module, "COMPONENTS", {}))
