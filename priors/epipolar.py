"""Where a cell of a triplane may be seen: on the image of the line that it stands for (its epipolar line).

A transformer from image tokens to plane tokens has to learn from examples which pixels see which cell. The cameras are known,
so a head may be told: its attention falls off with the distance between an image token and the cell's line in that image,

    softmax(q . k / sqrt(d) - s^2 dist^2),

s learned, from 0 (everywhere) to a patch or so. Neither LRM nor InstantMesh does this; small models, which see a hundred
thousand objects and not a hundred million, learn shapes many times sooner by it (benchmarks/RESULTS.md).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.scenes.triplane import PLANES

ALONG = 12  # points of a cell's line


class Epipolar(nn.Module):
    """The attention's bias in every layer and head, for `tokens` x `tokens` cells a plane and square images."""

    def __init__(self, layers: int, heads: int, tokens: int):
        super().__init__()
        self.tokens = tokens
        self.sharpness = nn.Parameter(torch.linspace(0.0, 1.5, heads).expand(layers, -1).clone())

    def forward(self, poses: Float[Tensor, "B N 16"], patches: int) -> list[Float[Tensor, "B*heads Q S"]]:
        """For N views of one class token and `patches` x `patches` others each: a bias for each layer."""
        squared = self.distance(poses.flatten(0, 1), patches).square()
        squared = torch.cat([torch.zeros_like(squared[..., :1]), squared], dim=-1)  # the class token is everywhere
        squared = squared.unflatten(0, poses.shape[:2]).transpose(1, 2).flatten(2)  # B, Q, N * tokens
        return [-(layer.square()[None, :, None, None] * squared[:, None]).flatten(0, 1) for layer in self.sharpness]

    @torch.no_grad()
    def distance(self, poses: Float[Tensor, "V 16"], patches: int) -> Float[Tensor, "V Q P*P"]:
        """From each patch's middle to the nearest image of a point of each cell's line, in patches."""
        rotation, position = poses[:, :12].unflatten(-1, (3, 4)).split((3, 1), dim=-1)
        seen = (self.lines().to(poses) - position[:, None, None, :, 0]) @ rotation[:, None]  # V, Q, K, 3; looks along -z
        focal, middle = poses[:, None, None, 12:14], poses[:, None, None, 14:16]
        image = focal * seen[..., :2] * seen.new_tensor([1, -1]) / (-seen[..., 2:]).clamp(min=1e-3) + middle
        centres = (torch.arange(patches, device=poses.device) + 0.5) / patches
        grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1).flatten(0, 1)
        nearest = torch.cdist(grid.expand(len(image), -1, -1), image.flatten(1, 2)).unflatten(-1, image.shape[1:3]).amin(-1)
        return patches * nearest.transpose(1, 2)

    def lines(self) -> Float[Tensor, "Q K 3"]:
        """Points of the cells' lines in the scene cube, in the order of the planes' tokens."""
        cells = (torch.arange(self.tokens) + 0.5) / self.tokens * 2 - 1
        rows, columns, along = torch.meshgrid(cells, cells, torch.linspace(-1, 1, ALONG), indexing="ij")
        planes = []
        for axes in PLANES:
            points = torch.empty(*rows.shape, 3)
            points[..., axes[0]], points[..., axes[1]], points[..., 3 - sum(axes)] = columns, rows, along
            planes.append(points.flatten(0, 1))
        return torch.cat(planes)
