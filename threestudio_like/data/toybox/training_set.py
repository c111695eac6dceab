"""The set of photographs a prior is trained on, as a recipe names it."""

import functools
from dataclasses import dataclass, field

from threestudio_like.data.toybox.photographs import CaptureConfig, Photographs, cached_dataset


@dataclass(frozen=True)
class TrainingSet:
    """`count` photographs by a capture, drawn from a seed of their own."""

    count: int = 60000
    seed: int = 1
    capture: CaptureConfig = field(default_factory=CaptureConfig)

    @functools.cache
    def photographs(self, held_out: bool | None = False) -> Photographs:
        """Of the training pairs, of the held-out ones (True), or of all (None); taken or read at the first call."""
        return cached_dataset(self.capture, self.count, self.seed, held_out)
