"""Compares the tensors of a file with those that a model has."""

from torch import Tensor, nn

from threestudio_like.errors import UserError


def check_fit(tensors: dict[str, Tensor], model: nn.Module, what: str) -> None:
    """Raises UserError where names or shapes are not the model's, which the message calls `what`."""
    wanted = model.state_dict()
    wrong = [
        *(f"{name} is missing" for name in sorted(wanted.keys() - tensors.keys())),
        *(f"{name} is unknown" for name in sorted(tensors.keys() - wanted.keys())),
        *(
            f"{name} has the shape {list(tensor.shape)} instead of {list(wanted[name].shape)}"
            for name, tensor in tensors.items()
            if name in wanted and tensor.shape != wanted[name].shape
        ),
    ]
    if wrong:
        raise UserError(
            f"the weights do not fit {what}: {wrong[0]}" + f", and {len(wrong) - 1} more" * (len(wrong) > 1)
        )
