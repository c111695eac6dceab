"""The hash encoding's gradients in terms of the compiled kernels of `cpu.py` or `cuda.py`."""

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class Encode(Function):
    """Encoded points; the gradients reach points and table."""

    @staticmethod
    def forward(ctx, x, table, grid, active, kernels):
        x, table = x.contiguous(), table.contiguous()
        ctx.save_for_backward(x, table)
        ctx.grid, ctx.active, ctx.kernels = grid, active, kernels
        return kernels.interpolate(x, table, grid, active, with_jacobian=False)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, table = ctx.saved_tensors
        to_x = to_table = None
        if ctx.needs_input_grad[0]:
            _, jacobian = ctx.kernels.interpolate(x, table, ctx.grid, ctx.active, with_jacobian=True)
            to_x = torch.einsum("nw,nwd->nd", gradient, jacobian)
        if ctx.needs_input_grad[1]:
            to_table = ctx.kernels.table_gradient(x, ctx.grid, ctx.active, gradient.detach().contiguous(), None)
        return to_x, to_table, None, None, None


class EncodeWithJacobian(Function):
    """Encoded points and their derivative by the points; the gradients reach the table."""

    @staticmethod
    def forward(ctx, x, table, grid, active, kernels):
        x = x.contiguous()
        ctx.save_for_backward(x)
        ctx.grid, ctx.active, ctx.kernels = grid, active, kernels
        ctx.set_materialize_grads(False)  # the jacobian is large, and often only one of the two is used
        return kernels.interpolate(x, table.contiguous(), grid, active, with_jacobian=True)

    @staticmethod
    @once_differentiable
    def backward(ctx, to_features, to_jacobian):
        (x,) = ctx.saved_tensors
        if to_features is None and to_jacobian is None:
            return None, None, None, None, None
        if to_features is None:
            to_features = to_jacobian.new_zeros(to_jacobian.shape[:2])
        if to_jacobian is not None:
            to_jacobian = to_jacobian.detach().contiguous()
        to_table = ctx.kernels.table_gradient(x, ctx.grid, ctx.active, to_features.detach().contiguous(), to_jacobian)
        return None, to_table, None, None, None
