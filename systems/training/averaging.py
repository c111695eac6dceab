"""The exponential moving average of a model's parameters, which is what training leaves."""

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """Copies the model into an average that is updated by `update_parameters(model)`.

    The decay of update n is `min(decay, (n + 1) / (n + 10))`, so that the first weights are soon forgotten (as by
    diffusers' `EMAModel`); update 0 copies. Buffers keep the values that the copy began with.
    """

    def update(averaged, current, count):
        n = int(count)
        get_ema_multi_avg_fn(min(decay, (n + 1) / (n + 10)))(averaged, current, count)

    return AveragedModel(model, multi_avg_fn=update).requires_grad_(False)
