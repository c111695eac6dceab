"""InstantMesh as it is published, tiny: its checkpoint's names and shapes, and its forward pass said plainly.

The pass is written from the paper, the published configuration and the names, in numpy and double precision, without
any module of this project's or of torch's.
"""

import math
from itertools import product
from pathlib import Path

import numpy as np
import torch
from scipy.special import erf

IMAGE, PATCH, HEAD = 32, 8, 8
TRAINED_SIDE = 3
"""Patches along a side of the images that the ViT was trained on, as 14 of DINO's; the views have 4, as 20 of 320."""
ENCODER, ENCODER_LAYERS, ENCODER_MLP = 16, 2, 32
WIDTH, LAYERS, TOKENS, CHANNELS, HIDDEN, GRID = 24, 2, 4, 5, 7, 6
KEYS = (f"image={IMAGE}", f"grid={GRID}", f"head_width={HEAD}")
"""What the converter is told that the file does not say."""


def shapes() -> dict[str, tuple[int, ...]]:
    """The names and shapes of the state dict, without its prefix."""
    found = {
        "encoder.model.embeddings.cls_token": (1, 1, ENCODER),
        "encoder.model.embeddings.position_embeddings": (1, TRAINED_SIDE**2 + 1, ENCODER),
        "encoder.model.embeddings.patch_embeddings.projection.weight": (ENCODER, 3, PATCH, PATCH),
        "encoder.model.embeddings.patch_embeddings.projection.bias": (ENCODER,),
        "transformer.pos_embed": (1, 3 * TOKENS**2, WIDTH),
        "transformer.deconv.weight": (WIDTH, CHANNELS, 2, 2),
        "transformer.deconv.bias": (CHANNELS,),
    }

    def linear(name, inputs, outputs):
        found[f"{name}.weight"], found[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norm(name, width):
        found[f"{name}.weight"], found[f"{name}.bias"] = (width,), (width,)

    linear("encoder.camera_embedder.0", 16, ENCODER), linear("encoder.camera_embedder.2", ENCODER, ENCODER)
    for i in range(ENCODER_LAYERS):
        layer = f"encoder.model.encoder.layer.{i}"
        for name in ("attention.attention.query", "attention.attention.key", "attention.attention.value"):
            linear(f"{layer}.{name}", ENCODER, ENCODER)
        linear(f"{layer}.attention.output.dense", ENCODER, ENCODER)
        linear(f"{layer}.intermediate.dense", ENCODER, ENCODER_MLP)
        linear(f"{layer}.output.dense", ENCODER_MLP, ENCODER)
        norm(f"{layer}.layernorm_before", ENCODER), norm(f"{layer}.layernorm_after", ENCODER)
        linear(f"{layer}.adaLN_modulation.1", ENCODER, 4 * ENCODER)
    norm("encoder.model.layernorm", ENCODER)
    for i in range(LAYERS):
        layer = f"transformer.layers.{i}"
        for name, shape in (
            ("cross_attn.q_proj_weight", (WIDTH, WIDTH)),
            ("cross_attn.k_proj_weight", (WIDTH, ENCODER)),
            ("cross_attn.v_proj_weight", (WIDTH, ENCODER)),
            ("cross_attn.out_proj.weight", (WIDTH, WIDTH)),
            ("self_attn.in_proj_weight", (3 * WIDTH, WIDTH)),
            ("self_attn.out_proj.weight", (WIDTH, WIDTH)),
        ):
            found[f"{layer}.{name}"] = shape
        for name in ("norm1", "norm2", "norm3"):
            norm(f"{layer}.{name}", WIDTH)
        linear(f"{layer}.mlp.0", WIDTH, 4 * WIDTH), linear(f"{layer}.mlp.3", 4 * WIDTH, WIDTH)
    norm("transformer.norm", WIDTH)
    for net, inputs, outputs in (("sdf", 3, 1), ("rgb", 3, 3), ("deformation", 3, 3), ("weight", 24, 21)):
        widths = (inputs * CHANNELS, HIDDEN, HIDDEN, HIDDEN, outputs)
        for i in range(4):
            linear(f"synthesizer.decoder.net_{net}.{2 * i}", widths[i], widths[i + 1])
    return found


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights under the published names; the images, the cameras and every layer matter."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) * (1.0 if len(shape) < 2 else 1.5 / math.sqrt(shape[-1]))
        for name, shape in shapes().items()
    }


