"""Compositing's gradients in terms of the compiled kernels of `cpu.py` or `cuda.py`."""

from torch.autograd import Function
from torch.autograd.function import once_differentiable


class Composite(Function):
    """Compositing weights of densities; the gradient reaches the densities."""

    @staticmethod
    def forward(ctx, density, step, offsets, kernels):
        weights, behind = kernels.composite(density.contiguous(), step, offsets)
        ctx.save_for_backward(weights, behind, offsets)
        ctx.step, ctx.kernels = step, kernels
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        gradient = gradient.detach().contiguous()
        return ctx.kernels.composite_gradient(gradient, *ctx.saved_tensors, ctx.step), None, None, None


class Accumulate(Function):
    """Weighted sums along rays; the gradients reach weights and values."""

    @staticmethod
    def forward(ctx, weights, values, offsets, kernels):
        weights, values = weights.contiguous(), values.contiguous()
        ctx.save_for_backward(weights, values, offsets)
        ctx.kernels = kernels
        return kernels.accumulate(weights, values, offsets)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        weights, values, offsets = ctx.saved_tensors
        gradient, with_values = gradient.detach().contiguous(), ctx.needs_input_grad[1]
        to_weights, to_values = ctx.kernels.accumulate_gradient(gradient, weights, values, offsets, with_values)
        return to_weights, to_values if with_values else None, None, None
