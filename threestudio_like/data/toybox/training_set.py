"""The set of photographs a prior is trained on, as a recipe names it."""

import functools
from dataclasses import dataclass, field

from threestudio_like.data.toybox.photographs import Photographer, Photographs, cached


@dataclass(frozen=True)
class TrainingSet:
    """`count` photographs by a photographer, drawn from a seed of their own."""

    count: int = 60000
    seed: int = 1
    photographer: Photographer = field(default_factory=Photographer)

    @functools.cache
    def photographs(self, held_out: bool | None = False) -> Photographs:
        """Of the training pairs, of the held-out ones (True), or of all (None); taken or read at the first call."""
        return cached(self.photographer, self.count, self.seed, held_out)
