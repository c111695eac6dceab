"""A reconstructor in InstantMesh's shape (Xu et al. 2024, arXiv 2404.07191): posed views in, a triplane out.

    views, cameras -> ViT, its norms modulated by the camera -> image tokens
    learned triplane tokens -> L x (self-attention, cross-attention to the image tokens, MLP) -> upsampled planes
    a point's features on the planes -> small MLPs: signed distance, colour, and FlexiCubes' deformation and weights

For small models, points also read features and colours from the views' pixels (`priors/pixel_aligned.py`).
With `design: instantmesh` every part is as published (`priors/instantmesh.py`), so that published weights fit.

The density of the volume-rendered phase is a function of the signed distance (`threestudio_like/scenes/triplane.py`),
so that both phases train one shape.

Views and cameras are in the frame of the condition image (`priors/view_encoder.py`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

from priors import instantmesh
from priors.decoder import Decoder
from priors.pixel_aligned import AlignedFeatures, PixelAligned
from priors.projection import BackProjection, Epipolar
from priors.view_encoder import ViewEncoder, load_vit, modulated, shape_fields
from threestudio_like.config.ranges import Cells, Count, Pixels, Positive, Whole, Width
from threestudio_like.errors import UserError, brief
from threestudio_like.pretrained import find_whole, read_json, without_place
from threestudio_like.scenes.triplane import PLANES, Extraction, Planes, PointFeatures, Triplane
from threestudio_like.utils.precision import as_trained

Design = Literal["toybox", "instantmesh"]
"""This project's own parts, or InstantMesh's, to which published weights fit."""


@dataclass
class ReconstructorSize:
    """Sizes of a reconstructor; the defaults are the Toybox's, whose recipe adds `pixel_aligned` and a finer grid.

    InstantMesh-large: design instantmesh, image 320, dino "facebook/dino-vitb16", width 1024, layers 16, heads 16,
    tokens 32, upsample 2, channels 80, hidden_layers 3, grid 128, epipolar and back_projection false.
    """

    design: Design = "toybox"
    """Parts of the model: this project's own, or exactly InstantMesh's."""
    image: Pixels = 64
    """Side length in pixels of the views."""
    dino: str | None = None
    """Hub id or folder of a DINO ViT to start the encoder from, instead of an untrained one of the next four sizes."""
    patch: Count = 8
    """Side length in pixels of the encoder's patches."""
    encoder_width: Width = 96
    """Width of the encoder's tokens."""
    encoder_layers: Count = 2
    """Layers of the encoder."""
    encoder_heads: Count = 4
    """Attention heads of the encoder."""
    width: Width = 128
    """Width of the triplane tokens."""
    layers: Count = 3
    """Layers from image tokens to triplane tokens."""
    heads: Count = 4
    """Attention heads of these layers."""
    tokens: Count = 8
    """Triplane tokens along a plane's side."""
    upsample: Count = 4
    """Cells of a plane along a token's side."""
    channels: Width = 24
    """Features of a cell."""
    hidden: Width = 64
    """Width of the decoder's MLPs."""
    hidden_layers: Count = 2
    """Hidden layers of the decoder's MLPs."""
    grid: Cells = 40
    """Cubes along a side of the surface's grid."""
    beta: Positive = 0.01
    """Scene units over which the density rises at the surface (VolSDF's beta)."""
    epipolar: bool = True
    """Biases attention by the cameras, for small models (`priors/projection.py`); false in InstantMesh."""
    pixel_aligned: Whole = 0
    """Features a pixel of the views that points' features are also read from (`priors/pixel_aligned.py`); 0: planes
    alone, as in InstantMesh."""
    back_projection: bool = True
    """Adds back-projected colours to the planes, for small models (`priors/projection.py`); false in InstantMesh."""

    def __post_init__(self):
        extras = [name for name in ("epipolar", "pixel_aligned", "back_projection") if getattr(self, name)]
        if self.design == "instantmesh" and extras:
            raise ValueError(f"{extras[0]}: design instantmesh has none; turn it off")
        if self.dino is None and self.image % self.patch:
            raise ValueError(f"image ({self.image}) must be a multiple of patch ({self.patch})")
        for name, of in (("width", self.heads), ("encoder_width", self.encoder_heads)):
            if getattr(self, name) % of:
                raise ValueError(f"{name} ({getattr(self, name)}) must be a multiple of its heads ({of})")


