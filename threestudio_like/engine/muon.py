"""Updates hidden matrices by Muon and all other parameters by AdamW, as one optimizer."""

import torch
from jaxtyping import Float
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Jordan's odd quintic, steep at zero: it brings singular values near 1 within few iterations, and no closer."""
ITERATIONS = 5


class MuonAdamW(torch.optim.AdamW):
    """AdamW whose groups with `muon: True` follow Muon (Jordan et al. 2024): the momentum, orthogonalised.

        b = mu b + (1 - mu) g      d = (1 - mu) g + mu b      p = (1 - lr wd) p - 0.2 lr sqrt(max(A, B)) orthogonal(d)

    Parameters of more dimensions than two are taken as matrices A x B of their first dimension by all others. The
    factor gives updates the size of AdamW's, so that both share their rates (Liu et al. 2025, arXiv 2502.16982, eq. 4).
    """

    def __init__(self, groups: list[dict], momentum: float = 0.95, **adamw):
        super().__init__(groups, **adamw)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # it takes no closure
        """Updates all parameters that have a gradient. Raises ValueError for a closure."""
        if closure is not None:
            raise ValueError("MuonAdamW takes no closure")
        for group in self.param_groups:
            for parameter in group["params"] if group.get("muon") else []:
                if parameter.grad is not None:
                    self.update(parameter, parameter.grad, group["lr"], group["weight_decay"])
                    parameter.grad = None  # AdamW passes over it
        super().step()

    def update(self, parameter: Tensor, gradient: Tensor, lr: float, weight_decay: float) -> None:
        """Takes one step of Muon."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # AdamW's loading asks for one
            state["momentum"] = torch.zeros_like(parameter)
        state["step"] += 1
        momentum = state["momentum"].lerp_(gradient, 1 - self.momentum)
        direction = orthogonal(gradient.lerp(momentum, self.momentum).flatten(1))
        parameter.mul_(1 - lr * weight_decay)
        parameter.add_(direction.view_as(parameter), alpha=-0.2 * lr * max(direction.shape) ** 0.5)


def orthogonal(matrix: Float[Tensor, "A B"]) -> Float[Tensor, "A B"]:
    """Brings a matrix's singular values near 1 by Newton-Schulz iterations, in float32; zero stays zero."""
    a, b, c = COEFFICIENTS
    wide = matrix.shape[0] <= matrix.shape[1]
    x = (matrix if wide else matrix.T).float()
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.T).to(matrix.dtype)
