"""Sphere tracing of toys in numba: parallel over image rows, one ray at a time, only the primitives near the ray."""

import math

import numba
import numpy as np

from threestudio_like.data.toybox.assembly import BLEND, BOUND, BOX, CONE, CUT, ELLIPSOID, GRAIN, KIND, LIMB, ROUND
from threestudio_like.utils.threads import numba_like_torch

STEPS = 96
HIT = 1e-3
STEP_SCALE = 0.9  # the ellipsoid's distance is a first-order estimate and can overshoot
GRAIN_FREQUENCY = 38.0

inline = numba.njit(forceinline=True, fastmath=True, error_model="numpy")


@inline
def local_point(row, x, y, z):
    """Transforms a point to a primitive's frame."""
    dx, dy, dz = x - row[7], y - row[8], z - row[9]
    return (
        row[10] * dx + row[11] * dy + row[12] * dz,
        row[13] * dx + row[14] * dy + row[15] * dz,
        row[16] * dx + row[17] * dy + row[18] * dz,
    )


@inline
def primitive_distance(row, x, y, z):
    """Computes the signed distance to one primitive; see `assembly` for the meaning of the columns."""
    px, py, pz = local_point(row, x, y, z)
    a, b, c = row[4], row[5], row[6]
    kind = int(row[KIND])
    if kind == ELLIPSOID:
        if a == b and b == c:
            return math.sqrt(px * px + py * py + pz * pz) - a
        k0 = math.sqrt((px / a) ** 2 + (py / b) ** 2 + (pz / c) ** 2)
        k1 = math.sqrt((px / (a * a)) ** 2 + (py / (b * b)) ** 2 + (pz / (c * c)) ** 2)
        return k0 * (k0 - 1.0) / max(k1, 1e-9)
    if kind == BOX:
        r = row[ROUND]
        qx, qy, qz = abs(px) - a + r, abs(py) - b + r, abs(pz) - c + r
        outside = math.sqrt(max(qx, 0.0) ** 2 + max(qy, 0.0) ** 2 + max(qz, 0.0) ** 2)
        return outside + min(max(qx, max(qy, qz)), 0.0) - r
    rho = math.sqrt(px * px + py * py)
    if kind == CONE:
        cap_x = rho - min(rho, a if pz < 0.0 else b)
        cap_y = abs(pz) - c
        k2x, k2y = b - a, 2.0 * c
        t = ((b - rho) * k2x + (c - pz) * k2y) / (k2x * k2x + k2y * k2y)
        t = min(max(t, 0.0), 1.0)
        side_x, side_y = rho - b + k2x * t, pz - c + k2y * t
        sign = -1.0 if (side_x < 0.0 and cap_y < 0.0) else 1.0
        return sign * math.sqrt(min(cap_x * cap_x + cap_y * cap_y, side_x * side_x + side_y * side_y))
    if kind == LIMB:
        slope = (a - b) / c
        cosine = math.sqrt(max(1.0 - slope * slope, 0.0))
        k = -slope * rho + cosine * pz
        if k < 0.0:
            return math.sqrt(rho * rho + pz * pz) - a
        if k > cosine * c:
            return math.sqrt(rho * rho + (pz - c) ** 2) - b
        return rho * cosine + pz * slope - a
    return math.sqrt((rho - a) ** 2 + pz * pz) - b


@inline
def scene_distance(rows, active, count, x, y, z):
    """Computes the signed distance to the toy, and the row whose surface is nearest there."""
    best, nearest = 1e9, -1
    for i in range(count):
        row = rows[active[i]]
        d = primitive_distance(row, x, y, z)
        if row[CUT] > 0.5:
            if -d > best:
                best, nearest = -d, active[i]
            continue
        k = row[BLEND]
        if d < best:
            nearest = active[i]
        if k > 0.0:
            h = max(k - abs(best - d), 0.0) / k
            best = min(best, d) - 0.25 * h * h * k
        else:
            best = min(best, d)
    return best, nearest


@inline
def near_ray(rows, active, ox, oy, oz, dx, dy, dz):
    """Fills `active` with the rows whose bounding sphere the ray meets, and returns their number; 0 where all are
    cuts."""
    count, solid = 0, False
    for i in range(len(rows)):
        row = rows[i]
        if row[BOUND] <= 0.0:
            break
        cx, cy, cz = row[7] - ox, row[8] - oy, row[9] - oz
        along = cx * dx + cy * dy + cz * dz
        reach = row[BOUND] + row[BLEND] + 0.02
        if cx * cx + cy * cy + cz * cz - along * along < reach * reach:
            active[count] = i
            count += 1
            solid = solid or row[CUT] < 0.5
    return count if solid else 0


@inline
def march(rows, active, count, ox, oy, oz, dx, dy, dz):
    """Finds the distance along the ray to the surface and the nearest row, or -1."""
    near, far = 0.0, 1e9
    for o, d in ((ox, dx), (oy, dy), (oz, dz)):
        if abs(d) > 1e-9:
            t0, t1 = (-1.0 - o) / d, (1.0 - o) / d
            near, far = max(near, min(t0, t1)), min(far, max(t0, t1))
        elif abs(o) > 1.0:
            return -1.0, -1
    t = near
    for _ in range(STEPS):
        if t > far:
            return -1.0, -1
        d, nearest = scene_distance(rows, active, count, ox + t * dx, oy + t * dy, oz + t * dz)
        if d < HIT:
            return t, nearest
        t += STEP_SCALE * d
    return -1.0, -1