class Reconstructor(ModelMixin, ConfigMixin):
    """A model from views to planes, with the `decoder` of their features; saves and loads as diffusers' models do.

    `vit` holds a ViTConfig's fields; the rest is named as in `ReconstructorSize`.
    """

    mixed = False
    """Whether it is trained in mixed precision, and so computes in it wherever it is called."""

    @register_to_config
    def __init__(
        self,
        vit: dict,
        *,
        width: int = 128,
        layers: int = 3,
        heads: int = 4,
        tokens: int = 8,
        upsample: int = 4,
        channels: int = 24,
        hidden: int = 64,
        hidden_layers: int = 2,
        grid: int = 40,
        beta: float = 0.01,
        epipolar: bool = False,
        back_projection: bool = False,
        pixel_aligned: int = 0,
        design: Design = "toybox",
    ):
        super().__init__()
        self.published = design == "instantmesh"
        encoder = ViTModel(ViTConfig(**vit), add_pooling_layer=False)
        self.encoder = ViewEncoder(encoder, None if self.published else width)
        self.queries = nn.Parameter(torch.randn(len(PLANES) * tokens**2, width) / width**0.5)
        self.blocks = nn.ModuleList(
            instantmesh.Block(width, heads, encoder.config.hidden_size)
            if self.published
            else nn.TransformerDecoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.epipolar_bias = Epipolar(layers, heads, tokens) if epipolar else None
        self.norm = nn.LayerNorm(width, eps=instantmesh.NORM_EPS if self.published else 1e-5)
        self.up = nn.ConvTranspose2d(width, channels, upsample, stride=upsample)
        # the back-projection; shipped weights store it by this name
        self.seen = BackProjection(tokens * upsample, channels) if back_projection else None
        self.aligned = PixelAligned(channels, pixel_aligned) if pixel_aligned else None
        features = len(PLANES) * channels + (self.aligned.features if self.aligned else 0)
        self.decoder = (
            instantmesh.Decoder(features, hidden, hidden_layers)
            if self.published
            else Decoder(features, hidden, hidden_layers, blended=self.aligned is not None)
        )

    def __call__(self, *given):
        with as_trained(self.mixed, self.queries.device):
            return super().__call__(*given)

    def forward(self, images: Float[Tensor, "B N 3 H W"], poses: Float[Tensor, "B N 16"]) -> PointFeatures:
        """Predicts B objects, each from N views in 0..1 on white with their `pose_numbers`."""
        tokens = self.encoder(images.flatten(0, 1), poses.flatten(0, 1)).unflatten(0, (len(images), -1)).flatten(1, 2)
        patches = images.shape[-1] // self.config.vit["patch_size"]
        bias = self.epipolar_bias(poses, patches) if self.epipolar_bias else [None] * len(self.blocks)
        x = self.queries.expand(len(images), -1, -1)
        for block, attention_bias in zip(self.blocks, bias, strict=True):
            x = block(x, tokens, memory_mask=attention_bias)
        side = self.config.tokens
        x = self.norm(x).unflatten(1, (len(PLANES), side, side)).permute(0, 1, 4, 2, 3)
        planes = self.up(x.flatten(0, 1)).unflatten(0, (-1, len(PLANES)))
        if self.published:
            return instantmesh.as_published(planes)
        if self.seen is not None:
            planes = planes + self.seen(images, poses)
        if self.aligned is None:
            return Planes(planes)
        maps = self.aligned.maps(images.flatten(0, 1), poses.flatten(0, 1)).unflatten(0, images.shape[:2])
        return AlignedFeatures(planes, torch.cat([maps, images.to(maps)], dim=2), poses, self.aligned)

    def scene(self, planes: PointFeatures) -> Triplane:
        """Returns one object as a scene."""
        extraction = instantmesh.EXTRACTION if self.published else Extraction()
        return Triplane(planes, self.decoder, self.config.grid, self.config.beta, extraction=extraction)

    @staticmethod
    def of(size: ReconstructorSize) -> "Reconstructor":
        """Builds a new model; its encoder starts from DINO's weights where the size names them. Raises UserError."""
        vit = None if size.dino is None else load_vit(size.dino)
        encoder = (
            dict(
                image_size=size.image,
                patch_size=size.patch,
                hidden_size=size.encoder_width,
                num_hidden_layers=size.encoder_layers,
                num_attention_heads=size.encoder_heads,
                intermediate_size=4 * size.encoder_width,
            )
            if vit is None
            else shape_fields(vit.config)
        )
        model = Reconstructor(
            vit=encoder,
            width=size.width,
            layers=size.layers,
            heads=size.heads,
            tokens=size.tokens,
            upsample=size.upsample,
            channels=size.channels,
            hidden=size.hidden,
            hidden_layers=size.hidden_layers,
            grid=size.grid,
            beta=size.beta,
            epipolar=size.epipolar,
            back_projection=size.back_projection,
            pixel_aligned=size.pixel_aligned,
            design=size.design,
        )
        if vit is not None:
            model.encoder.vit = modulated(vit, trained=True, last=not model.published)
        return model

    @staticmethod
    def load(folder: str | Path) -> "Reconstructor":
        """Loads a model from a folder, as given or in the repository, or from the hub, in single precision.

        Raises UserError where it is missing or damaged.
        """
        place = find_whole(folder) or Path(folder)
        read_json(place / "config.json")
        try:
            return without_place(
                Reconstructor.from_pretrained(
                    place, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True
                )
            )
        except Exception as error:  # a config of another class, of another version, or damaged
            raise UserError(f"model: {place} cannot be loaded as a reconstructor ({brief(error)})") from None
