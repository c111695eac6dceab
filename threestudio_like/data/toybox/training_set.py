"""The set of photographs a prior is trained on, as a recipe names it."""

import functools
from dataclasses import dataclass, field

from threestudio_like.config.ranges import Count, Seed
from threestudio_like.data.toybox.photographs import CaptureConfig, Photographs, cached_dataset


@dataclass(frozen=True)
class TrainingSet:
    """Photographs that a prior is trained on."""

    count: Count = 60000
    """Number of photographs."""
    seed: Seed = 1
    """Seed of toys, cameras and light."""
    capture: CaptureConfig = field(default_factory=CaptureConfig)
    """Cameras and light."""

    @functools.cache
    def photographs(self, held_out: bool | None = False) -> Photographs:
        """Returns photographs of the training pairs, of the held-out ones (True), or of all (None), rendered once and
        cached."""
        return cached_dataset(self.capture, self.count, self.seed, held_out)
