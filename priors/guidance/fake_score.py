"""Implements the fake scores of VSD: models of the noise in the scene's own renders, conditioned on the camera.

Either LoRA on the frozen U-Net of the prior (one U-Net, the adapter on or off), or a small U-Net of its own: there the
camera goes through an MLP and is added to the time embedding (ProlificDreamer, arXiv 2305.16213, section 3.3 and
appendix). Or a second U-Net with the prior's weights, learned whole (GECO, arXiv 2405.20327).
"""

import copy
import weakref
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import no_type_check

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from priors.backbones.base import Backbone, Condition, Prediction
from priors.condition import CAMERA_WIDTH, camera_numbers
from threestudio_like import pretrained
from threestudio_like.config.ranges import Count, Width
from threestudio_like.config.registry import configure
from threestudio_like.errors import UserError, brief

ADAPTER = "fake_score"
UNET = "unet"
WEIGHTS = "pytorch_lora_weights.safetensors"
CAMERA_WEIGHTS = "camera.safetensors"


class FakeScore(nn.Module):
    """Base of the slot `fake_score`; built from a backbone and a Config or its fields. Its parameters are what is
    learned.
    """

    prediction: Prediction

    def forward(
        self, x_t: Float[Tensor, "B C h w"], t: Int[Tensor, "B"], condition: Condition
    ) -> Float[Tensor, "B C h w"]:
        """The output, in the fake score's own parametrisation; a camera of zeros is none."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Writes what was learned into the folder; nothing where a kind says nothing else."""


class LoRA(FakeScore):
    """Low-rank adapters (Hu et al. 2021) by peft on the prior's U-Net; they hold what diffusers calls a LoRA
    checkpoint.
    """

    @dataclass(frozen=True)
    class Config:
        """Configures the adapter."""

        rank: Count = 4
        """Rank of the difference to each adapted layer's weights."""
        alpha: Count = 4
        """The difference is scaled by alpha / rank."""
        targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
        """The ends of the names of the layers that are adapted."""
        prediction: Prediction | None = None
        """What the adapted U-Net's output is taken for; the prior's own where null."""
        weights: str | None = None
        """A folder that `save` wrote, to go on from."""

    def __init__(self, backbone: Backbone, config: Config | None = None, **fields):
        """Raises UserError where the U-Net has an adapter already, no such layers, or the weights do not fit."""
        super().__init__()
        config = configure(self, config, fields)
        self.prediction = config.prediction or backbone.prediction
        self.backbone = backbone
        if getattr(backbone.unet, "peft_config", None):
            raise UserError("fake_score: two guides would adapt one U-Net; give one of them a `backbone:` of its own")
        from peft import LoraConfig
        from peft.tuners.tuners_utils import BaseTunerLayer

        lora = LoraConfig(
            r=config.rank, lora_alpha=config.alpha, target_modules=list(config.targets), init_lora_weights="gaussian"
        )
        try:
            backbone.unet.add_adapter(lora, ADAPTER)
        except ValueError as error:
            raise UserError(f"fake_score.targets: {brief(error)}") from None
        names = {name: p for name, p in backbone.unet.named_parameters() if ".lora_" in name}
        for parameter in names.values():
            parameter.data = parameter.data.float()
        self.adapter = nn.ParameterList(names.values())
        self.adapted = tuple(module for module in backbone.unet.modules() if isinstance(module, BaseTunerLayer))
        embeds_time, width = backbone.time_embedding
        self.camera = camera_embedding(width).to(backbone.device)
        self.current: Tensor | None = None
        """The numbers of the camera that the U-Net sees now, between `active`'s two ends."""
        own = weakref.ref(self)  # or U-Net and fake_score would keep each other
        embeds_time.register_forward_hook(lambda module, inputs, embedded: own().add_camera(embedded))
        if config.weights is not None:
            load_adapter(self, list(names), Path(config.weights))
        self._switch(False)

    def forward(self, x_t, t, condition):
        with self.active(condition.camera):
            dtype = self.backbone.dtype
            output = self.backbone.output(x_t.to(dtype), t, condition.text.to(dtype), condition)
            return output.float()[:, : x_t.shape[1]]

    @no_type_check  # no import hook of a run-time checker may wrap what is compiled
    def add_camera(self, embedded: Float[Tensor, "B width"]) -> Float[Tensor, "B width"]:
        """Adds the current camera's embedding to the time's, where there is one."""
        return embedded if self.current is None else embedded + self.camera(self.current).to(embedded)

    @contextmanager
    def active(self, camera: Float[Tensor, "B 16"] | None):
        """Makes the backbone's U-Net the fake score inside a `with` block."""
        self._switch(True)
        self.current = None if camera is None else camera_numbers(camera)
        try:
            yield
        finally:
            self.current = None
            self._switch(False)

    def _switch(self, on: bool) -> None:
        for layer in self.adapted:
            layer._disable_adapters = not on  # peft's own switch looks for them all, and freezes them, at each turn

    def save(self, folder: Path) -> None:
        """Writes `pytorch_lora_weights.safetensors`, which diffusers' `load_lora_adapter` reads, and the
        camera's.
        """
        from safetensors.torch import save_file

        save_adapter(self.backbone.unet, ADAPTER, folder)
        save_file(
            {name: tensor.contiguous() for name, tensor in self.camera.state_dict().items()}, folder / CAMERA_WEIGHTS
        )


def save_adapter(unet: nn.Module, name: str, folder: Path) -> None:
    """Writes a U-Net's adapter of that name as `pytorch_lora_weights.safetensors`."""
    with pretrained.quiet():  # diffusers warns of a cast that it does not make
        unet.save_lora_adapter(folder, adapter_name=name, weight_name=WEIGHTS)


