"""Sphere tracing of toys in plain PyTorch: the readable truth in tests, and the tracer for CUDA devices."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from threestudio_like.cameras import Cameras
from threestudio_like.data.toybox.assembly import (
    BLEND,
    BOX,
    CENTER,
    COLOR,
    CONE,
    CUT,
    ELLIPSOID,
    GRAIN,
    KIND,
    LIMB,
    ROTATION,
    ROUND,
    SIZE,
    TORUS,
)
from threestudio_like.data.toybox.trace_cpu import GRAIN_FREQUENCY, HIT, STEP_SCALE, STEPS

FAR = 1e9


def ellipsoid(p: Tensor, a: Tensor, b: Tensor, c: Tensor, round: Tensor) -> Tensor:
    """Estimates the signed distance to an ellipsoid of radii a, b, c, to first order; exact for a sphere."""
    radii = torch.stack([a, b, c], dim=-1)
    k0, k1 = (p / radii).norm(dim=-1), (p / radii.square()).norm(dim=-1)
    estimate = k0 * (k0 - 1) / k1.clamp(min=1e-9)
    return torch.where((a == b) & (b == c), p.norm(dim=-1) - a, estimate)


def box(p: Tensor, a: Tensor, b: Tensor, c: Tensor, round: Tensor) -> Tensor:
    """Computes the signed distance to a box of half extents a, b, c with edges rounded by `round`."""
    q = p.abs() - torch.stack([a, b, c], dim=-1) + round[..., None]
    return q.clamp(min=0).norm(dim=-1) + q.amax(dim=-1).clamp(max=0) - round


def cone(p: Tensor, a: Tensor, b: Tensor, c: Tensor, round: Tensor) -> Tensor:
    """Computes the signed distance to a truncated cone: bottom radius a, top radius b, half height c."""
    rho, z = p[..., :2].norm(dim=-1), p[..., 2]
    cap = torch.stack([rho - torch.minimum(rho, torch.where(z < 0, a, b)), z.abs() - c], dim=-1)
    slant = torch.stack([b - a, 2 * c], dim=-1)
    t = ((b - rho) * slant[..., 0] + (c - z) * slant[..., 1]) / slant.square().sum(-1)
    t = t.clamp(0, 1)
    side = torch.stack([rho - b, z - c], dim=-1) + slant * t[..., None]
    inside = (side[..., 0] < 0) & (cap[..., 1] < 0)
    return torch.where(inside, -1.0, 1.0) * torch.minimum(cap.square().sum(-1), side.square().sum(-1)).sqrt()


def limb(p: Tensor, a: Tensor, b: Tensor, c: Tensor, round: Tensor) -> Tensor:
    """Computes the signed distance to a tapered capsule: radius a at 0, radius b at c."""
    rho, z = p[..., :2].norm(dim=-1), p[..., 2]
    slope = (a - b) / c
    cosine = (1 - slope.square()).clamp(min=0).sqrt()
    k = cosine * z - slope * rho
    between = rho * cosine + z * slope - a
    low, high = torch.hypot(rho, z) - a, torch.hypot(rho, z - c) - b
    return torch.where(k < 0, low, torch.where(k > cosine * c, high, between))


def torus(p: Tensor, a: Tensor, b: Tensor, c: Tensor, round: Tensor) -> Tensor:
    """Computes the signed distance to a torus: major radius a, minor radius b."""
    return torch.hypot(p[..., :2].norm(dim=-1) - a, p[..., 2]) - b


SHAPES = {ELLIPSOID: ellipsoid, BOX: box, CONE: cone, LIMB: limb, TORUS: torus}


def local_points(row: Float[Tensor, "B 24"], points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 3"]:
    """Transforms points to a primitive's frame."""
    return torch.einsum("bij,bnj->bni", row[:, ROTATION].reshape(-1, 3, 3), points - row[:, None, CENTER])


