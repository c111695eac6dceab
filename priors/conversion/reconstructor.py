"""Converts InstantMesh's checkpoint (Xu et al. 2024, arXiv 2404.07191) into a reconstructor of `design: instantmesh`.

Its tensors have the prefix `lrm_generator.`. Most need another name only. Each layer's modulation of the ViT is divided
among its two norms. The MLP of FlexiCubes' weights numbers a cube's corners and edges in another order, and the ViT's
positions are interpolated once to the patches of the views, as InstantMesh does at each call.
"""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from priors.conversion.fitting import check_fit
from priors.reconstructor import Reconstructor
from threestudio_like.config.ranges import Cells, Pixels, Width
from threestudio_like.errors import UserError, brief
from threestudio_like.kernels.cubes.patches import CORNERS, EDGES

PREFIX = "lrm_generator."
TRAINING_CAMERA = "source_camera"
"""What its training's cameras leave in a checkpoint, and its own `app.py` leaves out."""
POSITIONS = "encoder.vit.embeddings.position_embeddings"
RENAMED = (
    (r"^encoder\.model\.encoder\.layer\.", "encoder.vit.layers."),
    (r"^encoder\.model\.", "encoder.vit."),
    (r"\.attention\.attention\.(query|key|value)\.", lambda found: f".attention.{found[1][0]}_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_(before|after)\.", r".layernorm_\1.norm."),
    (r"^encoder\.camera_embedder\.", "encoder.pose."),
    (r"^transformer\.pos_embed$", "queries"),
    (r"^transformer\.layers\.(\d+)\.mlp\.3\.", r"blocks.\1.mlp.2."),
    (r"^transformer\.layers\.", "blocks."),
    (r"^transformer\.norm\.", "norm."),
    (r"^transformer\.deconv\.", "up."),
    (r"^synthesizer\.decoder\.net_sdf\.", "decoder.distance_net."),
    (r"^synthesizer\.decoder\.net_rgb\.", "decoder.color_net."),
    (r"^synthesizer\.decoder\.net_deformation\.", "decoder.deformation_net."),
    (r"^synthesizer\.decoder\.net_weight\.", "decoder.weights_net."),
)
"""Patterns in InstantMesh's names, and what stands there in ours."""
MODULATION = ".adaLN_modulation.1."
THEIR_CORNERS = tuple((i & 1, i >> 1 & 1, i >> 2) for i in range(8))
"""The corners of a cube in the order of the published FlexiCubes: x changes first."""
THEIR_EDGES = ((0, 1), (1, 5), (4, 5), (0, 4), (2, 3), (3, 7), (6, 7), (2, 6), (2, 0), (3, 1), (7, 5), (6, 4))
"""The ends of its edges there, as numbers of `THEIR_CORNERS`."""


