"""Visibility in numba: parallel over bands of rows, each of which draws the faces that reach into it, in order."""

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from threestudio_like.utils.threads import numba_like_torch

BAND = 32  # rows
ZERO, HALF = np.float32(0), np.float32(0.5)

inline = numba.njit(forceinline=True, error_model="numpy")  # no fastmath: every implementation must round alike
parallel = numba.njit(cache=True, parallel=True, error_model="numpy")


def nearest_face(
    vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], height: int, width: int
) -> Int[Tensor, "B H W"]:
    """Finds the nearest face at each pixel's centre, or -1; a vertex is its pixel x, y and inverse depth (0: not
    drawn)."""
    numba_like_torch()
    face = torch.full((len(vertices), height, width), -1)
    best = torch.zeros(len(vertices), height, width)
    rows = torch.empty(len(vertices), len(faces), 2, dtype=torch.int32)
    find_rows(vertices.numpy(), faces.numpy(), height, rows.numpy())
    draw_bands(vertices.numpy(), faces.numpy(), rows.numpy(), face.numpy(), best.numpy())
    return face


@inline
def pixels_between(low, high, size):
    """Returns the first pixel whose centre is at `low` or beyond, and the one after the last that is at `high` or
    before."""
    limit = np.float32(size)
    first = np.ceil(min(max(low - HALF, ZERO), limit))
    after = np.floor(max(min(high - HALF, limit), np.float32(-1))) + np.float32(1)
    return np.int64(first), min(np.int64(after), size)


@parallel
def find_rows(vertices, faces, height, rows):
    """Fills in the rows that each face covers; none if one of its vertices is not drawn."""
    for view in range(len(vertices)):
        for f in numba.prange(len(faces)):
            a, b, c = vertices[view, faces[f, 0]], vertices[view, faces[f, 1]], vertices[view, faces[f, 2]]
            rows[view, f, 0], rows[view, f, 1] = 0, 0
            if a[2] > ZERO and b[2] > ZERO and c[2] > ZERO:
                first, after = pixels_between(min(a[1], b[1], c[1]), max(a[1], b[1], c[1]), height)
                rows[view, f, 0], rows[view, f, 1] = first, after


@parallel
def draw_bands(vertices, faces, rows, face, best):
    """Draws all faces into `face` and `best`, the inverse depth of the nearest so far; bands of rows in parallel."""
    views, height, width = face.shape
    bands = (height + BAND - 1) // BAND
    for job in numba.prange(views * bands):
        view, top = job // bands, job % bands * BAND
        bottom = min(top + BAND, height)
        for f in range(len(faces)):
            first, after = max(rows[view, f, 0], top), min(rows[view, f, 1], bottom)
            if first < after:
                a, b, c = vertices[view, faces[f, 0]], vertices[view, faces[f, 1]], vertices[view, faces[f, 2]]
                left, right = pixels_between(min(a[0], b[0], c[0]), max(a[0], b[0], c[0]), width)
                for row in range(first, after):
                    draw_row(a, b, c, f, row, left, right, face[view, row], best[view, row])


@inline
def draw_row(a, b, c, f, row, left, right, face, best):
    """Draws the face f into one row of pixels, where it is nearer than what is there."""
    y = np.float32(row) + HALF
    ay, by, cy = a[1] - y, b[1] - y, c[1] - y
    for column in range(left, right):
        x = np.float32(column) + HALF
        ax, bx, cx = a[0] - x, b[0] - x, c[0] - x
        e0, e1, e2 = bx * cy - cx * by, cx * ay - ax * cy, ax * by - bx * ay
        area = e0 + e1 + e2
        if area != ZERO and e0 * area >= ZERO and e1 * area >= ZERO and e2 * area >= ZERO:
            nearness = (e0 * a[2] + e1 * b[2] + e2 * c[2]) / area
            if nearness > best[column]:
                best[column], face[column] = nearness, f
