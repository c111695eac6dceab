"""The hash encoding of a block of points in numba, and the gradient by its table.

A block's numbers lie side by side, point by point: row r of an array is `array[r * BLOCK : (r + 1) * BLOCK]`. Flat
arrays and constant distances are what lets the compiler work on many points at once. Both features of a vertex are one
64-bit number, so that they are read at once. Corners are counted with x fastest.
"""

import numba
import numpy as np

from threestudio_like.kernels.hashgrid.cpu import PRIME_Y, PRIME_Z

BLOCK = 256
PLACE = 9
"""Rows that describe a block's points: coordinates clamped to 0..1, 1 where a coordinate was inside or else 0, and the
loss' gradient by the slopes."""
ZERO, ONE = np.float32(0), np.float32(1)

inline = numba.njit(forceinline=True, fastmath={"contract"}, error_model="numpy")


@inline
def clamp(x, first, place):
    """Fills the first six rows of `place` for the points from `first` on; beyond the last one it repeats that."""
    last = len(x) - 1
    for p in range(BLOCK):
        n = min(first + p, last)
        for axis in range(3):
            value = x[n, axis]
            clamped = min(max(value, ZERO), ONE)
            place[axis * BLOCK + p] = clamped
            place[(3 + axis) * BLOCK + p] = ONE if clamped == value else ZERO


@inline
def encode(place, table, levels, features, slopes):
    """Fills the features of a block and, where `slopes` has rows, each one's derivatives by x, y and z."""
    cell = np.empty(6 * BLOCK, np.float32)
    rows = np.empty(8 * BLOCK, np.uint32)
    pairs = np.empty(8 * BLOCK, np.uint64)
    one, two = np.empty(8 * BLOCK, np.float32), np.empty(8 * BLOCK, np.float32)
    for level in range(len(levels)):
        locate(place, levels, level, cell, rows)
        for i in range(8 * BLOCK):
            pairs[i] = table[rows[i]]
        for i in range(8 * BLOCK):
            one[i], two[i] = np.uint32(pairs[i]).view(np.float32), np.uint32(pairs[i] >> np.uint64(32)).view(np.float32)
        first, last = 2 * level * BLOCK, 2 * (level + 1) * BLOCK
        interpolate(one, cell, features[first : first + BLOCK])
        interpolate(two, cell, features[first + BLOCK : last])
        if len(slopes) > 0:
            first, last = 6 * level * BLOCK, 6 * (level + 1) * BLOCK
            differentiate(one, cell, slopes[first : first + 3 * BLOCK])
            differentiate(two, cell, slopes[first + 3 * BLOCK : last])


@inline
def locate(place, levels, level, cell, rows):
    """Fills the points' fractions 0..1 along each axis of their cell, those fractions' derivatives by the point, and
    the table's rows of the cell's corners."""
    resolution, offset, entries, dense = levels[level]
    size, mask, stride = np.float32(resolution), np.uint32(entries - 1), np.uint32(resolution + 1)
    last, start = size - ONE, np.uint32(offset)
    for p in range(BLOCK):
        for axis in range(3):
            scaled = place[axis * BLOCK + p] * size
            whole = np.int32(scaled if scaled < last else last)  # a NaN takes the last cell, and stays in the fraction
            rows[axis * BLOCK + p] = np.uint32(whole)
            cell[axis * BLOCK + p] = scaled - np.float32(whole)
            cell[(3 + axis) * BLOCK + p] = place[(3 + axis) * BLOCK + p] * size
    if dense:
        for p in range(BLOCK):
            row = start + rows[p] + stride * (rows[BLOCK + p] + stride * rows[2 * BLOCK + p])
            for corner in range(8):
                a, b, c = np.uint32(corner & 1), np.uint32(corner >> 1 & 1), np.uint32(corner >> 2)
                rows[corner * BLOCK + p] = row + a + stride * (b + stride * c)
    else:
        for p in range(BLOCK):
            x, y, z = rows[p], rows[BLOCK + p] * PRIME_Y, rows[2 * BLOCK + p] * PRIME_Z
            for corner in range(8):
                a, b, c = np.uint32(corner & 1), np.uint32(corner >> 1 & 1), np.uint32(corner >> 2)
                rows[corner * BLOCK + p] = start + (((x + a) ^ (y + b * PRIME_Y) ^ (z + c * PRIME_Z)) & mask)


