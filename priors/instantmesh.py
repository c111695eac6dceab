"""The parts in which InstantMesh (Xu et al. 2024, arXiv 2404.07191), as published, differs from our reconstructor.

A layer goes cross-attention, self-attention, MLP; attention has no bias and reads the ViT's own tokens. The third plane
is sampled by (z, y). Planes fall to zero beyond the scene cube, and the grid reaches 5 % beyond it. MLPs have ReLUs.

The signed distance is negative inside, as ours: InstantMesh's starts as a constant minus a density, and its FlexiCubes
takes what is negative for the inside. It is no length, for the network is trained by images alone.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from priors.decoder import mlp
from threestudio_like.scenes.triplane import Extraction, Planes

NORM_EPS = 1e-6
"""The epsilon of the norm behind the layers; those within have torch's."""
EXTRACTION = Extraction(half_side=1.05, shift=0.25, weight_scale=0.5, lengths=False)
WEIGHTS_GAIN = 0.1
"""Factor of what the MLP of FlexiCubes' weights says."""
MARGIN = 1e-3
"""How far the sigmoid of a colour reaches beyond 0..1, where it is cut off (Mip-NeRF's)."""


class Block(nn.Module):
    """A transformer layer: cross-attention to the image tokens, self-attention, MLP; each behind a norm, each added."""

    def __init__(self, width: int, heads: int, tokens_width: int):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.cross_attn = nn.MultiheadAttention(
            width, heads, bias=False, kdim=tokens_width, vdim=tokens_width, batch_first=True
        )
        self.self_attn = nn.MultiheadAttention(width, heads, bias=False, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(
        self, x: Float[Tensor, "B Q W"], tokens: Float[Tensor, "B T K"], memory_mask: Tensor | None = None
    ) -> Float[Tensor, "B Q W"]:
        """`memory_mask` is added to the cross-attention's logits, as in torch's own layer."""
        x = x + self.cross_attn(self.norm1(x), tokens, tokens, attn_mask=memory_mask, need_weights=False)[0]
        own = self.norm2(x)
        x = x + self.self_attn(own, own, own, need_weights=False)[0]
        return x + self.mlp(self.norm3(x))


class Decoder(nn.Module):
    """The MLPs of a `TriplaneDecoder`."""

    def __init__(self, features: int, hidden: int, layers: int):
        super().__init__()

        def net(inputs, outputs):
            return mlp(inputs, hidden, layers, outputs, nn.ReLU)

        self.distance_net, self.color_net = net(features, 1), net(features, 3)
        self.deformation_net, self.weights_net = net(features, 3), net(8 * features, 21)

    def distance(self, x: Float[Tensor, "*N 3"], features: Float[Tensor, "*N F"]) -> Float[Tensor, "*N"]:
        """Predicts the signed distance, negative inside; it is no length."""
        return self.distance_net(features)[..., 0]

    def color(self, features: Float[Tensor, "*N F"]) -> Float[Tensor, "*N 3"]:
        """Predicts the colour, in 0..1."""
        return ((1 + 2 * MARGIN) * self.color_net(features).sigmoid() - MARGIN).clamp(0, 1)

    def deformation(self, features: Float[Tensor, "*N F"]) -> Float[Tensor, "*N 3"]:
        """Predicts the deformation of grid vertices, in -1..1."""
        return self.deformation_net(features).tanh()

    def weights(self, corners: Float[Tensor, "M D"]) -> Float[Tensor, "M 21"]:
        """Predicts FlexiCubes' 21 weights of each cube from the features of its corners."""
        return WEIGHTS_GAIN * self.weights_net(corners)


def as_published(planes: Float[Tensor, "B 3 C R R"]) -> Planes:
    """Returns InstantMesh's planes as ours, which are sampled by (x, y), (x, z) and (y, z)."""
    return Planes(torch.cat([planes[:, :2], planes[:, 2:].mT], dim=1), padding="zeros")
