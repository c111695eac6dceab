"""Checks annotations at every call of the project: types by beartype, shapes by jaxtyping."""

import sys
from importlib.machinery import PathFinder

import numpy as np
from beartype import BeartypeConf, BeartypeHintOverrides, beartype
from jaxtyping import install_import_hook

PACKAGES = ("threestudio_like", "priors", "systems")
COMPILED = (".cpu", ".cuda", ".trace_cpu", ".encoded_mlp.blocks", ".encoded_mlp.encoding")
"""Ends of the names of modules that numba and Triton compile: neither can compile a wrapped function."""
NUMBERS = BeartypeHintOverrides({int: int | np.integer, float: float | int | np.integer | np.floating})
"""An int is a float too (PEP 484), and numpy's numbers are as good as Python's."""

checked = beartype(conf=BeartypeConf(hint_overrides=NUMBERS))


class _Unchecked:
    """Finds the compiled modules before the import hook does."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, path, target) if name.endswith(COMPILED) else None


def install() -> None:
    """Lets all modules of the project that are imported from here on be checked."""
    install_import_hook(PACKAGES, "tests.runtime_types.checked")
    sys.meta_path.insert(0, _Unchecked)
