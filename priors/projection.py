"""Camera-aware layers for small reconstructors: epipolar attention bias and feature back-projection.

A transformer from image tokens to plane tokens has to learn from examples which pixels see which cell of a triplane.
But the cameras are known. **Epipolar attention**: a cell stands for a line; a head's attention falls off with the
distance between an image token and that line's image,

    softmax(q . k / sqrt(d) - s^2 dist^2),

s learned, from 0 (everywhere) to a patch or so. **Back-projection**: the views' colours of the points on that line are
added to the cell, so that silhouettes and colours reach the planes as sharp as in the images (a learned visual hull).
Neither LRM nor InstantMesh does this. They are for models that train on 100,000 objects and not 100 million: the Toybox
reconstructor left out chairs' legs for 3,400 steps without back-projection, and had them 400 steps after it was added.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.scenes.triplane import PLANES

ALONG = 16  # points of a cell's line


def lines(side: int) -> Float[Tensor, "Q K 3"]:
    """Computes points of the scene cube on the lines of `side` x `side` cells of each plane, plane by plane and row by
    row."""
    cells = (torch.arange(side) + 0.5) / side * 2 - 1
    rows, columns, along = torch.meshgrid(cells, cells, (torch.arange(ALONG) + 0.5) / ALONG * 2 - 1, indexing="ij")
    planes = []
    for axes in PLANES:
        points = torch.empty(*rows.shape, 3)
        points[..., axes[0]], points[..., axes[1]], points[..., 3 - sum(axes)] = columns, rows, along
        planes.append(points.flatten(0, 1))
    return torch.cat(planes)


def project(
    poses: Float[Tensor, "V 16"], points: Float[Tensor, "*V M 3"]
) -> tuple[Float[Tensor, "V M 2"], Float[Tensor, "V M 1"]]:
    """Projects points into cameras (`priors.view_encoder.pose_numbers`): where they fall, as shares of the image's
    width and height, and their depth, in scene units. The points are the same for all cameras, or each one's own."""
    rotation, position = poses[:, :12].unflatten(-1, (3, 4)).split((3, 1), dim=-1)
    local = turned(points.to(poses) - position[:, None, :, 0], rotation)  # a camera looks along its -z
    focal, middle = poses[:, None, 12:14], poses[:, None, 14:16]
    depth = (-local[..., 2:]).clamp(min=1e-3)
    return focal * local[..., :2] * local.new_tensor([1, -1]) / depth + middle, depth


def turned(x: Float[Tensor, "#V M 3"], matrix: Float[Tensor, "V 3 3"]) -> Float[Tensor, "V M 3"]:
    """Computes `x @ matrix` in the precision of x, which a matrix product has not under autocast."""
    along = [x[..., i, None] * matrix[:, None, i] for i in range(3)]
    return along[0] + along[1] + along[2]


def rays(poses: Float[Tensor, "V 16"], size: int) -> Float[Tensor, "V 6 size size"]:
    """Computes the Pluecker coordinates (unit direction and moment) of the rays through square images' pixels."""
    rotation, position = poses[:, :12].unflatten(-1, (3, 4)).split((3, 1), dim=-1)
    pixels = (torch.arange(size, device=poses.device) + 0.5) / size
    where = torch.stack(torch.meshgrid(pixels, pixels, indexing="xy"), dim=-1).flatten(0, 1)
    flat = (where - poses[:, None, 14:16]) / poses[:, None, 12:14] * poses.new_tensor([1, -1])
    local = torch.cat([flat, -torch.ones_like(flat[..., :1])], dim=-1)
    direction = F.normalize(turned(local, rotation.mT), dim=-1)
    moment = torch.linalg.cross(position.mT.expand_as(direction), direction)
    return torch.cat([direction, moment], dim=-1).mT.unflatten(-1, (size, size))


class Epipolar(nn.Module):
    """Attention biases of every layer and head, for `tokens` x `tokens` cells a plane and square images."""

    def __init__(self, layers: int, heads: int, tokens: int):
        super().__init__()
        self.tokens = tokens
        self.sharpness = nn.Parameter(torch.linspace(0.0, 1.5, heads).expand(layers, -1).clone())

    def forward(self, poses: Float[Tensor, "B N 16"], patches: int) -> list[Float[Tensor, "A Q S"]]:
        """Computes a bias for each layer, for N views of one class token and `patches` x `patches` others each."""
        squared = self.distance(poses.flatten(0, 1), patches).square()
        squared = torch.cat([torch.zeros_like(squared[..., :1]), squared], dim=-1)  # the class token is everywhere
        squared = squared.unflatten(0, poses.shape[:2]).transpose(1, 2).flatten(2)  # B, Q, N * tokens
        return [-(layer.square()[None, :, None, None] * squared[:, None]).flatten(0, 1) for layer in self.sharpness]

    @torch.no_grad()
    def distance(self, poses: Float[Tensor, "V 16"], patches: int) -> Float[Tensor, "V Q {patches}**2"]:
        """Measures from each patch's middle to the nearest image of a point of each cell's line, in patches."""
        along = lines(self.tokens)
        image, _ = project(poses, along.flatten(0, 1))
        centres = (torch.arange(patches, device=poses.device) + 0.5) / patches
        grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1).flatten(0, 1)
        exact = "donot_use_mm_for_euclid_dist"  # a matrix product would cancel, and lose more by TF32
        apart = torch.cdist(grid.expand(len(image), -1, -1), image, compute_mode=exact)
        return patches * apart.unflatten(-1, along.shape[:2]).amin(-1).transpose(1, 2)


class BackProjection(nn.Module):
    """Back-projects image colours onto the triplane: an addition to planes of `side` x `side` cells.

    Of each point of a cell's line it takes the views' mean colour, and their mean and greatest whiteness: one view that
    sees the white background there shows that the point is empty. Its last layer starts near zero.
    """

    def __init__(self, side: int, channels: int, hidden: int = 48):
        super().__init__()
        self.side = side
        first, last = nn.Conv2d(5 * ALONG, hidden, 1), nn.Conv2d(hidden, channels, 3, padding=1)
        nn.init.normal_(last.weight, std=1e-3)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(first, nn.SiLU(), last)

    def forward(self, images: Float[Tensor, "B N 3 H W"], poses: Float[Tensor, "B N 16"]) -> Float[Tensor, "B 3 C R R"]:
        count, views = images.shape[:2]
        grid = 2 * project(poses.flatten(0, 1), lines(self.side).flatten(0, 1))[0] - 1
        colors = F.grid_sample(images.flatten(0, 1), grid[:, None], padding_mode="border", align_corners=False)
        colors = colors[:, :, 0].unflatten(0, (count, views))  # B, N, 3, points
        white = colors.amin(2)
        features = torch.cat([colors.mean(1), white.mean(1)[:, None], white.amax(1)[:, None]], dim=1)
        cells = features.unflatten(-1, (len(PLANES), self.side, self.side, ALONG)).permute(0, 2, 1, 5, 3, 4)
        return self.layers(cells.flatten(0, 1).flatten(1, 2)).unflatten(0, (count, len(PLANES)))
