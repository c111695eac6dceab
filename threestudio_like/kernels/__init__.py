"""Compiled operations, each one function with three implementations: PyTorch, numba for the CPU, Triton for CUDA."""
