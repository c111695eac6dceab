"""Tells how much memory the GPU has that a run would take."""

GB = 2**30
"""Bytes of what cards are named by."""


def memory() -> int | None:
    """Returns the bytes of the first GPU, those in use by others too; None where there is no GPU."""
    import torch

    if not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_properties(0).total_memory