@torch.no_grad()
def load_adapter(fake_score: LoRA, names: list[str], folder: Path) -> None:
    """Fills the adapter from a folder that `save` wrote. Raises UserError where it is missing, damaged or of another
    kind.
    """
    path = folder / WEIGHTS
    saved_as = [name.removesuffix(f".{ADAPTER}.weight") + ".weight" for name in names]
    stored = read_tensors(path)
    if set(stored) != set(saved_as):
        raise UserError(
            f"fake_score.weights: {path} is an adapter of other layers ({len(stored)} tensors, not {len(saved_as)})"
        )
    for name, parameter in zip(saved_as, fake_score.adapter, strict=True):
        if stored[name].shape != parameter.shape:
            raise UserError(
                f"fake_score.weights: {path} has another rank: {name} is {list(stored[name].shape)}, "
                f"not {list(parameter.shape)}"
            )
        parameter.copy_(stored[name])
    try:
        fake_score.camera.load_state_dict(read_tensors(folder / CAMERA_WEIGHTS))
    except RuntimeError as error:
        raise UserError(f"fake_score.weights: {folder / CAMERA_WEIGHTS} does not fit ({brief(error)})") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file. Raises UserError where it is missing or damaged."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    except (OSError, SafetensorError):
        raise UserError(f"fake_score.weights: {path} is missing or no safetensors file") from None


class SmallUNet(FakeScore):
    """A U-Net of its own, from nothing: smaller and freer than an adapter, and it must learn all.

    It sees text and camera; of an image, only the tokens that take the text's place.
    """

    @dataclass(frozen=True)
    class Config:
        """Configures the U-Net."""

        channels: tuple[Width, ...] = (32, 64)
        """Channels of each resolution, from the highest."""
        layers: Count = 1
        """Residual blocks at each resolution."""
        prediction: Prediction = "v_prediction"
        """What the U-Net learns to output."""

    def __init__(self, backbone: Backbone, config: Config | None = None, **fields):
        super().__init__()
        config = configure(self, config, fields)
        self.prediction = config.prediction
        levels = len(config.channels)
        from diffusers import UNet2DConditionModel

        self.unet = UNet2DConditionModel(
            sample_size=backbone.unet.config.sample_size,
            in_channels=backbone.channels,
            out_channels=backbone.channels,
            block_out_channels=config.channels,
            layers_per_block=config.layers,
            norm_num_groups=8,
            down_block_types=("DownBlock2D",) * (levels - 1) + ("CrossAttnDownBlock2D",),
            up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
            cross_attention_dim=backbone.text_width,
            attention_head_dim=4,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=CAMERA_WIDTH,
        ).to(backbone.device)

    def forward(self, x_t, t, condition):
        camera = x_t.new_zeros(len(x_t), CAMERA_WIDTH) if condition.camera is None else camera_numbers(condition.camera)
        return self.unet(x_t, t, encoder_hidden_states=condition.text, class_labels=camera).sample

    def save(self, folder: Path) -> None:
        """Writes the U-Net's diffusers folder."""
        self.unet.save_pretrained(folder)


class Copy(FakeScore):
    """A second U-Net that starts with the prior's weights and is learned whole; all else is the prior's.

    It sees of the condition what the prior sees: no camera, unless the prior does.
    """

    @dataclass(frozen=True)
    class Config:
        """Configures the copy."""

        weights: str | None = None
        """A folder that `save` wrote, to go on from."""

    def __init__(self, backbone: Backbone, config: Config | None = None, **fields):
        """Raises UserError where the weights are missing or do not fit."""
        super().__init__()
        config = configure(self, config, fields)
        self.prediction = backbone.prediction
        self.unet = trainable_copy(backbone.unet)
        if config.weights is not None:
            load_unet(self.unet, Path(config.weights))
        self.backbone = backbone.with_unet(self.unet)

    def forward(self, x_t, t, condition):
        dtype = self.backbone.dtype
        output = self.backbone.output(x_t.to(dtype), t, condition.text.to(dtype), condition)
        return output.float()[:, : x_t.shape[1]]

    def save(self, folder: Path) -> None:
        """Writes the U-Net's diffusers folder `unet/`."""
        self.unet.save_pretrained(folder / UNET)


def trainable_copy(unet: nn.Module) -> nn.Module:
    """Copies a U-Net in single precision. Raises UserError where it has an adapter."""
    if getattr(unet, "peft_config", None):
        raise UserError(
            "the prior's U-Net is to be copied, but has an adapter; give what adapts it a `backbone:` of its own"
        )
    own = copy.deepcopy(unet)
    return (own if own.dtype == torch.float32 else own.float()).requires_grad_(True)


def load_unet(unet: nn.Module, folder: Path) -> None:
    """Fills a U-Net from the `unet/` of a folder, of any precision.

    Raises UserError where it is not there or of another size.
    """
    stored = pretrained.load(type(unet), folder, UNET, None, torch.float32)
    try:
        unet.load_state_dict(stored.state_dict())
    except RuntimeError as error:
        raise UserError(f"{folder / UNET} is of another size than the prior's ({brief(error)})") from None


def camera_embedding(width: int) -> nn.Module:
    """Builds an MLP from 12 camera numbers to the width of the time embedding; its output starts at zero."""
    embedding = nn.Sequential(nn.Linear(CAMERA_WIDTH, width), nn.SiLU(), nn.Linear(width, width))
    nn.init.zeros_(embedding[2].weight)
    nn.init.zeros_(embedding[2].bias)
    return embedding
