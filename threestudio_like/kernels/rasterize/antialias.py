"""Differentiable silhouettes, smoothed by the exact position at which they cross between two pixels.

After Laine et al. 2020, section 3.4, with one change: there, of each pair of pixels only the faces they see are asked
for a silhouette edge; here every silhouette edge is drawn, row by row, so that none is missed where faces are smaller
than pixels or foreshortened, as they are at the rim of every smooth shape.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threestudio_like.kernels.rasterize.fragments import Fragments, cross
from threestudio_like.utils.rows import rows

OCCLUDED = 0.1
"""An edge is hidden when what its own side shows is nearer than the edge by this share of its depth."""


@dataclass(frozen=True)
class Edges:
    """The E edges of a mesh: their ends, and the far vertices of the two faces that meet there (-1: a boundary)."""

    ends: Int[Tensor, "E 2"]
    across: Int[Tensor, "E 2"]

    @staticmethod
    @torch.no_grad()
    def of(faces: Int[Tensor, "F 3"]) -> "Edges":
        """Finds the edges of triangles. More than two faces that share an edge are taken two by two."""
        ends = torch.cat([faces[:, [1, 2]], faces[:, [2, 0]], faces[:, [0, 1]]]).sort(-1).values
        far = torch.cat([faces[:, 0], faces[:, 1], faces[:, 2]])
        key = ends[:, 0] * (ends.max() + 1 if len(ends) else 1) + ends[:, 1]
        order = key.argsort(stable=True)
        ends, far, key = ends[order], far[order], key[order]
        position = torch.arange(len(key), device=key.device)
        begins = torch.ones_like(key, dtype=torch.bool)
        begins[1:] = key[1:] != key[:-1]
        first = (position - torch.where(begins, position, 0).cummax(0).values) % 2 == 0 if len(key) else begins
        paired = torch.zeros_like(first)
        paired[:-1] = first[:-1] & ~first[1:]
        return Edges(ends[first], torch.stack([far[first], torch.where(paired, far.roll(-1), -1)[first]], dim=-1))


def antialias(
    image: Float[Tensor, "B H W C"],
    fragments: Fragments,
    screen: Float[Tensor, "B V 2"],
    depth: Float[Tensor, "B V"],
    edges: Edges,
) -> Float[Tensor, "B H W C"]:
    """Smooths the silhouettes of an image; gradients reach `screen` through the crossings.

    Steep edges cut pairs of pixels side by side, flat ones pairs one above the other. An edge that crosses at the share
    a of the way from the pixel on its face to the one beyond cuts |a - 1/2| of a pixel off, if it runs straight across:
    so much of its colour a pixel gives to the other.
    """
    with torch.no_grad():
        pixel_depth = torch.full((fragments.face.numel(),), torch.inf, device=image.device, dtype=depth.dtype)
        pixel_depth[fragments.pixel] = fragments.depth.detach()
        view, ends, side = silhouettes(screen, edges)
    colors = image.flatten(0, 2)
    smooth = colors
    for axis in (0, 1):
        on_face, beyond, share = crossings(fragments.face.shape, pixel_depth, view, ends, side, screen, depth, axis)
        gained = (share - 0.5)[:, None].to(colors.dtype)
        step = rows(colors, on_face) - rows(colors, beyond)
        smooth = smooth.index_add(0, beyond, gained.clamp(min=0) * step).index_add(
            0, on_face, gained.clamp(max=0) * step
        )
    return smooth.view(image.shape)


def silhouettes(screen: Float[Tensor, "B V 2"], edges: Edges) -> tuple[Tensor, Tensor, Tensor]:
    """Finds the edges with both faces on one side: their views, ends and sides (+1 left of a -> b, y down; else -1)."""
    a, b = screen[:, edges.ends[:, 0]], screen[:, edges.ends[:, 1]]
    inner, outer = (torch.sign(cross(b - a, screen[:, far.clamp(min=0)] - a)) for far in edges.across.unbind(-1))
    view, edge = ((inner != 0) & ((inner == outer) | (edges.across[:, 1] < 0))).nonzero(as_tuple=True)
    return view, edges.ends[edge], inner[view, edge]


def crossings(
    shape: torch.Size,
    pixel_depth: Float[Tensor, "P"],
    view: Int[Tensor, "S"],
    ends: Int[Tensor, "S 2"],
    side: Float[Tensor, "S"],
    screen: Float[Tensor, "B V 2"],
    depth: Float[Tensor, "B V"],
    axis: int,
) -> tuple[Int[Tensor, "N"], Int[Tensor, "N"], Float[Tensor, "N"]]:
    """Finds where silhouette edges cross between two pixels that neighbour along `axis` (0: x, 1: y).

    Returns the pixels on the edge's face, those beyond it, and the share of the way between their centres,
    differentiable in `screen`. `pixel_depth [P]` is the depth that each pixel sees. Hidden edges are left out.
    """
    other, sizes = 1 - axis, (shape[2], shape[1])
    with torch.no_grad():
        slope = (screen[view, ends[:, 1]] - screen[view, ends[:, 0]]).abs()
        mine = slope[:, other] >= slope[:, axis] if axis == 0 else slope[:, other] > slope[:, axis]
        view, ends, side = view[mine], ends[mine], side[mine]
        reach = screen[view[:, None], ends][..., other] - 0.5
        first, after = (bound.ceil().clamp(0, sizes[other]).long() for bound in reach.aminmax(dim=-1))
        count = after - first
        edge = torch.repeat_interleave(count)
        line = first[edge] + torch.arange(len(edge), device=edge.device) - (count.cumsum(0) - count)[edge]
        view, ends, side = view[edge], ends[edge], side[edge]

    a, b = rows(screen.flatten(0, 1), view[:, None] * screen.shape[1] + ends).unbind(1)
    along = (line + 0.5 - a[:, other]) / (b[:, other] - a[:, other])
    crossed = a[:, axis] + along * (b[:, axis] - a[:, axis])
    with torch.no_grad():
        upwards = a[:, 1] - b[:, 1] if axis == 0 else b[:, 0] - a[:, 0]  # cross(b - a, the axis)
        face_above = upwards * side > 0
        # a pixel whose centre the edge meets is covered: it is the one on the face
        low = torch.where(face_above, (crossed - 0.5).ceil() - 1, (crossed - 0.5).floor()).long()
        edge_depth = 1 / torch.lerp(1 / depth[view, ends[:, 0]], 1 / depth[view, ends[:, 1]], along)
        between = (low >= 0) & (low < sizes[axis] - 1)
        low = low.clamp(0, sizes[axis] - 2)
        x, y = (low, line) if axis == 0 else (line, low)
        lower = (view * shape[1] + y) * shape[2] + x
        upper = lower + (1 if axis == 0 else shape[2])
        on_face, beyond = torch.where(face_above, upper, lower), torch.where(face_above, lower, upper)
        visible = between & pixel_depth[on_face].isfinite() & (pixel_depth[beyond] > edge_depth)
        visible &= pixel_depth[on_face] > (1 - OCCLUDED) * edge_depth
    share = torch.where(face_above, low + 1.5 - crossed, crossed - low - 0.5)
    on_face, beyond, share = on_face[visible], beyond[visible], share[visible]
    outermost = farthest(2 * on_face + (beyond > on_face), share.detach())
    return on_face[outermost], beyond[outermost], share[outermost]


@torch.no_grad()
def farthest(pair: Int[Tensor, "N"], share: Float[Tensor, "N"]) -> Int[Tensor, "M"]:
    """Keeps the outermost crossing of each pair of pixels: a faceted rim folds several times, and the last is the
    outline."""
    order = share.argsort(stable=True)
    order = order[pair[order].argsort(stable=True)]
    last = torch.ones_like(order, dtype=torch.bool)
    last[:-1] = pair[order][1:] != pair[order][:-1]
    return order[last]
