"""Parts of a small multi-view model: an image's tokens, the mean of its six views, and a U-Net.

Images are folded p x p into components, as in `priors/toybox/mean_predictor.py`. The tokens take the place of a text's,
and the mean of the six views that of a text's mean image: a U-Net learns late which view goes where, an MLP at once.
"""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin, SchedulerMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models import Transformer2DModel
from jaxtyping import Float
from torch import Tensor, nn

from priors.toybox.build import copy_matching
from priors.toybox.mean_predictor import COARSE, MeanPredictor
from threestudio_like.config.ranges import Count, Pixels, Width
from threestudio_like.errors import UserError

ROWS, COLUMNS = 3, 2
VIEWS = ROWS * COLUMNS


def tile(views: Float[Tensor, "B 6 C h w"]) -> Float[Tensor, "B C 3*h 2*w"]:
    """Tiles six views as one image of three rows and two columns, filled row by row (Zero123++, section 2.1)."""
    return views.unflatten(1, (ROWS, COLUMNS)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def untile(tiled: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 6 C H//3 W//2"]:
    """Inverts `tile`."""
    return tiled.unflatten(3, (COLUMNS, -1)).unflatten(2, (ROWS, -1)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


@dataclass
class MultiviewSize:
    """Sizes of a small multi-view model."""

    view: Pixels = 64
    """Side length in pixels of the views."""
    patch: Count = 4
    """Side length in pixels of the patches; the U-Net works on `view / patch` of each view."""
    channels: tuple[Width, ...] = (48, 64, 64)
    """Channels of the U-Net's levels."""
    layers: Count = 1
    """Layers of each level."""
    heads: Count = 4
    """Width of the U-Net's attention heads (diffusers' `attention_head_dim`)."""
    tokens_width: Width = 64
    """Width of the image's tokens."""
    mean_predictor: tuple[Width, Width, Width] = (384, 128, 32)
    """Widths of the mean predictor: its MLP, wide and of each view, and its map."""

    def __post_init__(self):
        cells = self.view / self.patch / COARSE
        if cells not in (1, 2, 4, 8, 16, 32):
            raise ValueError(f"view / patch must be {COARSE}, or that doubled a few times: {self.view} / {self.patch}")


class ImageEncoder(ModelMixin, ConfigMixin):
    """Convolutions from a folded image to 4 x 4 tokens, each with a positional embedding.

    The colours, which group norms remove, go straight to the tokens.
    """

    @register_to_config
    def __init__(self, channels: int = 48, size: int = 16, width: int = 64, groups: int = 8):
        super().__init__()
        halvings = (size // COARSE).bit_length() - 1
        layers = [nn.Conv2d(channels, width, 3, padding=1)]
        for stride in (1, *(2,) * halvings, 1):
            layers += [nn.GroupNorm(groups, width), nn.SiLU(), nn.Conv2d(width, width, 3, stride, padding=1)]
        self.layers = nn.Sequential(*layers, nn.GroupNorm(groups, width))
        self.places = nn.Parameter(0.1 * torch.randn(COARSE**2, width))
        self.colors = nn.Linear(channels, width)
        nn.init.zeros_(self.colors.weight)
        nn.init.zeros_(self.colors.bias)

    def forward(self, image: Float[Tensor, "B C s s"]) -> Float[Tensor, "B 16 D"]:
        """Encodes folded images."""

        def cells(x):
            return x.flatten(2).transpose(1, 2)

        return cells(self.layers(image)) + self.colors(cells(F.adaptive_avg_pool2d(image, COARSE))) + self.places


class ViewMeanPredictor(MeanPredictor):
    """The mean of the six views, given an image's tokens: an MLP to each view's 4 x 4 cells, then convolutions upwards.

    Each view has a linear map of its own, which turns the object; the rest is shared by all six, with channels scaled
    by the tokens, so that any shape may have any colour. Its images are tiled; their components are a
    `MeanPredictor`'s.
    """

    @register_to_config
    def __init__(
        self,
        tokens_width: int = 64,
        wide: int = 384,
        hidden: int = 128,
        width: int = 32,
        channels: int = 48,
        size: int = 16,
    ):
        ModelMixin.__init__(self)  # not MeanPredictor's: of its network nothing is left
        doublings = (size // COARSE).bit_length() - 1
        widths = [width] * doublings + [channels]
        self.gather = nn.Linear(COARSE**2 * tokens_width, wide)
        self.turn = nn.Linear(wide, VIEWS * hidden)
        self.cells = nn.Linear(hidden, widths[0] * COARSE**2)
        for layer in (self.gather, self.turn):  # as in MeanPredictor: at full strength
            nn.init.kaiming_normal_(layer.weight)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in itertools.pairwise(widths)
        )
        self.tints = nn.ModuleList(nn.Linear(wide, before) for before in widths[:-1])
        for tint in self.tints:
            nn.init.zeros_(tint.weight)
            nn.init.zeros_(tint.bias)
        self.register_buffer("basis", torch.eye(channels))
        self.register_buffer("spread", torch.ones(channels))  # the std; shipped weights store it by this name

    def forward(self, tokens: Float[Tensor, "B 16 D"]) -> Float[Tensor, "B C H W"]:
        """Predicts the mean views, in components."""
        whole = F.silu(self.gather(tokens.flatten(1)))
        rotated = F.silu(self.turn(whole).unflatten(-1, (VIEWS, -1)))
        x = self.cells(rotated.flatten(0, 1)).unflatten(-1, (-1, COARSE, COARSE))
        for convolution, tint in zip(self.convolutions, self.tints, strict=True):
            scale = 1 + tint(whole).repeat_interleave(VIEWS, dim=0)[..., None, None]
            x = convolution(F.interpolate(scale * F.silu(x), scale_factor=2))
        return tile(x.unflatten(0, (-1, VIEWS)))


def image_encoder(size: MultiviewSize) -> ImageEncoder:
    """Builds the image encoder."""
    return ImageEncoder(channels=3 * size.patch**2, size=size.view // size.patch, width=size.tokens_width)


def view_mean_predictor(size: MultiviewSize) -> ViewMeanPredictor:
    """Builds the mean predictor of the six views."""
    wide, hidden, width = size.mean_predictor
    return ViewMeanPredictor(size.tokens_width, wide, hidden, width, 3 * size.patch**2, size.view // size.patch)


def unet(size: MultiviewSize) -> UNet2DConditionModel:
    """Builds a U-Net with attention at all levels but the first; it also pools the tokens."""
    folded, side, deeper = 3 * size.patch**2, size.view // size.patch, len(size.channels) - 1
    return UNet2DConditionModel(
        sample_size=(ROWS * side, COLUMNS * side),
        in_channels=2 * folded,
        out_channels=2 * folded,  # the addition and the gate of `mean_predictor.refine`
        block_out_channels=size.channels,
        layers_per_block=size.layers,
        norm_num_groups=8,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * deeper,
        up_block_types=("CrossAttnUpBlock2D",) * deeper + ("UpBlock2D",),
        cross_attention_dim=size.tokens_width,
        attention_head_dim=size.heads,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",
    )


@torch.no_grad()
def start_from(unet: UNet2DConditionModel, base: UNet2DConditionModel) -> None:
    """Copies every tensor of a text-to-image model's U-Net that fits. New attention layers change nothing at first.

    Raises UserError where the two do not work on the same patches.
    """
    if unet.conv_in.weight.shape != base.conv_in.weight.shape:
        raise UserError(
            f"start: that U-Net's first layer is {list(base.conv_in.weight.shape)}, this one's "
            f"{list(unet.conv_in.weight.shape)}; give `size` its patch and channels"
        )
    copy_matching(unet, base)
    shared = dict(base.named_modules())
    for name, module in unet.named_modules():
        if isinstance(module, Transformer2DModel) and name not in shared:
            nn.init.zeros_(module.proj_out.weight)
            nn.init.zeros_(module.proj_out.bias)


def save(
    folder: Path,
    unet: UNet2DConditionModel,
    mean_predictor: ViewMeanPredictor,
    encoder: ImageEncoder,
    scheduler: SchedulerMixin,
) -> None:
    """Writes the parts in diffusers' folder layout, safetensors only."""
    parts = {"unet": unet, "mean_predictor": mean_predictor, "image_encoder": encoder, "scheduler": scheduler}
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    index = {"_class_name": "DiffusionPipeline"} | {
        name: [type(part).__module__.split(".")[0], type(part).__name__] for name, part in parts.items()
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