@inline
def surface_normal(rows, active, count, x, y, z):
    """Computes the unit normal by differences at the corners of a small tetrahedron."""
    e = 2e-3
    nx = ny = nz = 0.0
    for sx, sy, sz in ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0)):
        d, _ = scene_distance(rows, active, count, x + e * sx, y + e * sy, z + e * sz)
        nx, ny, nz = nx + sx * d, ny + sy * d, nz + sz * d
    length = max(math.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
    return nx / length, ny / length, nz / length


@inline
def grain_factor(row, x, y, z):
    """Computes the factor by which wood's grain darkens a point."""
    px, py, pz = local_point(row, x, y, z)
    return 1.0 - row[GRAIN] * (0.5 + 0.5 * math.sin(GRAIN_FREQUENCY * (px + 0.35 * py + 0.15 * pz)))


def trace(
    toys: np.ndarray,
    c2w: np.ndarray,
    fov_y: np.ndarray,
    light: np.ndarray,
    ambient: np.ndarray,
    textureless: np.ndarray,
    height: int,
    width: int,
    samples: int,
) -> np.ndarray:
    """Renders B toys by B cameras, the mean of `samples`^2 rays a pixel.

    toys [B, P, 24] (padded with zero rows), c2w [B, 4, 4], fov_y [B], light [B, 3] unit directions towards the light,
    ambient [B] in 0..1 (diffuse is the rest), textureless [B] bool. Returns [B, H, W, 11]: shaded rgb times opacity,
    opacity, depth, normal, point, the last seven averaged over the rays that hit.
    """
    numba_like_torch()
    return trace_rows(toys, c2w, fov_y, light, ambient, textureless, height, width, samples)


def distances(rows: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the signed distance [N] of a toy [P, 24] at points [N, 3], and the nearest row [N]."""
    numba_like_torch()
    return distances_and_rows(rows, points)


@numba.njit(cache=True, fastmath=True, parallel=True, error_model="numpy")
def trace_rows(toys, c2w, fov_y, light, ambient, textureless, height, width, samples):
    """Traces image rows side by side; see `trace`."""
    batch = len(toys)
    out = np.zeros((batch, height, width, 11), dtype=np.float32)
    for job in numba.prange(batch * height):
        b, i = job // height, job % height
        rows = toys[b]
        active = np.empty(len(rows), dtype=np.int64)
        m = c2w[b]
        focal = 0.5 * height / math.tan(0.5 * fov_y[b])
        ox, oy, oz = m[0, 3], m[1, 3], m[2, 3]
        for j in range(width):
            pixel = out[b, i, j]
            hits = 0.0
            for s in range(samples * samples):
                lx = j + (s % samples + 0.5) / samples - 0.5 * width
                ly = 0.5 * height - i - (s // samples + 0.5) / samples
                length = math.sqrt(lx * lx + ly * ly + focal * focal)
                lx, ly, lz = lx / length, ly / length, -focal / length
                dx = m[0, 0] * lx + m[0, 1] * ly + m[0, 2] * lz
                dy = m[1, 0] * lx + m[1, 1] * ly + m[1, 2] * lz
                dz = m[2, 0] * lx + m[2, 1] * ly + m[2, 2] * lz
                count = near_ray(rows, active, ox, oy, oz, dx, dy, dz)
                if count == 0:
                    continue
                t, nearest = march(rows, active, count, ox, oy, oz, dx, dy, dz)
                if nearest < 0:
                    continue
                x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
                nx, ny, nz = surface_normal(rows, active, count, x, y, z)
                lambert = max(nx * light[b, 0] + ny * light[b, 1] + nz * light[b, 2], 0.0)
                brightness = ambient[b] + (1.0 - ambient[b]) * lambert
                row = rows[nearest]
                grain = grain_factor(row, x, y, z) if row[GRAIN] > 0.0 else 1.0
                for c in range(3):
                    albedo = 1.0 if textureless[b] else row[19 + c] * grain
                    pixel[c] += albedo * brightness
                hits += 1.0
                pixel[4] += t
                pixel[5] += nx
                pixel[6] += ny
                pixel[7] += nz
                pixel[8] += x
                pixel[9] += y
                pixel[10] += z
            if hits > 0.0:
                for c in range(3):
                    pixel[c] /= samples * samples
                pixel[3] = hits / (samples * samples)
                for c in range(4, 11):
                    pixel[c] /= hits
    return out


@numba.njit(cache=True, fastmath=True, parallel=True, error_model="numpy")
def distances_and_rows(rows, points):
    """Measures points side by side; see `distances`."""
    out = np.empty(len(points), dtype=np.float32)
    nearest = np.empty(len(points), dtype=np.int64)
    everything = np.arange(len(rows))
    for n in numba.prange(len(points)):
        out[n], nearest[n] = scene_distance(rows, everything, len(rows), points[n, 0], points[n, 1], points[n, 2])
    return out, nearest