def scene_distance(toys: Float[Tensor, "B P 24"], points: Float[Tensor, "B N 3"]) -> tuple[Tensor, Tensor]:
    """Computes signed distances `[B, N]` and the nearest row `[B, N]`; the rows are combined in order (see
    `assembly`)."""
    best = torch.full(points.shape[:2], FAR, device=points.device, dtype=points.dtype)
    nearest = torch.full(points.shape[:2], -1, device=points.device)
    for i in range(toys.shape[1]):
        row = toys[:, i]
        p, kind = local_points(row, points), row[:, None, KIND]
        size = [row[:, None, SIZE][..., k].expand(points.shape[:2]) for k in range(3)]
        d = torch.full_like(best, FAR)
        for number, shape in SHAPES.items():
            if (chosen := (kind == number) & (row[:, None, SIZE].amax(-1) > 0)).any():
                d = torch.where(chosen, shape(p, *size, row[:, None, ROUND].expand(points.shape[:2])), d)
        cut, blend = row[:, None, CUT] > 0.5, row[:, None, BLEND]
        nearest = torch.where(torch.where(cut, (-d > best) & (d < FAR), d < best), i, nearest)
        k = blend.clamp(min=1e-6)
        h = (k - (best - d).abs()).clamp(min=0) / k
        union = torch.minimum(best, d) - torch.where(blend > 0, 0.25 * h * h * k, 0.0)
        best = torch.where(cut, torch.where(d < FAR, torch.maximum(best, -d), best), union)
    return best, nearest


@torch.no_grad()
def trace(toys: Tensor, cameras: Cameras, light: Tensor, ambient: Tensor, textureless: Tensor, samples: int) -> Tensor:
    """Renders as `trace_cpu.trace` does, on the tensors' device: `[B, H, W, 11]`."""
    batch, height, width = len(cameras), cameras.height, cameras.width
    rays = cameras.resized(height * samples, width * samples).rays()
    o, d = rays.origins.view(batch, -1, 3), rays.directions.view(batch, -1, 3)
    towards = torch.where(d.abs() > 1e-9, d, 1e-9)
    planes = torch.stack([(-1 - o) / towards, (1 - o) / towards])
    t, far = planes.amin(0).amax(-1).clamp(min=0), planes.amax(0).amin(-1)
    hit = torch.zeros_like(t, dtype=torch.bool)
    nearest = torch.full_like(t, -1, dtype=torch.long)
    alive = t < far
    for _ in range(STEPS):
        distance, row = scene_distance(toys, o + t[..., None] * d)
        arrived = alive & (distance < HIT)
        nearest, hit = torch.where(arrived, row, nearest), hit | arrived
        t = torch.where(alive & ~arrived, t + STEP_SCALE * distance, t)
        alive = alive & ~arrived & (t <= far)
        if not alive.any():
            break
    x = o + t[..., None] * d
    normal = surface_normal(toys, x)
    rows = torch.gather(toys, 1, nearest.clamp(min=0)[..., None].expand(-1, -1, toys.shape[-1]))
    local = torch.einsum("bnij,bnj->bni", rows[..., ROTATION].unflatten(-1, (3, 3)), x - rows[..., CENTER])
    wave = torch.sin(GRAIN_FREQUENCY * (local * local.new_tensor([1.0, 0.35, 0.15])).sum(-1))
    albedo = rows[..., COLOR] * (1 - rows[..., GRAIN] * (0.5 + 0.5 * wave))[..., None]
    albedo = torch.where(textureless[:, None, None], 1.0, albedo)
    lambert = (normal * light[:, None]).sum(-1, keepdim=True).clamp(min=0)
    brightness = ambient[:, None, None] + (1 - ambient[:, None, None]) * lambert
    image = (
        torch.cat([albedo * brightness, torch.ones_like(t)[..., None], t[..., None], normal, x], dim=-1)
        * hit[..., None]
    )
    image = image.view(batch, height, samples, width, samples, 11).mean(dim=(2, 4))
    opacity = image[..., 3:4]
    return torch.cat([image[..., :4], torch.where(opacity > 0, image[..., 4:] / opacity.clamp(min=1e-6), 0.0)], dim=-1)


def surface_normal(toys: Tensor, x: Tensor) -> Tensor:
    """Computes unit normals by differences at the corners of a small tetrahedron."""
    corners = x.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
    return F.normalize(
        sum(corner * scene_distance(toys, x + 2e-3 * corner)[0][..., None] for corner in corners), dim=-1
    )
