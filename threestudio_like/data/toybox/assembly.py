"""Toys as assemblies of signed-distance primitives: built by a category's function, rendered by a tracer.

A toy is one array of rows, a row a primitive. The rows are combined in order: `d = min(d, d_i)` (with a polynomial
smooth minimum where `blend > 0`), or `d = max(d, -d_i)` for a cut. The distance functions are the classic closed forms
(Hart 1996, "Sphere tracing"; Quilez, "Distance functions").
"""

from dataclasses import dataclass

import numpy as np

ELLIPSOID, BOX, CONE, LIMB, TORUS = range(5)

# Columns of a row. `size` means: ellipsoid radii; box half extents; cone (bottom radius, top radius, half height);
# limb (radius at 0, radius at h, length h); torus (major radius, minor radius, unused). Axes run along local z.
KIND, CUT, BLEND, ROUND = 0, 1, 2, 3
SIZE, CENTER, ROTATION, COLOR = slice(4, 7), slice(7, 10), slice(10, 19), slice(19, 22)
GRAIN, BOUND = 22, 23
COLUMNS = 24

RADIUS = 0.95
"""A toy's tight box is centred in the scene cube [-1, 1]^3 and has this half diagonal."""


@dataclass(frozen=True)
class Toy:
    """One object: its primitives `[P, COLUMNS]`, its category, and the words for it."""

    primitives: np.ndarray
    category: str
    color: str
    feature: str | None


def rotation_to(axis: np.ndarray) -> np.ndarray:
    """Computes the world-to-local rotation [3, 3] that takes the direction `axis` to local +z."""
    z = axis / np.linalg.norm(axis)
    helper = np.array([1.0, 0, 0]) if abs(z[0]) < 0.9 else np.array([0, 1.0, 0])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def rotation_by(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Computes the world-to-local rotation [3, 3] of a part turned about x, then y, then z, in degrees."""
    a, b, c = np.deg2rad([roll, pitch, yaw])
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return (rz @ ry @ rx).T


class Assembly:
    """Collects primitives in free units; `finish` centres and scales them to the scene."""

    def __init__(self, main_color, grain: float = 0.0):
        self.main_color = np.asarray(main_color, dtype=np.float64)
        self.grain = grain
        self.rows: list[np.ndarray] = []
        self.extents: list[np.ndarray] = []

    def ellipsoid(self, center, radii, color=None, turn=(0, 0, 0), blend=0.0, cut=False):
        """Adds an ellipsoid, turned about x, y and z by `turn` degrees."""
        radii = np.broadcast_to(np.asarray(radii, dtype=np.float64), 3)
        rotation = rotation_by(*turn)
        extent = np.sqrt(((rotation.T * radii) ** 2).sum(1))
        self._add(ELLIPSOID, center, radii, rotation, extent, radii.max(), color, blend, cut)

    def box(self, center, half, color=None, turn=(0, 0, 0), round=0.02, blend=0.0, cut=False):
        """Adds a box of these half extents with rounded edges."""
        half = np.asarray(half, dtype=np.float64)
        round = min(round, 0.9 * half.min())
        rotation = rotation_by(*turn)
        extent = np.abs(rotation.T * half).sum(1)
        self._add(BOX, center, half, rotation, extent, np.linalg.norm(half), color, blend, cut, round)

    def cone(self, start, end, r_start, r_end, color=None, blend=0.0, cut=False):
        """Adds a truncated cone (a cylinder where both radii are equal) with flat ends at `start` and `end`."""
        start, end = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
        height = np.linalg.norm(end - start)
        z = (end - start) / height
        disc = np.sqrt(np.maximum(1 - z**2, 0))
        low = np.minimum(start - disc * r_start, end - disc * r_end)
        high = np.maximum(start + disc * r_start, end + disc * r_end)
        bound = np.hypot(height / 2, max(r_start, r_end))
        size = np.array([r_start, r_end, height / 2])
        self._add(CONE, (start + end) / 2, size, rotation_to(z), (low, high), bound, color, blend, cut)

    def cylinder(self, start, end, radius, color=None, **how):
        """Adds a cylinder with flat ends at `start` and `end`."""
        self.cone(start, end, radius, radius, color, **how)

    def limb(self, start, end, r_start, r_end, color=None, blend=0.0):
        """Adds a tapered capsule: the hull of a sphere at `start` and one at `end`."""
        start, end = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
        length = np.linalg.norm(end - start)
        low = np.minimum(start - r_start, end - r_end)
        high = np.maximum(start + r_start, end + r_end)
        size = np.array([r_start, r_end, length])
        bound = length + max(r_start, r_end)
        self._add(LIMB, start, size, rotation_to(end - start), (low, high), bound, color, blend, False)

    def torus(self, center, major, minor, axis=(0, 0, 1), color=None):
        """Adds a ring around `axis`."""
        rotation = rotation_to(np.asarray(axis, dtype=np.float64))
        z = rotation[2]
        extent = major * np.sqrt(np.maximum(1 - z**2, 0)) + minor
        self._add(TORUS, center, np.array([major, minor, 0.0]), rotation, extent, major + minor, color, 0.0, False)

    def _add(self, kind, center, size, rotation, extent, bound, color, blend, cut, round=0.0):
        center = np.asarray(center, dtype=np.float64)
        row = np.zeros(COLUMNS)
        row[[KIND, CUT, BLEND, ROUND, BOUND]] = kind, cut, blend, round, bound
        row[SIZE], row[CENTER], row[ROTATION] = size, center, rotation.ravel()
        row[COLOR] = self.main_color if color is None else color
        row[GRAIN] = self.grain if color is None else 0.0
        self.rows.append(row)
        if not cut:
            box = extent if isinstance(extent, tuple) else (center - extent, center + extent)
            self.extents.append(np.stack(box))

    def finish(self) -> np.ndarray:
        """Returns the rows [P, COLUMNS], moved and scaled so that the tight box is centred and its half diagonal is
        RADIUS."""
        rows, extents = np.stack(self.rows), np.stack(self.extents)
        low, high = extents[:, 0].min(0), extents[:, 1].max(0)
        scale = RADIUS / (np.linalg.norm(high - low) / 2)
        rows[:, CENTER] = (rows[:, CENTER] - (low + high) / 2) * scale
        rows[:, SIZE] *= scale
        rows[:, [BLEND, ROUND, BOUND]] *= scale
        return rows.astype(np.float32)
