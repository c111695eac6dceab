"""Visibility in Triton: one program a face and view, which offers itself to the pixels of its bounding box.

The nearest wins by an atomic maximum on one 64-bit key a pixel: the inverse depth's bits, which for positive floats are
ordered as the floats are, above the face's index counted down, so that of equally near faces the first wins.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

TILE = 8  # pixels along each axis at a time
LAST = 0x7FFFFFFF
OPTIONS = {"num_warps": 1, "enable_fp_fusion": False}  # every implementation must round alike


def nearest_face(
    vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], height: int, width: int
) -> Int[Tensor, "B H W"]:
    """Finds the nearest face at each pixel's centre, or -1; a vertex is its pixel x, y and inverse depth (0: not
    drawn)."""
    best = torch.zeros(len(vertices), height, width, dtype=torch.int64, device=vertices.device)
    draw[len(faces), len(vertices)](vertices, faces, best, vertices.shape[1], height, width, TILE, LAST, **OPTIONS)
    return torch.where(best == 0, -1, LAST - (best & LAST))


@triton.jit
def draw(vertices_at, faces_at, best_at, count, height, width, TILE: tl.constexpr, LAST: tl.constexpr):
    """Offers one face of one view to the pixels of its bounding box."""
    face, view = tl.program_id(0), tl.program_id(1).to(tl.int64)
    at = vertices_at + view * count * 3
    a, b, c = (
        at + 3 * tl.load(faces_at + face * 3),
        at + 3 * tl.load(faces_at + face * 3 + 1),
        at + 3 * tl.load(faces_at + face * 3 + 2),
    )
    ax, ay, az = tl.load(a), tl.load(a + 1), tl.load(a + 2)
    bx, by, bz = tl.load(b), tl.load(b + 1), tl.load(b + 2)
    cx, cy, cz = tl.load(c), tl.load(c + 1), tl.load(c + 2)
    if (az > 0) & (bz > 0) & (cz > 0):
        left, right = pixels_between(tl.minimum(tl.minimum(ax, bx), cx), tl.maximum(tl.maximum(ax, bx), cx), width)
        top, bottom = pixels_between(tl.minimum(tl.minimum(ay, by), cy), tl.maximum(tl.maximum(ay, by), cy), height)
        for row in range(top, bottom, TILE):
            for column in range(left, right, TILE):
                i, j = row + tl.arange(0, TILE)[:, None], column + tl.arange(0, TILE)[None, :]
                y, x = i.to(tl.float32) + 0.5, j.to(tl.float32) + 0.5
                e0 = (bx - x) * (cy - y) - (cx - x) * (by - y)
                e1 = (cx - x) * (ay - y) - (ax - x) * (cy - y)
                e2 = (ax - x) * (by - y) - (bx - x) * (ay - y)
                area = e0 + e1 + e2
                inside = (area != 0) & (e0 * area >= 0) & (e1 * area >= 0) & (e2 * area >= 0)
                inside = inside & (i < bottom) & (j < right)
                nearness = tl.div_rn(e0 * az + e1 * bz + e2 * cz, tl.where(area == 0, 1.0, area))
                inside = inside & (nearness > 0)
                key = (nearness.to(tl.int32, bitcast=True).to(tl.int64) << 32) | (LAST - face).to(tl.int64)
                tl.atomic_max(best_at + (view * height + i) * width + j, key, mask=inside, sem="relaxed")


@triton.jit
def pixels_between(low, high, size):
    """Returns the first pixel whose centre is at `low` or beyond, and the one after the last that is at `high` or
    before."""
    end = size * 1.0  # of a size of 1, which is a constant, there is no `.to`
    first = tl.ceil(tl.minimum(tl.maximum(low - 0.5, 0.0), end))
    after = tl.floor(tl.maximum(tl.minimum(high - 0.5, end), -1.0)) + 1
    return first.to(tl.int32), tl.minimum(after.to(tl.int32), size)
