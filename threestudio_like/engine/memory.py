"""Tells what the stages of a run take of a GPU, as estimated before anything is loaded; refuses what does not fit."""

from collections.abc import Iterable
from dataclasses import dataclass

from threestudio_like.errors import UserError
from threestudio_like.utils.card import GB

CUDA = 0.6 * GB
"""What CUDA itself and the libraries' workspaces take of the GPU."""


@dataclass(frozen=True)
class Memory:
    """Bytes that a stage takes at its peak, by what takes them at that time; CUDA's own come on top."""

    parts: tuple[tuple[str, float], ...]

    @property
    def total(self) -> float:
        """Bytes of the GPU that must be there."""
        return CUDA + sum(size for _, size in self.parts)

    def __str__(self) -> str:
        listed = ", ".join(f"{name} {size / GB:.1f}" for name, size in (*self.parts, ("CUDA", CUDA)))
        return f"about {self.total / GB:.1f} GB of GPU memory ({listed})"


def refuse_too_large(stages: dict[str, Memory], there: int, presets: Iterable[tuple[str, dict[str, Memory]]]) -> None:
    """Raises UserError where a stage needs more than the bytes `there`; it names the first of the presets that fits.

    `presets` are what the same stages take under each preset of the recipe, the largest first.
    """
    if not stages:
        return
    stage, largest = max(stages.items(), key=lambda item: item[1].total)
    if largest.total <= there:
        return
    fitting = (name for name, memory in presets if all(one.total <= there for one in memory.values()))
    preset = next(fitting, None)
    remedy = f"memory={preset} fits" if preset else "ask for smaller sizes or fewer views, or take a larger GPU"
    raise UserError(f"stage '{stage}' needs {largest}, and this GPU has {there / GB:.1f}; {remedy}")