def write_checkpoint(path: Path, weights: dict[str, torch.Tensor] | None = None) -> Path:
    """Writes them as Lightning does, beside a perceptual loss's and a camera of the training; returns the path."""
    named = {f"lrm_generator.{name}": tensor for name, tensor in (weights or state()).items()}
    others = {"lpips.net.weight": torch.ones(2), "lrm_generator.source_camera": torch.ones(16)}
    torch.save({"epoch": 3, "state_dict": others | named, "callbacks": {}}, path)
    return path


class Published:
    """The forward pass of the weights."""

    def __init__(self, weights: dict[str, torch.Tensor]):
        self.w = {name: tensor.double().numpy() for name, tensor in weights.items()}

    def linear(self, name, x):
        return x @ self.w[f"{name}.weight"].T + self.w.get(f"{name}.bias", 0)

    def norm(self, name, x, epsilon):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
        return scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def positions(self):
        """DINO's: bicubic (a = -3/4), the target a tenth of a patch larger than it is."""
        table, side = self.w["encoder.model.embeddings.position_embeddings"][0], IMAGE // PATCH
        known = table[1:].reshape(TRAINED_SIDE, TRAINED_SIDE, -1)
        mix = np.zeros((side, TRAINED_SIDE))
        for i in range(side):
            where = (i + 0.5) * TRAINED_SIDE / (side + 0.1) - 0.5
            for j in range(math.floor(where) - 1, math.floor(where) + 3):
                mix[i, min(max(j, 0), TRAINED_SIDE - 1)] += cubic(abs(where - j))
        found = np.einsum("ia,jb,abw->ijw", mix, mix, known).reshape(side**2, -1)
        return np.concatenate([table[:1], found])

    def encode(self, image, camera):
        """One view [3, H, W] in 0..1 and its 16 numbers to tokens."""
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        image = (image - mean[:, None, None]) / std[:, None, None]
        name = "encoder.model.embeddings.patch_embeddings.projection"
        kernel, side = self.w[f"{name}.weight"], IMAGE // PATCH
        patches = [
            np.einsum("ochw,chw->o", kernel, image[:, PATCH * i : PATCH * (i + 1), PATCH * j : PATCH * (j + 1)])
            for i, j in product(range(side), repeat=2)
        ]
        patches = np.stack(patches) + self.w[f"{name}.bias"]
        x = np.concatenate([self.w["encoder.model.embeddings.cls_token"][0], patches]) + self.positions()
        hidden = silu(self.linear("encoder.camera_embedder.0", camera))
        camera = self.linear("encoder.camera_embedder.2", hidden)
        for i in range(ENCODER_LAYERS):
            layer = f"encoder.model.encoder.layer.{i}"
            modulation = self.linear(f"{layer}.adaLN_modulation.1", silu(camera)).reshape(4, -1)
            shift_attention, scale_attention, shift_mlp, scale_mlp = modulation
            y = self.norm(f"{layer}.layernorm_before", x, 1e-12) * (1 + scale_attention) + shift_attention
            q, k, v = (self.linear(f"{layer}.attention.attention.{part}", y) for part in ("query", "key", "value"))
            x = x + self.linear(f"{layer}.attention.output.dense", attend(q, k, v))
            y = self.norm(f"{layer}.layernorm_after", x, 1e-12) * (1 + scale_mlp) + shift_mlp
            x = x + self.linear(f"{layer}.output.dense", gelu(self.linear(f"{layer}.intermediate.dense", y)))
        return self.norm("encoder.model.layernorm", x, 1e-12)

    def planes(self, images, cameras):
        """Views [N, 3, H, W] and cameras [N, 16] of one object to planes [3, C, R, R]."""
        tokens = np.concatenate([self.encode(*view) for view in zip(images, cameras, strict=True)])
        x = self.w["transformer.pos_embed"][0]
        for i in range(LAYERS):
            layer = f"transformer.layers.{i}"
            weight = {part: self.w[f"{layer}.cross_attn.{part}_proj_weight"] for part in "qkv"}
            y = self.norm(f"{layer}.norm1", x, 1e-5)
            found = attend(y @ weight["q"].T, tokens @ weight["k"].T, tokens @ weight["v"].T)
            x = x + self.linear(f"{layer}.cross_attn.out_proj", found)
            q, k, v = np.split(
                self.norm(f"{layer}.norm2", x, 1e-5) @ self.w[f"{layer}.self_attn.in_proj_weight"].T, 3, -1
            )
            x = x + self.linear(f"{layer}.self_attn.out_proj", attend(q, k, v))
            y = self.linear(f"{layer}.mlp.0", self.norm(f"{layer}.norm3", x, 1e-5))
            x = x + self.linear(f"{layer}.mlp.3", gelu(y))
        x = self.norm("transformer.norm", x, 1e-6).reshape(3, TOKENS, TOKENS, WIDTH)
        blocks = np.einsum("phwd,dcab->pchawb", x, self.w["transformer.deconv.weight"])
        return blocks.reshape(3, CHANNELS, 2 * TOKENS, 2 * TOKENS) + self.w["transformer.deconv.bias"][:, None, None]

    def features(self, planes, x):
        """Points [N, 3] to features [N, 3 C]: by (x, y), (x, z) and (z, y), columns first; zero beyond the planes."""
        pairs = (x[:, [0, 1]], x[:, [0, 2]], x[:, [2, 1]])
        return np.concatenate([bilinear(plane, where) for plane, where in zip(planes, pairs, strict=True)], axis=-1)

    def mlp(self, net, x):
        for i in range(4):
            x = self.linear(f"synthesizer.decoder.net_{net}.{2 * i}", x)
            x = np.maximum(x, 0) if i < 3 else x
        return x

    def distance(self, planes, x):
        """The signed distance, negative inside."""
        return self.mlp("sdf", self.features(planes, x))[:, 0]

    def color(self, planes, x):
        return np.clip(1.002 / (1 + np.exp(-self.mlp("rgb", self.features(planes, x)))) - 0.001, 0, 1)

    def shift(self, planes, x):
        """How far grid vertices are moved, in scene units."""
        return np.tanh(self.mlp("deformation", self.features(planes, x))) / (4 * GRID)

    def weights(self, planes, low, side):
        """FlexiCubes' weights of one cube: those of corners and edges by place, and that of its quads.

        Corners go with x first; edges as the published table has them, which is said here by their middles.
        """
        places = [np.array(corner[::-1]) for corner in product((0, 1), repeat=3)]
        features = self.features(planes, np.array([low + side * place for place in places])).reshape(1, -1)
        raw = 0.1 * self.mlp("weight", features)[0]
        corner = {tuple(place): 1 + 0.5 * np.tanh(w) for place, w in zip(places, raw[12:20], strict=True)}
        edge = {place: 1 + 0.5 * np.tanh(w) for place, w in zip(MIDDLES, raw[:12], strict=True)}
        return corner, edge, 0.25 + 0.5 / (1 + np.exp(-raw[20]))


