"""The parameters of an encoded MLP."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """A hash grid's table, and the MLP's two layers as `torch.nn.Linear` holds them."""

    table: Float[Tensor, "T F"]
    hidden: Float[Tensor, "H W"]
    hidden_bias: Float[Tensor, "H"]
    head: Float[Tensor, "O H"]
    head_bias: Float[Tensor, "O"]
