"""Chooses which implementation of a kernel runs: by the tensors' device, by a trial, or as forced by name.

Every op's folder holds `reference.py` (plain PyTorch), `cpu.py` (numba) and `cuda.py` (Triton), or is one piece of
PyTorch for all devices; some hold an adapter to a package beside them (`packages.py`). In order of precedence the side
is what `force` says, the environment variable TSL_KERNELS, and "auto", which goes by device and logs what it took.
Packages take operations over where `force` names them; where it names nothing and the side is "auto", those do that are
installed and were the fastest in a trial on this GPU (`trials.py`).
"""

import functools
import importlib
import importlib.util
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor

from threestudio_like.errors import UserError
from threestudio_like.kernels import packages, trials

NAMES = ("auto", "reference", "cpu", "cuda")
VARIABLE = "TSL_KERNELS"
OWN = "own"
"""This project's own side, among the candidates of a trial."""
SLOW = "%s, so that CUDA computes by the plain PyTorch reference, which is many times slower: %s"
NO_TRITON = "Triton is not installed", 'pip install "triton>=3.2"'
NO_COMPILER = "Triton finds no C compiler", "install gcc"

log = logging.getLogger(__name__)
_forced: str | None = None
_named: tuple[str, ...] | None = None
_logged: set[tuple[str, str]] = set()


def force(name: str | None, named: tuple[str, ...] | None = None) -> None:
    """Forces one side for every op from now on, and the packages that take over what they have.

    None gives the choice of the side back to TSL_KERNELS, and that of packages to trials. Raises UserError for unknown
    names.
    """
    global _forced, _named
    _forced = None if name is None else _known(name)
    _named = None if named is None else packages.known(named)


@contextmanager
def forced(name: str | None, named: tuple[str, ...] | None = ()) -> Iterator[None]:
    """Forces one side, and no packages or those that are named, inside a `with` block."""
    before = _forced, _named
    force(name, named)
    try:
        yield
    finally:
        force(*before)


def implementation(package: str, *tensors: Tensor) -> ModuleType:
    """Returns the module of the op `package` that is to work on these tensors.

    Raises UserError when a forced name is unknown, missing or cannot take these tensors, ValueError when the tensors
    lie on different devices.
    """
    if (chosen := adapter(package, *tensors)) is not None:
        return chosen
    op, name = operation(package), _side()
    if name == "auto":
        name = _by_device(op, tensors)
    elif (obstacle := _obstacle(name, tensors)) is not None:
        raise UserError(f"{op}: the {name!r} kernels are forced but {obstacle}")
    return _module(f"{package}.{name}")


def adapter(package: str, *tensors: Tensor) -> ModuleType | None:
    """Returns the op's adapter to the package that is to work on these tensors; None where this project itself is.

    Raises UserError where a package that is named is missing, ValueError when the tensors lie on different devices.
    """
    op = operation(package)
    devices = {tensor.device for tensor in tensors}
    if len(devices) > 1:
        raise ValueError(f"{op}: its tensors must share a device, got {', '.join(sorted(map(str, devices)))}")
    if _named is None and (not tensors[0].is_cuda or _side() != "auto"):
        return None
    offering = packages.offering(op)
    chosen = _of_named(op, tensors) if _named is not None else _fastest(package, offering, tensors)
    return None if chosen is None else _module(f"{package}.{packages.PACKAGES[chosen].adapter}")


def operation(package: str) -> str:
    """Returns the name of the op in a folder of this room."""
    return package.rpartition(".")[2]


def at_least_float32(x: Tensor) -> Tensor:
    """Raises half precision to float32, as the kernels do not sum in less; leaves wider types as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@functools.cache  # an import of what is there costs ten times a call
def _module(name: str) -> ModuleType:
    return importlib.import_module(name)


def _known(name: str) -> str:
    if name not in NAMES:
        raise UserError(f"there are no {name!r} kernels; {VARIABLE} and the config take one of {', '.join(NAMES)}")
    return name


def _side() -> str:
    return _forced or _known(os.environ.get(VARIABLE) or "auto")


def _of_named(op: str, tensors: tuple[Tensor, ...]) -> str | None:
    """Returns the first of the named packages that has the op. What is not on CUDA stays with this project's sides, as
    a run on CUDA computes some things on the CPU, and says so."""
    for name in _named or ():
        if name not in packages.offering(op):
            continue
        packages.load(name)
        if (obstacle := packages.obstacle(tensors)) is None:
            _tell(op, name, "")
            return name
        if not torch.cuda.is_available():
            raise UserError(f"packages: {name} was named, but {obstacle}, and there is no GPU here")
        _tell(op, _side(), f" instead of {name}, because {obstacle}")
        return None
    return None


def _fastest(package: str, offering: tuple[str, ...], tensors: tuple[Tensor, ...]) -> str | None:
    """Returns the package that is faster than this project's own side; None where none is, or none is installed."""
    able = [name for name in offering if packages.PACKAGES[name].automatic and packages.installed(name)]
    if not able or packages.obstacle(tensors) is not None:
        return None
    chosen = trials.fastest(package, (OWN, *able), tensors[0].device, _trying)
    if chosen != OWN:
        _tell(operation(package), chosen, "")
    return None if chosen == OWN else chosen


def _trying(candidate: str):
    """Lets one candidate of a trial do the work."""
    return forced("auto", () if candidate == OWN else (candidate,))


def _by_device(op: str, tensors: tuple[Tensor, ...]) -> str:
    compiled = "cuda" if tensors[0].is_cuda else "cpu"
    obstacle = _obstacle(compiled, tensors)
    if compiled == "cuda" and (lack := _lack_of_triton()) is not None:
        _warn_once(SLOW % lack)
    name = compiled if obstacle is None else "reference"
    _tell(op, name, "" if obstacle is None else f" because {obstacle}")
    return name


def _tell(op: str, name: str, why: str) -> None:
    if (op, name) not in _logged:
        _logged.add((op, name))
        log.info("%s: %s kernels%s", op, name, why)


def _warn_once(message: str) -> None:
    if ("", message) not in _logged:
        _logged.add(("", message))
        log.warning(message)


@functools.cache
def _lack_of_triton() -> tuple[str, str] | None:
    """Says why Triton's kernels cannot run, and the remedy. Their launchers are written in C, and compiled at first."""
    if importlib.util.find_spec("triton") is None:
        return NO_TRITON
    return None if os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang") else NO_COMPILER


def _obstacle(name: str, tensors: tuple[Tensor, ...]) -> str | None:
    """Why this implementation cannot take these tensors, or None if it can."""
    if name == "reference":
        return None
    if name == "cuda" and (lack := _lack_of_triton()) is not None:
        return lack[0]
    interpreted = name == "cuda" and os.environ.get("TRITON_INTERPRET") == "1"  # Triton's own debugging on the CPU
    if tensors[0].device.type != ("cpu" if interpreted else name):
        return f"the tensors are on {tensors[0].device}"
    wrong = [tensor.dtype for tensor in tensors if tensor.is_floating_point() and tensor.dtype != torch.float32]
    return f"they compute in torch.float32, not {wrong[0]}" if wrong else None
