"""The MLPs that decode a point's features into signed distance, colour, and FlexiCubes' deformation and weights."""

import itertools

from jaxtyping import Float
from torch import Tensor, nn


def mlp(inputs: int, hidden: int, layers: int, outputs: int, activation: type[nn.Module] = nn.SiLU) -> nn.Sequential:
    """Builds an MLP of `layers` hidden layers; its output starts near zero."""
    widths = [inputs] + layers * [hidden]
    steps = [step for one, two in itertools.pairwise(widths) for step in (nn.Linear(one, two), activation())]
    last = nn.Linear(hidden, outputs)
    nn.init.normal_(last.weight, std=1e-2)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*steps, last)


class Decoder(nn.Module):
    """The MLPs of a `TriplaneDecoder`. The signed distance is added to a ball's, so that there is a surface from the
    start. Where the last features are a colour that the views show (`blended`), part of the colour is that colour,
    made lighter or darker."""

    def __init__(self, features: int, hidden: int, layers: int, blended: bool = False, ball: float = 0.5):
        super().__init__()
        self.ball, self.blended = ball, blended
        self.distance_net = mlp(features, hidden, layers, 1)
        self.color_net = mlp(features, hidden, layers, 5 if blended else 3)
        self.deformation_net, self.weights_net = mlp(features, hidden, layers, 3), mlp(8 * features, hidden, layers, 21)

    def distance(self, x: Float[Tensor, "*N 3"], features: Float[Tensor, "*N F"]) -> Float[Tensor, "*N"]:
        """Predicts the signed distance."""
        return x.norm(dim=-1) - self.ball + self.distance_net(features)[..., 0]

    def color(self, features: Float[Tensor, "*N F"]) -> Float[Tensor, "*N 3"]:
        """Predicts the colour, in 0..1."""
        color = self.color_net(features)
        if not self.blended:
            return color.sigmoid()
        share, gain = color[..., 3:4].sigmoid(), color[..., 4:].exp()
        return (share * gain * features[..., -3:] + (1 - share) * color[..., :3].sigmoid()).clamp(0, 1)

    def deformation(self, features: Float[Tensor, "*N F"]) -> Float[Tensor, "*N 3"]:
        """Predicts the deformation of grid vertices, in -1..1."""
        return self.deformation_net(features).tanh()

    def weights(self, corners: Float[Tensor, "M D"]) -> Float[Tensor, "M 21"]:
        """Predicts FlexiCubes' 21 weights of each cube from the features of its corners."""
        return self.weights_net(corners)
