"""The encoded MLP on CUDA: the hash grid's Triton kernel, and PyTorch's matrix products."""

from threestudio_like.kernels.encoded_mlp.reference import encoded_mlp, encoded_mlp_with_gradient

__all__ = ["encoded_mlp", "encoded_mlp_with_gradient"]
