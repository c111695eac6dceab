"""The reconstructor's encoder: a ViT whose layer norms are modulated by the cameras, which 16 numbers each describe.

**The frame.** As in Zero123++ and InstantMesh, the object is reconstructed as the condition image sees it: azimuths are
relative to that image's own, which is 0, while elevations are absolute. The six views of `zero123plus_rig` with azimuth
0 have these cameras. An image of unknown elevation is given `CONDITION_ELEVATION_DEG`.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

from threestudio_like.cameras import Cameras, zero123plus_rig
from threestudio_like.errors import UserError, brief

POSE_NUMBERS = 16
CONDITION_ELEVATION_DEG = 15.0
IMAGE_MEAN, IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def rig_poses(distance: float, fov_deg: float, size: int) -> Float[Tensor, "6 16"]:
    """Computes the poses of Zero123++'s six cameras in the frame of their condition image, for views of `size`
    pixels."""
    return pose_numbers(zero123plus_rig(torch.zeros(1), distance, fov_deg, size))


def pose_numbers(cameras: Cameras) -> Float[Tensor, "B 16"]:
    """Describes cameras by 16 numbers: camera-to-world by rows without the last; focal lengths and principal point.

    The latter four are shares of the image's sides.
    """
    focal = 0.5 / torch.tan(0.5 * cameras.fov_y)
    middle = torch.full_like(focal, 0.5)
    intrinsics = torch.stack([focal * cameras.height / cameras.width, focal, middle, middle], dim=-1)
    return torch.cat([cameras.c2w[:, :3].flatten(1), intrinsics], dim=-1)


class CameraNorm(nn.Module):
    """A layer norm that is scaled and shifted by the camera's embedding (adaLN).

    Around a trained norm it starts as that norm.
    """

    def __init__(self, norm: nn.LayerNorm, camera_width: int, trained: bool):
        super().__init__()
        self.norm = norm
        self.modulation = nn.Linear(camera_width, 2 * norm.normalized_shape[0])
        if trained:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)
        self.camera: Float[Tensor, "V K"] | None = None
        """The camera embedding of the current forward pass; the encoder hands its norms nothing but tokens."""

    def forward(self, x: Float[Tensor, "V T W"]) -> Float[Tensor, "V T W"]:
        scale, shift = self.modulation(self.camera)[:, None].chunk(2, dim=-1)
        return self.norm(x) * (1 + scale) + shift


class ViewEncoder(nn.Module):
    """A ViT of transformers' whose layer norms are modulated by the camera."""

    mean: Tensor
    std: Tensor

    def __init__(self, vit: ViTModel, width: int | None):
        """`width`: that of the tokens, which a linear layer makes of the ViT's. None for InstantMesh's encoder: the
        ViT's own tokens, behind a last norm that no camera modulates, and SiLU between the pose and its modulations."""
        super().__init__()
        inner, own = vit.config.hidden_size, width is not None
        self.vit = modulated(vit, trained=False, last=own)
        self.pose = nn.Sequential(nn.Linear(POSE_NUMBERS, inner), nn.SiLU(), nn.Linear(inner, inner))
        self.activation = nn.Identity() if own else nn.SiLU()
        self.out = nn.Identity() if width is None else nn.Linear(inner, width)
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGE_STD)[:, None, None], persistent=False)

    def forward(self, images: Float[Tensor, "V 3 H W"], poses: Float[Tensor, "V 16"]) -> Float[Tensor, "V T width"]:
        norms = [module for module in self.vit.modules() if isinstance(module, CameraNorm)]
        camera = self.activation(self.pose(poses))
        for norm in norms:
            norm.camera = camera
        try:
            resized = images.shape[-1] != self.vit.config.image_size
            encoded = self.vit((images - self.mean) / self.std, interpolate_pos_encoding=resized)
        finally:
            for norm in norms:  # the model can be copied only while it holds no activations
                norm.camera = None
        return self.out(encoded.last_hidden_state)


def modulated(vit: ViTModel, trained: bool, last: bool = True) -> ViTModel:
    """Wraps each layer norm of a ViT in a `CameraNorm`, the last one where asked; returns the ViT."""
    for parent in list(vit.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.LayerNorm) and (last or parent is not vit):
                setattr(parent, name, CameraNorm(child, vit.config.hidden_size, trained))
    return vit


def load_vit(name: str) -> ViTModel:
    """Loads a ViT by hub id or folder. Raises UserError where it is missing, holds pickled weights only, or is none."""
    try:
        return ViTModel.from_pretrained(name, add_pooling_layer=False, use_safetensors=True).float()
    except Exception as error:  # transformers raises whatever its loaders raise
        raise UserError(
            f"size.dino: '{name}' cannot be loaded as a ViT ({brief(error)}); give a folder or a hub id of a DINO "
            "ViT with safetensors"
        ) from None


def shape_fields(config: ViTConfig) -> dict:
    """Selects the fields of a ViT's config that make its shape."""
    names = (
        "image_size",
        "patch_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "hidden_act",
        "layer_norm_eps",
        "qkv_bias",
    )
    return {name: getattr(config, name) for name in names}