MIDDLES = (
    (0.5, 0, 0), (1, 0, 0.5), (0.5, 0, 1), (0, 0, 0.5), (0.5, 1, 0), (1, 1, 0.5),
    (0.5, 1, 1), (0, 1, 0.5), (0, 0.5, 0), (1, 0.5, 0), (1, 0.5, 1), (0, 0.5, 1),
)  # fmt: skip


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def cubic(x):
    if x < 1:
        return (1.25 * x - 2.25) * x * x + 1
    return ((-0.75 * x + 3.75) * x - 6) * x + 3 if x < 2 else 0.0


def attend(q, k, v):
    """Softmax attention in heads of `HEAD` channels."""
    found = []
    for start in range(0, q.shape[-1], HEAD):
        part = slice(start, start + HEAD)
        logits = q[:, part] @ k[:, part].T / math.sqrt(HEAD)
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        found.append(shares / shares.sum(-1, keepdims=True) @ v[:, part])
    return np.concatenate(found, axis=-1)


def bilinear(plane, where):
    """Samples [C, R, R] at [N, 2] of -1..1, columns first; beyond its cells the plane is zero."""
    size = plane.shape[-1]
    column, row = ((where[:, i] + 1) * size / 2 - 0.5 for i in (0, 1))
    total = np.zeros((len(where), len(plane)))
    for i, j in product((0, 1), repeat=2):
        at_row, at_column = np.floor(row).astype(int) + i, np.floor(column).astype(int) + j
        inside = (at_row >= 0) & (at_row < size) & (at_column >= 0) & (at_column < size)
        share = (1 - abs(row - at_row)) * (1 - abs(column - at_column)) * inside
        total += share[:, None] * plane[:, at_row.clip(0, size - 1), at_column.clip(0, size - 1)].T
    return total
