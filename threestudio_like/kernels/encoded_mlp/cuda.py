"""The encoded MLP on CUDA: the hash grid's Triton kernel, and PyTorch's matrix products.

tiny-cuda-nn's network with encoding computes something else: its grids lie half a cell further, and its layers have no
biases, so that one checkpoint would mean two scenes.
"""

from threestudio_like.kernels.encoded_mlp.reference import encoded_mlp, encoded_mlp_with_gradient

__all__ = ["encoded_mlp", "encoded_mlp_with_gradient"]
