"""The multi-resolution hash grid's levels and how their entries lie in the one parameter table.

Müller et al. 2022, "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding", section 3.
"""

import math
from dataclasses import dataclass

PRIMES = (1, 2654435761, 805459861)  # Müller et al. 2022, equation 4


@dataclass(frozen=True)
class HashGrid:
    """Resolutions and table layout of an encoding with `levels` grids of `features` numbers a vertex.

    Level l has `resolutions[l]` cells a side. Its entries are the rows `offsets[l] : offsets[l] + entries[l]` of the
    table. Where all (resolution + 1)^3 vertices fit into 2^log2_entries rows they lie densely, x fastest; elsewhere
    vertex (i, j, k) shares the row  (i*1 xor j*2654435761 xor k*805459861) mod 2^log2_entries.
    """

    levels: int = 16
    features: int = 2
    log2_entries: int = 17
    base: int = 16
    finest: int = 2048

    def __post_init__(self):
        if self.levels < 1 or self.features < 1:
            raise ValueError(f"a hash grid needs at least one level and one feature, got {self}")
        if not 1 <= self.log2_entries <= 31:
            raise ValueError(f"log2_entries must lie in 1..31, got {self.log2_entries}")
        if not 1 <= self.base <= self.finest < 2**20:
            raise ValueError(f"resolutions must satisfy 1 <= base <= finest < 2^20, got {self.base} and {self.finest}")

    @property
    def growth(self) -> float:
        """The ratio of neighbouring levels' resolutions; Müller et al. 2022, equation 3."""
        return (self.finest / self.base) ** (1 / max(self.levels - 1, 1))

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Cells a side, floor(base * growth^level); equation 2. A single level has the base resolution."""
        rounding = 1e-6  # keeps the last level at `finest` when the power comes out a hair below it
        return tuple(math.floor(self.base * self.growth**level + rounding) for level in range(self.levels))

    @property
    def entries(self) -> tuple[int, ...]:
        """Table rows of each level."""
        return tuple(min((resolution + 1) ** 3, 2**self.log2_entries) for resolution in self.resolutions)

    @property
    def offsets(self) -> tuple[int, ...]:
        """The first table row of each level."""
        return tuple(sum(self.entries[:level]) for level in range(self.levels))

    @property
    def dense(self) -> tuple[bool, ...]:
        """Whether each level has a row of its own for every vertex."""
        return tuple((resolution + 1) ** 3 <= 2**self.log2_entries for resolution in self.resolutions)

    @property
    def total_entries(self) -> int:
        return sum(self.entries)

    @property
    def width(self) -> int:
        """Numbers in an encoded point."""
        return self.levels * self.features
