"""A multi-resolution hash grid and a small MLP on it: what fields and textures are made of (Instant-NGP)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.kernels.encoded_mlp import Weights, encoded_mlp, encoded_mlp_with_gradient
from threestudio_like.kernels.hashgrid import HashGrid


class EncodedMLP(nn.Module):
    """`outputs` numbers at each point of the scene cube, before any activation.

    Of the grid's levels only the coarsest `active_levels` are seen, which are all unless its owner says otherwise.
    """

    def __init__(self, encoding: HashGrid, hidden: int, outputs: int):
        super().__init__()
        self.encoding, self.active_levels = encoding, encoding.n_levels
        self.table = nn.Parameter(
            torch.empty(encoding.total_entries, encoding.n_features_per_level).uniform_(-1e-4, 1e-4)
        )
        self.hidden = nn.Linear(encoding.width, hidden)
        self.head = nn.Linear(hidden, outputs)

    def weights(self, outputs: int | None = None) -> Weights:
        """Returns the parameters as the kernel takes them, for the first so many outputs; None means all."""
        head, bias = self.head.weight[:outputs], self.head.bias[:outputs]
        return Weights(self.table, self.hidden.weight, self.hidden.bias, head, bias)

    def forward(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N outputs"]:
        return encoded_mlp(0.5 * x + 0.5, self.weights(), self.encoding, self.active_levels)

    def first(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        """Computes the first output alone."""
        return encoded_mlp(0.5 * x + 0.5, self.weights(1), self.encoding, self.active_levels)[:, 0]

    def with_gradient(self, x: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N outputs"], Float[Tensor, "N 3"]]:
        """Computes the outputs, and the gradient of the first by the point; both can be differentiated."""
        outputs, gradient = encoded_mlp_with_gradient(0.5 * x + 0.5, self.weights(), self.encoding, self.active_levels)
        return outputs, 0.5 * gradient

    def parameters_by_name(self) -> dict[str, list[nn.Parameter]]:
        """Returns the parameters by the groups that recipes give learning rates to."""
        return {"encoding": [self.table], "mlp": [*self.hidden.parameters(), *self.head.parameters()]}