class InstantMeshReconstructor:
    """Converts `instant_mesh_large.ckpt` or `instant_mesh_base.ckpt`. Built as `cls(config)`."""

    @dataclass(frozen=True)
    class Config:
        """Configures what the file does not say; the defaults are those of all published variants."""

        image: Pixels = 320
        """Side length in pixels of the views."""
        grid: Cells = 128
        """Cubes along a side of the surface's grid."""
        head_width: Width = 64
        """Width of an attention head, in the encoder and in the layers."""

    def __init__(self, config: Config):
        self.config = config

    @staticmethod
    def recognises(names: Collection[str]) -> bool:
        """Tells by the tensors' names whether this is a checkpoint of InstantMesh's."""
        return any(name.startswith(PREFIX) for name in names)

    def convert(self, tensors: dict[str, Tensor], folder: Path) -> None:
        """Writes the reconstructor into the folder, in the precision of the file. Raises UserError."""
        self.reconstructor(tensors).save_pretrained(folder, safe_serialization=True)

    def reconstructor(self, tensors: dict[str, Tensor]) -> Reconstructor:
        """Builds the reconstructor of a checkpoint's tensors. Raises UserError."""
        own = {
            name.removeprefix(PREFIX): tensor
            for name, tensor in tensors.items()
            if name.startswith(PREFIX) and TRAINING_CAMERA not in name
        }
        if "synthesizer.decoder.net.0.weight" in own:
            raise UserError("an instant-nerf variant has no surface; take an instant-mesh one")
        state = renamed(own)
        try:
            fields = shape_of(state, self.config)
            state[POSITIONS] = positions_for(state[POSITIONS], self.config.image // fields["vit"]["patch_size"])
            state |= reordered(state["decoder.weights_net.0.weight"], *last_layer(state, "decoder.weights_net"))
            state["queries"] = state["queries"][0]
        except (KeyError, IndexError, ValueError, RuntimeError, ZeroDivisionError) as error:
            raise UserError(f"the checkpoint is not of InstantMesh's shape ({brief(error)})") from None
        with torch.device("meta"):
            model = Reconstructor(**fields)
        check_fit(state, model, "InstantMesh's shape")
        model.load_state_dict({name: tensor.contiguous() for name, tensor in state.items()}, assign=True)
        return model


def renamed(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gives each tensor our name, and divides the modulation of a layer of the ViT among its norms."""
    state = {}
    for name, tensor in published.items():
        for pattern, new in RENAMED:
            name = re.sub(pattern, new, name)
        if MODULATION not in name:
            state[name] = tensor
            continue
        layer, kind = name.split(MODULATION)
        shift_before, scale_before, shift_after, scale_after = tensor.chunk(4)
        state[f"{layer}.layernorm_before.modulation.{kind}"] = torch.cat([scale_before, shift_before])
        state[f"{layer}.layernorm_after.modulation.{kind}"] = torch.cat([scale_after, shift_after])
    return state


def shape_of(state: dict[str, Tensor], config: InstantMeshReconstructor.Config) -> dict:
    """Reads the fields of a Reconstructor from the shapes of its tensors. Raises KeyError for a missing one."""

    def shape(name):
        return state[name].shape

    def count(pattern):
        return len({found[1] for name in state if (found := re.match(pattern, name))})

    inner, _, _, patch = shape("encoder.vit.embeddings.patch_embeddings.projection.weight")
    _, queries, width = shape("queries")
    _, channels, _, upsample = shape("up.weight")
    vit = dict(
        image_size=config.image // patch * patch,
        patch_size=patch,
        hidden_size=inner,
        num_hidden_layers=count(r"encoder\.vit\.layers\.(\d+)\."),
        num_attention_heads=inner // config.head_width,
        intermediate_size=shape("encoder.vit.layers.0.mlp.fc1.weight")[0],
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        qkv_bias=True,
    )
    return dict(
        vit=vit,
        width=width,
        layers=count(r"blocks\.(\d+)\."),
        heads=width // config.head_width,
        tokens=math.isqrt(queries // 3),
        upsample=upsample,
        channels=channels,
        hidden=shape("decoder.distance_net.0.weight")[0],
        hidden_layers=count(r"decoder\.distance_net\.(\d+)\.weight") - 1,
        grid=config.grid,
        design="instantmesh",
    )


def positions_for(positions: Float[Tensor, "1 T W"], patches: int) -> Float[Tensor, "1 K W"]:
    """Interpolates DINO's positions to `patches` along a side.

    As in DINO's first release, a tenth of a patch is added to the size that is asked for, which moves every position.
    """
    side = math.isqrt(positions.shape[1] - 1)
    if side == patches:
        return positions
    grid = positions[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid.float(), scale_factor=(patches + 0.1) / side, mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], grid.to(positions).flatten(2).mT], dim=1)


def last_layer(state: dict[str, Tensor], net: str) -> tuple[str, Tensor, Tensor]:
    """Returns the name, the weight and the bias of an MLP's last layer."""
    numbers = [int(found[1]) for name in state if (found := re.match(rf"{re.escape(net)}\.(\d+)\.weight$", name))]
    name = f"{net}.{max(numbers)}"
    return name, state[f"{name}.weight"], state[f"{name}.bias"]


def reordered(
    first: Float[Tensor, "H D"], last: str, weight: Float[Tensor, "21 H"], bias: Float[Tensor, "21"]
) -> dict[str, Tensor]:
    """Sorts the inputs (corners' features) and outputs (edges, corners, quad) of the MLP of FlexiCubes' weights as we
    have them: by our corners, and corners, edges, quad."""
    corner_of: dict[tuple[int, ...], int] = {place: number for number, place in enumerate(THEIR_CORNERS)}
    edge_of = {frozenset(ends): number for number, ends in enumerate(THEIR_EDGES)}
    corners = [corner_of[place] for place in CORNERS]
    edges = [edge_of[frozenset((corners[a], corners[b]))] for a, b in EDGES]
    outputs = torch.tensor([12 + corner for corner in corners] + edges + [20])
    return {
        "decoder.weights_net.0.weight": first.unflatten(1, (8, -1))[:, corners].flatten(1),
        f"{last}.weight": weight[outputs],
        f"{last}.bias": bias[outputs],
    }
