"""Reads the noise schedule of a diffusion model's folder."""

from pathlib import Path

import torch

from threestudio_like import pretrained
from threestudio_like.errors import UserError

PREDICTIONS = ("epsilon", "v_prediction", "sample")
SCHEDULE_KEYS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)


def read_scheduler(place: Path):
    """Reads a model folder's betas and prediction type, whatever sampler it names. Raises UserError."""
    from diffusers import DDPMScheduler

    path = place / "scheduler" / "scheduler_config.json"
    config = pretrained.read_json(path)
    prediction = config.get("prediction_type", "epsilon")
    if "beta_schedule" not in config or str(prediction) not in PREDICTIONS:
        raise UserError(
            f"{path}: {config.get('_class_name')} with prediction_type '{prediction}' is not a "
            "variance-preserving diffusion with betas; give `model` another one"
        )
    known = {key: config[key] for key in SCHEDULE_KEYS if key in config}
    with pretrained.reading(path, "a schedule of noise"):
        scheduler = DDPMScheduler.from_config(known | {"prediction_type": prediction})
        if not torch.isfinite(scheduler.alphas_cumprod).all():
            raise ValueError("its betas are not finite")
    return scheduler
