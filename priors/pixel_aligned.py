"""Gathers what posed views show of a point: features and colours of the pixels that it falls on.

A triplane is too coarse for an eye or a thin leg, which the views show. So a point's features are also read from the
views (PixelNeRF, Yu et al. 2021, arXiv 2012.02190), and its colour is a blend of theirs, by weights that tell which of
them see it (IBRNet, Wang et al. 2021, arXiv 2102.13090):

    h_v = MLP(planes(x), map_v(x_v), image_v(x_v), depth_v(x))          x_v: where the point falls in view v
    features(x) = [planes(x), sum_v softmax(a_v) h_v, max_v h_v, sum_v softmax(b_v) image_v(x_v)]

`map_v` are those of a small U-Net on the view's pixels and their rays; a and b are linear in h_v.
"""

import itertools
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from priors.projection import project, rays
from threestudio_like.scenes.triplane import plane_features

GROUPS = 8
RAY = 6
FREQUENCIES = 2


def convolution(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """Builds a 3 x 3 convolution with its activation and norm."""
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, padding=1), nn.SiLU(), nn.GroupNorm(GROUPS, after))


class ViewMaps(nn.Module):
    """A small U-Net of four levels from a view and its pixels' rays to `width` features a pixel."""

    def __init__(self, width: int):
        super().__init__()
        widths = [width, 2 * width, 3 * width, 4 * width]
        self.first = convolution(3 + RAY, width)
        self.down = nn.ModuleList(
            nn.Sequential(convolution(before, after, stride=2), convolution(after, after))
            for before, after in itertools.pairwise(widths)
        )
        self.up = nn.ModuleList(
            convolution(below + beside, beside) for below, beside in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )

    def forward(self, images: Float[Tensor, "V 3 H W"], poses: Float[Tensor, "V 16"]) -> Float[Tensor, "V M H W"]:
        x = self.first(torch.cat([2 * images - 1, rays(poses, images.shape[-1]).to(images)], dim=1))
        beside = []
        for down in self.down:
            beside.append(x)
            x = down(x)
        for up in self.up:
            skip = beside.pop()
            x = up(torch.cat([F.interpolate(x, skip.shape[-2:]), skip], dim=1))
        return x


class PixelAligned(nn.Module):
    """Adds `2 * hidden` features and three colours to those of planes of `channels`, from maps of `width` a pixel."""

    def __init__(self, channels: int, width: int, hidden: int = 48):
        super().__init__()
        self.features = 2 * hidden + 3
        self.maps = ViewMaps(width)
        self.of_planes = nn.Linear(3 * channels, hidden)
        self.of_view = nn.Linear(width + 3 + 1 + 2 * FREQUENCIES, hidden, bias=False)
        self.layers = nn.Sequential(nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.weights = nn.Linear(hidden, 2)

    def forward(
        self,
        of_planes: Float[Tensor, "B P F"],
        x: Float[Tensor, "B P 3"],
        maps: Float[Tensor, "B N M H W"],
        poses: Float[Tensor, "B N 16"],
    ) -> Float[Tensor, "B P K"]:
        """Gathers from the views' maps, whose last three channels are the images."""
        count, views = poses.shape[:2]
        where, depth = project(poses.flatten(0, 1), x.repeat_interleave(views, dim=0))
        found = F.grid_sample(
            maps.flatten(0, 1).to(where), (2 * where - 1)[:, None], padding_mode="border", align_corners=False
        )
        found = found[:, :, 0].mT
        depth = depth - poses.flatten(0, 1)[:, None, 3:12:4].norm(dim=-1, keepdim=True)  # 0 in the scene's middle
        waves = [wave(torch.pi * 2**i * depth) for i in range(FREQUENCIES) for wave in (torch.sin, torch.cos)]
        seen = self.of_view(torch.cat([found, depth, *waves], dim=-1)).unflatten(0, (count, views))
        hidden = self.layers(seen + self.of_planes(of_planes)[:, None])
        pooling, blending = self.weights(hidden).softmax(1).split(1, dim=-1)
        colors = found[..., -3:].unflatten(0, (count, views))
        return torch.cat([(pooling * hidden).sum(1), hidden.amax(1), (blending * colors).sum(1)], dim=-1)


@dataclass(frozen=True, eq=False)
class AlignedFeatures:
    """B objects' planes, and the views that their points' features are also read from."""

    planes: Float[Tensor, "B 3 C R R"]
    maps: Float[Tensor, "B N M H W"]
    poses: Float[Tensor, "B N 16"]
    gather: PixelAligned

    def __len__(self) -> int:
        return len(self.planes)

    def __getitem__(self, part: slice) -> "AlignedFeatures":
        return replace(self, planes=self.planes[part], maps=self.maps[part], poses=self.poses[part])

    @property
    def device(self) -> torch.device:
        """The device of the planes."""
        return self.planes.device

    def features(self, x: Float[Tensor, "B P 3"]) -> Float[Tensor, "B P F"]:
        """Computes the features of points of the scene cube; the last three are colours."""
        of_planes = plane_features(self.planes, x)
        return torch.cat([of_planes, self.gather(of_planes, x, self.maps, self.poses)], dim=-1)