@inline
def interpolate(corners, cell, feature):
    """Fills one feature, trilinear between the corners."""
    for p in range(BLOCK):
        u, v, w = cell[p], cell[BLOCK + p], cell[2 * BLOCK + p]
        a, b = along_x(corners, 0, p, u), along_x(corners, 2, p, u)
        c, d = along_x(corners, 4, p, u), along_x(corners, 6, p, u)
        feature[p] = mix(mix(a, b, v), mix(c, d, v), w)


@inline
def differentiate(corners, cell, slopes):
    """Fills one feature's derivatives by x, y and z."""
    for p in range(BLOCK):
        u, v, w = cell[p], cell[BLOCK + p], cell[2 * BLOCK + p]
        a, b = along_x(corners, 0, p, u), along_x(corners, 2, p, u)
        c, d = along_x(corners, 4, p, u), along_x(corners, 6, p, u)
        low = mix(rise(corners, 0, p), rise(corners, 2, p), v)
        high = mix(rise(corners, 4, p), rise(corners, 6, p), v)
        slopes[p] = mix(low, high, w) * cell[3 * BLOCK + p]
        slopes[BLOCK + p] = mix(b - a, d - c, w) * cell[4 * BLOCK + p]
        slopes[2 * BLOCK + p] = (mix(c, d, v) - mix(a, b, v)) * cell[5 * BLOCK + p]


@inline
def along_x(corners, corner, p, u):
    """Interpolates between a corner and its neighbour along x."""
    return mix(corners[corner * BLOCK + p], corners[(corner + 1) * BLOCK + p], u)


@inline
def rise(corners, corner, p):
    """Returns the difference between a corner's neighbour along x and the corner."""
    return corners[(corner + 1) * BLOCK + p] - corners[corner * BLOCK + p]


@inline
def mix(a, b, t):
    """Interpolates linearly."""
    return a + t * (b - a)


@inline
def spread(place, levels, level, to_features, to_slopes, gradient):
    """Adds a block's part to the gradient by one level's entries.

    `to_features` is the loss' gradient by the level's two features. The slopes along `place`'s last rows have the
    gradient `to_slopes`, where that has rows. A point's corners follow each other, so that no addition waits for the
    one before.
    """
    cell = np.empty(6 * BLOCK, np.float32)
    rows = np.empty(8 * BLOCK, np.uint32)
    shares = np.empty(16 * BLOCK, np.float32)
    locate(place, levels, level, cell, rows)
    for p in range(BLOCK):
        u, v, w = cell[p], cell[BLOCK + p], cell[2 * BLOCK + p]
        one, two = to_features[p], to_features[BLOCK + p]
        for corner in range(8):
            a = u if corner & 1 else ONE - u
            b = v if corner & 2 else ONE - v
            c = w if corner & 4 else ONE - w
            shares[2 * (corner * BLOCK + p)] = a * b * c * one
            shares[2 * (corner * BLOCK + p) + 1] = a * b * c * two
    if len(to_slopes) > 0:
        for p in range(BLOCK):
            u, v, w = cell[p], cell[BLOCK + p], cell[2 * BLOCK + p]
            x = place[6 * BLOCK + p] * cell[3 * BLOCK + p]
            y = place[7 * BLOCK + p] * cell[4 * BLOCK + p]
            z = place[8 * BLOCK + p] * cell[5 * BLOCK + p]
            one, two = to_slopes[p], to_slopes[BLOCK + p]
            for corner in range(8):
                a, da = (u, x) if corner & 1 else (ONE - u, -x)
                b, db = (v, y) if corner & 2 else (ONE - v, -y)
                c, dc = (w, z) if corner & 4 else (ONE - w, -z)
                change = da * b * c + a * db * c + a * b * dc
                shares[2 * (corner * BLOCK + p)] += change * one
                shares[2 * (corner * BLOCK + p) + 1] += change * two
    for p in range(BLOCK):
        for corner in range(8):
            i, row = 2 * (corner * BLOCK + p), np.uint64(2) * np.uint64(rows[corner * BLOCK + p])
            gradient[row] += shares[i]
            gradient[row + np.uint64(1)] += shares[i + 1]
