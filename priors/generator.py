"""The one-step generator of GECO (arXiv 2405.20327): from noise and an image to six views, by one call of a U-Net.

`G(z, image)` is a multi-view prior's prediction for pure noise, under classifier-free guidance, turned into x0. It
starts with the prior's weights. Its own weights are a whole U-Net, or a low-rank difference to the prior's (Hu et al.
2021).
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Float
from peft import LoraConfig
from safetensors.torch import load_file
from torch import Tensor, nn

from priors.backbones.base import Condition
from priors.backbones.multiview import MultiviewBackbone
from priors.guidance.fake_score import UNET, WEIGHTS, load_unet, save_adapter, trainable_copy
from threestudio_like.config.ranges import Count, NonNegative
from threestudio_like.config.registry import configure
from threestudio_like.errors import UserError, brief
from threestudio_like.pretrained import find_whole
from threestudio_like.utils.precision import as_trained

ADAPTER = "generator"


@dataclass(frozen=True)
class LowRank:
    """A low-rank difference to the prior's weights (LoRA, Hu et al. 2021)."""

    rank: Count = 16
    """Rank of the difference."""
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "conv_in", "conv_out")
    """Ends of the names of the layers that are adapted."""


@dataclass(frozen=True)
class OneStepConfig:
    """The generator's guidance, and the weights that it trains or goes on from."""

    scale: NonNegative = 4.0
    """Scale of classifier-free guidance; at 1, one call of the U-Net without it."""
    lora: LowRank | None = None
    """Trains a low-rank difference instead of all weights."""
    weights: str | None = None
    """A folder that `save` wrote, whole or low-rank, to go on from."""

    def __post_init__(self):
        if self.lora is not None and self.weights is not None:
            raise ValueError("`weights` say themselves whether they are low-rank; give them or `lora`, not both")


class OneStepGenerator(nn.Module):
    """The generator; its parameters are those that are trained, all else it shares with the prior."""

    Config = OneStepConfig

    mixed = False
    """Whether it is trained in mixed precision, and so computes in it wherever it is called."""

    def __init__(self, prior: MultiviewBackbone, config: OneStepConfig | None = None, **fields):
        """Raises UserError where the weights are missing or do not fit the prior."""
        super().__init__()
        config = configure(self, config, fields)
        self.scale = config.scale
        unet = trainable_copy(prior.unet)
        self.low_rank = config.lora is not None
        if config.weights is not None:
            self.low_rank = load(unet, config.weights)
        elif config.lora is not None:
            add_adapter(unet, config.lora)
        if self.low_rank:
            unet.requires_grad_(False)
            names = [name for name, _ in unet.named_parameters() if ".lora_" in name]
            self.adapter = nn.ParameterList(unet.get_parameter(name).requires_grad_(True) for name in names)
        else:
            self.unet = unet
        self.backbone = prior.with_unet(unet)

    def forward(self, z: Float[Tensor, "B C h w"], condition: Condition) -> Float[Tensor, "B C h w"]:
        """Generates clean views, for the prior's `decode`; differentiable."""
        with as_trained(self.mixed, z.device):
            return self.backbone.one_step(z, condition, self.scale)

    def save(self, folder: Path) -> None:
        """Writes the U-Net's diffusers folder `unet/`, half precision, or its low-rank difference.

        `UNet2DConditionModel.load_lora_adapter` reads the latter.
        """
        if self.low_rank:
            save_adapter(self.backbone.unet, ADAPTER, folder)
        else:
            copy.deepcopy(self.unet).half().cpu().save_pretrained(folder / UNET)

    def ready(self, dtype: torch.dtype) -> "OneStepGenerator":
        """Fuses the low-rank difference, casts to `dtype` and freezes; returns self."""
        unet = self.backbone.unet
        if self.low_rank:
            unet.fuse_lora()
        self.backbone = self.backbone.with_unet(unet if unet.dtype == dtype else unet.to(dtype))
        return self.requires_grad_(False)


def add_adapter(unet: UNet2DConditionModel, lora: LowRank) -> None:
    """Adds a low-rank difference that is zero at first. Raises UserError where the U-Net has no such layers."""
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.rank, target_modules=list(lora.targets), init_lora_weights="gaussian"
    )
    try:
        unet.add_adapter(config, ADAPTER)
    except ValueError as error:
        raise UserError(f"generator.lora.targets: {brief(error)}") from None


def load(unet: UNet2DConditionModel, weights: str) -> bool:
    """Fills the U-Net from a generator's folder; returns whether that holds a low-rank difference.

    Raises UserError where it is missing, damaged, or of another prior.
    """
    folder = find_whole(weights)
    if folder is None:
        raise UserError(f"the generator's folder '{weights}' does not exist; give the one that a run of geco.yaml left")
    if not (folder / WEIGHTS).is_file():
        load_unet(unet, folder)
        return False
    try:
        layers = {name.partition(".lora_")[0] for name in load_file(folder / WEIGHTS)}
        unknown = sorted(layers - dict(unet.named_modules()).keys())
        if unknown:
            raise ValueError(f"it has no layer {unknown[0]}")
        unet.load_lora_adapter(folder, prefix=None, weight_name=WEIGHTS, adapter_name=ADAPTER, local_files_only=True)
    except Exception as error:  # damaged, or of other layers
        raise UserError(f"{folder / WEIGHTS} does not fit the prior ({brief(error)})") from None
    return True
