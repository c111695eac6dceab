"""The multi-resolution hash grid's levels and the layout of their entries in the one parameter table.

Müller et al. 2022, "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding", section 3.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

PRIMES = (1, 2654435761, 805459861)  # Müller et al. 2022, equation 4


@dataclass(frozen=True)
class HashGrid:
    """Resolutions and table layout of an encoding with `n_levels` grids of `n_features_per_level` numbers a vertex.

    Level l has `resolutions[l]` cells a side. Its entries are the rows `offsets[l] : offsets[l] + entries[l]` of the
    table. Where all (resolution + 1)^3 vertices fit into 2^log2_hashmap_size rows they lie densely, x fastest;
    elsewhere vertex (i, j, k) shares the row (i*1 xor j*2654435761 xor k*805459861) mod 2^log2_hashmap_size.
    """

    n_levels: Annotated[int, Interval(ge=1, le=32)] = 16
    """Grids of rising resolution."""
    n_features_per_level: Annotated[int, Interval(ge=1, le=16)] = 2
    """Numbers at each vertex of a level."""
    log2_hashmap_size: Annotated[int, Interval(ge=1, le=31)] = 17
    """Binary logarithm of a level's rows in the table, at most."""
    base_resolution: Annotated[int, Interval(ge=1, lt=2**20)] = 16
    """Cells along each axis of the coarsest level."""
    max_resolution: Annotated[int, Interval(ge=1, lt=2**20)] = 2048
    """Cells along each axis of the finest level."""

    def __post_init__(self):
        if self.base_resolution > self.max_resolution:
            raise ValueError(
                f"base_resolution <= max_resolution does not hold: {self.base_resolution} and {self.max_resolution}"
            )

    @property
    def growth(self) -> float:
        """The ratio of neighbouring levels' resolutions; Müller et al. 2022, equation 3."""
        return (self.max_resolution / self.base_resolution) ** (1 / max(self.n_levels - 1, 1))

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Cells along each axis, floor(base * growth^level); equation 2. A single level has the base resolution."""
        rounding = 1e-6  # keeps the last level at `max_resolution` when the power comes out a hair below it
        return tuple(math.floor(self.base_resolution * self.growth**level + rounding) for level in range(self.n_levels))

    @property
    def entries(self) -> tuple[int, ...]:
        """Table rows of each level."""
        return tuple(min((resolution + 1) ** 3, 2**self.log2_hashmap_size) for resolution in self.resolutions)

    @property
    def offsets(self) -> tuple[int, ...]:
        """The first table row of each level."""
        return tuple(sum(self.entries[:level]) for level in range(self.n_levels))

    @property
    def dense(self) -> tuple[bool, ...]:
        """Whether each level has a row of its own for every vertex."""
        return tuple((resolution + 1) ** 3 <= 2**self.log2_hashmap_size for resolution in self.resolutions)

    @property
    def total_entries(self) -> int:
        """Rows of the whole table."""
        return sum(self.entries)

    @property
    def width(self) -> int:
        """Numbers in an encoded point."""
        return self.n_levels * self.n_features_per_level
