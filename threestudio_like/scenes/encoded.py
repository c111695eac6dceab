"""A multi-resolution hash grid and a small MLP on it: what fields and textures are made of (Instant-NGP)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.kernels.hashgrid import HashGrid, encode, encode_with_jacobian


class EncodedMLP(nn.Module):
    """`outputs` numbers at each point of the scene cube, before any activation."""

    def __init__(self, encoding: HashGrid, hidden: int, outputs: int):
        super().__init__()
        self.encoding = encoding
        self.table = nn.Parameter(
            torch.empty(encoding.total_entries, encoding.n_features_per_level).uniform_(-1e-4, 1e-4)
        )
        self.hidden = nn.Linear(encoding.width, hidden)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N outputs"]:
        return self.head(F.relu(self.hidden(encode(0.5 * x + 0.5, self.table, self.encoding))))

    def with_gradient(self, x: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N outputs"], Float[Tensor, "N 3"]]:
        """Computes the outputs, and the gradient of the first by the point; both can be differentiated."""
        features, jacobian = encode_with_jacobian(0.5 * x + 0.5, self.table, self.encoding)
        before = self.hidden(features)
        through = ((before > 0) * self.head.weight[:1]) @ self.hidden.weight
        return self.head(F.relu(before)), 0.5 * torch.einsum("nw,nwc->nc", through, jacobian)

    def parameters_by_name(self) -> dict[str, list[nn.Parameter]]:
        """Returns the parameters by the groups that recipes give learning rates to."""
        return {"encoding": [self.table], "mlp": [*self.hidden.parameters(), *self.head.parameters()]}
