"""Stands in for nerfacc 0.5.3, as documented in its docstrings.

https://github.com/nerfstudio-project/nerfacc/blob/57ccfa14feb94975836ea6913149a86737220f2b/nerfacc/grid.py
and volrend.py beside it.
"""

from dataclasses import dataclass

import torch


@dataclass
class RaySamples:
    vals: torch.Tensor
    packed_info: torch.Tensor | None = None
    ray_indices: torch.Tensor | None = None
    is_valid: torch.Tensor | None = None


@torch.no_grad()
def traverse_grids(
    rays_o,
    rays_d,
    binaries,
    aabbs,
    near_planes=None,
    far_planes=None,
    step_size=1e-3,
    cone_angle=0.0,
    traverse_steps_limit=None,
    over_allocate=False,
    rays_mask=None,
    t_sorted=None,
    t_indices=None,
    hits=None,
):
    """Steps from the near plane on; keeps those whose middle lies in an occupied cell. Returns intervals, samples and
    where rays end, of which only the samples are computed here."""
    count = len(rays_o)
    assert count > 0, "a launch over no rays divides by zero"
    assert all(x.dtype == torch.float32 for x in (rays_o, rays_d, aabbs, near_planes, far_planes))
    assert rays_o.shape == rays_d.shape == (count, 3) and near_planes.shape == far_planes.shape == (count,)
    assert binaries.dtype == torch.bool and binaries.ndim == 4 and aabbs.shape == (len(binaries), 6)
    if len(binaries) != 1 or cone_angle != 0 or over_allocate or rays_mask is not None or traverse_steps_limit:
        raise NotImplementedError
    low, high = aabbs[0].split(3)
    one, two = (low - rays_o) / rays_d, (high - rays_o) / rays_d
    enter = torch.minimum(one, two).nan_to_num(-torch.inf).amax(-1).maximum(near_planes)
    leave = torch.maximum(one, two).nan_to_num(torch.inf).amin(-1).minimum(far_planes)
    resolution = torch.tensor(binaries.shape[1:])
    kept = []
    for ray in range(count):
        found, t = [], float(near_planes[ray])
        while t + 0.5 * step_size < leave[ray]:
            middle = t + 0.5 * step_size
            place = (rays_o[ray] + middle * rays_d[ray] - low) / (high - low)
            cell = (place * resolution).long().clamp(min=0).minimum(resolution - 1)
            if middle >= enter[ray] and binaries[0][tuple(cell)]:
                found.append(middle)
            t += step_size
        kept.append(found)
    counts = torch.tensor([len(found) for found in kept])
    packed = torch.stack([counts.cumsum(0) - counts, counts], dim=-1)
    values = torch.tensor([t for found in kept for t in found], dtype=torch.float32)
    return None, RaySamples(values, packed, torch.repeat_interleave(counts)), None


def render_weight_from_density(
    t_starts, t_ends, sigmas, packed_info=None, ray_indices=None, n_rays=None, prefix_trans=None
):
    """Weights, transmittance and opacity of samples `[M]`; `packed_info [rays, 2]` has each ray's start and count."""
    assert t_starts.shape == t_ends.shape == sigmas.shape and sigmas.ndim == 1 and prefix_trans is None
    assert len(sigmas) > 0
    if packed_info is None:
        counts = torch.bincount(ray_indices, minlength=n_rays)
        packed_info = torch.stack([counts.cumsum(0) - counts, counts], dim=-1)
    assert packed_info.shape[1:] == (2,) and packed_info.dtype == torch.int64
    depth = sigmas * (t_ends - t_starts)
    parts = [depth[start : start + count] for start, count in packed_info.tolist()]
    transmittance = torch.cat([torch.exp(part - part.cumsum(0)) for part in parts])
    alphas = 1.0 - torch.exp(-depth)
    return transmittance * alphas, transmittance, alphas


def accumulate_along_rays(weights, values=None, ray_indices=None, n_rays=None):
    """Sums `[n_rays, D]` of weights `[M]` times values `[M, D]`; without values, of weights."""
    terms = weights[:, None] if values is None else weights[:, None] * values
    assert ray_indices.shape == weights.shape and ray_indices.dtype == torch.int64 and n_rays is not None
    return torch.zeros(n_rays, terms.shape[-1], dtype=terms.dtype).index_add(0, ray_indices, terms)
