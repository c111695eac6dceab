"""Counts the GPU memory of published models on fake tensors: `python -m benchmarks.memory`.

Nothing is downloaded and nothing computed: models are built of their configs, their tensors have shapes and no
numbers. Counted are the bytes of all storages that are alive at once, those kept for the backward pass among them;
attention counts as the fused kernels do it, which keep no matrix of weights. What cannot be counted so, because shapes
depend on data, is counted on real tensors at small sizes: renderings, whose bytes are in proportion to samples and
pixels. It is written to `systems/memory/counted.json`, from which `--check` reckons; with `--table` the estimates of
all recipes and presets are printed.
"""

import argparse
import gc
import json
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import Function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary
from transformers import ViTModel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from priors.instantmesh import as_published
from priors.reconstructor import Reconstructor
from systems.memory.estimate import COUNTED
from systems.memory.published import MODELS
from threestudio_like.cameras import orbit
from threestudio_like.config.loading import CONFIGS, load
from threestudio_like.config.presets import gigabytes
from threestudio_like.config.recipe import Recipe, parse_recipe
from threestudio_like.engine.memory import Memory
from threestudio_like.engine.system import Context
from threestudio_like.kernels.hashgrid import HashGrid
from threestudio_like.kernels.march import march
from threestudio_like.renderers import regularizers
from threestudio_like.renderers.environment import EnvironmentLight
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.renderers.volume import VolumeRenderer
from threestudio_like.scenes.encoded import EncodedMLP
from threestudio_like.scenes.field import Field
from threestudio_like.scenes.tetmesh import TetMesh
from threestudio_like.scenes.triplane import shared_grid
from threestudio_like.utils.card import GB

HALF = torch.float16
ADAPTED = ("sd15", "sd21")
"""Models of which an adapter's learning is counted too: those that VSD is done with."""


class Counter(TorchDispatchMode):
    """Counts the bytes of storages that are made inside it: those alive `now`, and at the `peak`."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known = WeakIdKeyDictionary()

    def __torch_dispatch__(self, function, types, given=(), named=None):
        result = function(*given, **(named or {}))
        tree_map_only(Tensor, self.see, result)
        return result

    def see(self, tensor: Tensor) -> None:
        """Counts a tensor's storage, unless it is known, until it is freed."""
        storage = tensor.untyped_storage()
        if storage in self.known:
            return
        self.known[storage] = True
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.free, size)

    def free(self, size: int) -> None:
        """Takes off what was freed."""
        self.now -= size


class Fused(Function):
    """Attention as fused kernels keep it: inputs, output and one number a row."""

    @staticmethod
    def forward(ctx, query, key, value):
        output = query.new_empty((*query.shape[:-1], value.shape[-1]))
        ctx.save_for_backward(query, key, value, output, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return output

    @staticmethod
    def backward(ctx, gradient):
        query, key, value, _, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def attend(query, key, value, *more, **named):
    """Stands for `scaled_dot_product_attention`."""
    return Fused.apply(query, key, value)


def in_single_precision(norm: Callable) -> Callable:
    """Lets a norm compute in single precision under autocast, as it does on CUDA and not on the CPU."""

    def computed(*given, **named):
        if torch.is_autocast_enabled("cpu"):
            given = tuple(one.float() if isinstance(one, Tensor) and one.is_floating_point() else one for one in given)
        return norm(*given, **named)

    return computed


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """Lets attention be fused, and norms compute as under CUDA's autocast."""
    norms = {name: in_single_precision(getattr(F, name)) for name in ("group_norm", "layer_norm")}
    with mock.patch.multiple(F, scaled_dot_product_attention=attend, **norms):
        yield


def build(name: str, part: str, dtype: torch.dtype = HALF):
    """Builds a part of a published model, frozen; on fake tensors inside their mode."""
    from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel

    kinds = {"unet": UNet2DConditionModel, "transformer": SD3Transformer2DModel, "vae": AutoencoderKL}
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return kinds[part](**MODELS[name][part]).requires_grad_(False).eval()
    finally:
        torch.set_default_dtype(before)


def network_of(name: str) -> str:
    """Returns which part of a model predicts."""
    return "transformer" if "transformer" in MODELS[name] else "unet"


def asked(name: str, network, count: int) -> dict:
    """Makes the inputs of a model's network for `count` images, as its backbone does."""
    config, (tokens, width), half = network.config, MODELS[name]["tokens"], network.dtype
    side = config.sample_size
    x, t = torch.empty(count, config.in_channels, side, side, dtype=half), torch.zeros(count, dtype=torch.long)
    text = torch.empty(count, tokens, width, dtype=half)
    if network_of(name) == "transformer":
        pooled = torch.empty(count, config.pooled_projection_dim, dtype=half)
        return {
            "hidden_states": x,
            "timestep": t.float(),
            "encoder_hidden_states": text,
            "pooled_projections": pooled,
        }
    inputs = {"sample": x, "timestep": t, "encoder_hidden_states": text}
    if config.addition_embed_type == "text_time":
        pooled = torch.empty(count, 1280, dtype=half)
        inputs["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": torch.empty(count, 6, dtype=half)}
    if config.class_embed_type == "projection":
        inputs["class_labels"] = torch.empty(count, config.projection_class_embeddings_input_dim, dtype=half)
    return inputs


def peak_of(function: Callable[[], object], model: torch.nn.Module | None = None) -> tuple[int, int]:
    """Returns the bytes alive at most while a function runs, and those that its result keeps alive.

    The model's own are not among them; its gradients are, which it must not have yet.
    """
    gc.collect()
    counter = Counter()
    for tensor in [] if model is None else [*model.parameters(), *model.buffers()]:
        tensor.grad = None
        counter.known[tensor.untyped_storage()] = True
    with as_on_cuda(), counter:
        kept = function()
        gc.collect()
        left = counter.now
        del kept
    return counter.peak, left


def line(measure: Callable[[int], int], one: int = 2, other: int = 4) -> list[int]:
    """Fits `fixed + count * each` to what is measured for two counts; returns [fixed, each]."""
    low, high = measure(one), measure(other)
    each = (high - low) // (other - one)
    return [max(low - one * each, 0), each]


def count_network(name: str) -> dict:
    """Counts a network: its parameters, a prediction without gradients, and one that an adapter learns from."""
    with FakeTensorMode():
        network = build(name, network_of(name))
        found = {"parameters": sum(p.numel() for p in network.parameters())}
        with torch.no_grad():
            found["predict"] = line(lambda n: peak_of(lambda: network(**asked(name, network, n)).sample, network)[0])
        if name in ADAPTED:
            from peft import LoraConfig

            targets = ["to_q", "to_k", "to_v", "to_out.0"]
            with mock.patch.object(
                torch.nn.Module, "_apply", lambda module, *given: module
            ):  # it is where it should be
                network.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=targets))

            def learn(n):
                return network(**asked(name, network, n)).sample

            found["learn_kept"] = line(lambda n: peak_of(lambda: learn(n), network)[1])
            found["learn"] = line(lambda n: peak_of(lambda: learn(n).float().square().mean().backward(), network)[0])
    return found


GECO = "zero123plus"
TILED, SEEN = (120, 80), (64, 64)
"""Latents of six views of 320 x 320 pixels, and of the image that they attend to."""


def count_training(
    name: str, sides: list[tuple[int, int]], counts: tuple[int, int], checkpointing: bool = False, parts: int = 1
) -> dict:
    """Counts the training of all of a U-Net in single precision under autocast, which sees images of these sides.

    The peak includes the gradients, and is that of several parts of a batch, one after the other.
    """
    from diffusers import UNet2DConditionModel

    with FakeTensorMode():
        network = UNet2DConditionModel(**MODELS[name]["unet"]).requires_grad_(True).train()
        if checkpointing:
            network.enable_gradient_checkpointing()

        def learn(n):
            seen = asked(name, network, n)
            with torch.autocast("cpu", torch.bfloat16):
                outputs = [network(**seen | {"sample": torch.empty(n, 4, *side)}).sample for side in sides]
            return sum(output.float().square().mean() for output in outputs)

        return {
            "parameters": sum(p.numel() for p in network.parameters()),
            "kept": line(lambda n: peak_of(lambda: learn(n), network)[1], *counts),
            "peak": line(lambda n: peak_of(lambda: [learn(n).backward() for _ in range(parts)], network)[0], *counts),
        }


RECONSTRUCTOR: dict = dict(
    vit=dict(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        image_size=320,
        patch_size=16,
    ),
    width=1024,
    layers=16,
    heads=16,
    tokens=32,
    upsample=2,
    channels=80,
    hidden_layers=3,
    grid=128,
    design="instantmesh",
)
"""InstantMesh-large's sizes, as `priors/conversion/reconstructor.py` writes them."""


def count_reconstructor() -> dict:
    """Counts a reconstructor of InstantMesh-large's size: planes from six views, and drawing a surface from planes."""
    with FakeTensorMode(), mock.patch.object(ViTModel, "post_init"):  # whose initial values depend on each other
        model = Reconstructor(**RECONSTRUCTOR).train()

        def learn(n):
            with torch.autocast("cpu", torch.bfloat16):
                return model(torch.empty(n, 6, 3, 320, 320), torch.empty(n, 6, 16)).planes

        found = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "kept": line(lambda n: peak_of(lambda: learn(n), model)[1], 1, 2),
            "peak": line(lambda n: peak_of(lambda: learn(n).float().square().mean().backward(), model)[0], 1, 2),
        }
    return found | {"drawn": count_drawing()}


def count_drawing() -> list[int]:
    """Counts a ball drawn from planes by the published decoder: bytes a pixel, a square of the grid's side, a cube."""
    small = RECONSTRUCTOR | {"vit": RECONSTRUCTOR["vit"] | {"num_hidden_layers": 1}, "layers": 1}

    def draw(grid, size):
        model = Reconstructor(**small | {"grid": grid})
        said = model.decoder.distance
        model.decoder.distance = lambda x, features: x.norm(dim=-1) - 0.6 + 1e-4 * said(x, features).tanh()
        planes = torch.randn(1, 3, 80, 64, 64).requires_grad_()
        view = MeshRenderer(supersample=1)(model.scene(as_published(planes)), orbit(1, 20.0, 2.0, 30.0, size))
        return view.rgb.sum() + view.opacity.sum()

    def peak(grid, size):
        shared_grid.cache_clear()
        return peak_of(lambda: draw(grid, size).backward())[0]

    sides = (16, 32, 48)
    peaks = [peak(side, 32) for side in sides]
    powers = np.array([[1, side**2, side**3] for side in sides])
    _, square, cube = np.linalg.solve(powers, peaks)
    return [round((peak(16, 64) - peaks[0]) / (64**2 - 32**2)), round(max(square, 0)), round(max(cube, 0))]


def count_vae(name: str) -> dict:
    """Counts a VAE: its parameters, and an image's encoding without gradients, with them, and decoding."""
    with FakeTensorMode():
        vae = build(name, "vae")
        pixels = MODELS[name][network_of(name)]["sample_size"]

        def images(n, grad):
            return torch.empty(n, 3, 8 * pixels, 8 * pixels, dtype=HALF, requires_grad=grad)

        def encode(n, grad):
            return vae.encode(images(n, grad)).latent_dist.mean

        found = {"parameters": sum(p.numel() for p in vae.parameters())}
        with torch.no_grad():
            found["encode"] = line(lambda n: peak_of(lambda: encode(n, False), vae)[0], 1, 2)
            latents = MODELS[name]["vae"]["latent_channels"]

            def decode(n):
                return vae.decode(torch.empty(n, latents, pixels, pixels, dtype=HALF)).sample

            found["decode"] = line(lambda n: peak_of(lambda: decode(n), vae)[0], 1, 2)
        found["learn_kept"] = line(lambda n: peak_of(lambda: encode(n, True), vae)[1], 1, 2)
        found["learn"] = line(lambda n: peak_of(lambda: encode(n, True).float().sum().backward(), vae)[0], 1, 2)
    return found


SMALL = {"n_levels": 16, "n_features_per_level": 2, "log2_hashmap_size": 8, "base_resolution": 4, "max_resolution": 64}
"""A hash grid as wide as the recipes', with a small table, whose own bytes are reckoned and not counted."""


def count_rendering() -> dict:
    """Counts renderings on real tensors as they are on CUDA: bytes a sample, a pixel and a vertex."""
    from threestudio_like.kernels import encoded_mlp
    from threestudio_like.kernels.encoded_mlp import cuda, reference
    from threestudio_like.renderers import volume

    weights = EncodedMLP(HashGrid(**SMALL), 64, 5).weights()

    def part(n):
        both = reference.encoded_mlp_with_gradient(torch.rand(n, 3), weights, HashGrid(**SMALL), 16)
        sum(one.sum() for one in both).backward()

    found: dict = {"part": line(lambda n: peak_of(lambda: part(n))[0], 10_000, 20_000)[1] * cuda.AT_ONCE}
    on_cuda = mock.patch.object(encoded_mlp, "kernels", lambda *given: cuda)
    with on_cuda, mock.patch.object(cuda, "AT_ONCE", 512), mock.patch.object(volume, "CHUNK", 512):
        for name, normals in (("volume", False), ("volume_with_normals", True)):
            found[name] = count_volume(normals)
        found["mesh"] = count_mesh()
    return found


def count_volume(normals: bool) -> dict:
    """Counts a volume's rendering: what a sample that is looked at, one that is drawn and a pixel take."""
    field = Field(encoding=SMALL, hidden=64, background={"type": "mlp"})
    generator = torch.Generator().manual_seed(0)

    def render(size, step):
        renderer = VolumeRenderer(render_step_size=step, faint_below=0.0, stop_at=0.0)
        return renderer(field, orbit(1, 20.0, 1.5, 45.0, size), Shading(), generator, normals)

    def learn(size, step):
        view = render(size, step)
        penalty = regularizers.orientation(view) if normals else 0.0
        (view.rgb.sum() + view.opacity.sum() + penalty).backward()

    def look(size, step):
        rays = orbit(1, 20.0, 1.5, 45.0, size).rays()
        renderer = VolumeRenderer(render_step_size=step)
        samples = march(rays.origins, rays.directions, renderer.occupancy, step, torch.zeros(size * size))
        with torch.no_grad():
            return renderer._visible(field, samples)

    def each(measure) -> list[float]:
        """Fits samples times a, and pixels times b."""
        few, more, larger = ((size, step) for size, step in ((32, 0.02), (32, 0.01), (64, 0.02)))
        samples = [len(render(*case).samples.ray) for case in (few, more, larger)]
        measured = [measure(*case) for case in (few, more, larger)]
        a = (measured[1] - measured[0]) / (samples[1] - samples[0])
        b = (measured[2] - measured[0] - a * (samples[2] - samples[0])) / (64**2 - 32**2)
        return [round(a), round(max(b, 0))]

    return {
        "looked_at": each(lambda *case: peak_of(lambda: look(*case))[0]),
        "kept": each(lambda *case: peak_of(lambda: render(*case))[1]),
        "peak": each(lambda *case: peak_of(lambda: learn(*case))[0]),
    }


def count_mesh() -> dict:
    """Counts a mesh's rendering in an environment: what a pixel on the object and a vertex of the grid take."""
    generator = torch.Generator().manual_seed(0)

    def scene(resolution):
        keys = {"shape_init": {"ellipsoid": [0.9, 0.9, 0.9]}, "material": "pbr", "sdf": "mlp"}
        return TetMesh(resolution=resolution, encoding=SMALL, hidden=32, **keys)

    def render(scene, size):
        cameras = orbit(1, 20.0, 1.3, 45.0, size)
        light = Shading("environment", EnvironmentLight().light(torch.zeros(1)), eye=cameras.position)
        return MeshRenderer(supersample=1)(scene, cameras, light, generator)

    def learn(scene, size):
        view = render(scene, size)
        penalties = regularizers.laplacian(view) + regularizers.normal_consistency(view)
        (view.rgb.sum() + view.normal.sum() + view.opacity.sum() + penalties).backward()

    def each(measure) -> list[float]:
        """Fits pixels times a, and vertices times b."""
        small, large = scene(16), scene(24)
        first, larger, finer = measure(small, 64), measure(small, 128), measure(large, 64)
        vertices = len(large.vertices) - len(small.vertices)
        return [round((larger - first) / (128**2 - 64**2)), round((finer - first) / vertices)]

    return {
        "kept": each(lambda *case: peak_of(lambda: render(*case))[1]),
        "peak": each(lambda *case: peak_of(lambda: learn(*case))[0]),
    }


TRAININGS = {
    "agp": lambda: count_training("agp", [(64, 64)], (8, 16), parts=2),
    "agp_checkpointed": lambda: count_training("agp", [(64, 64)], (8, 16), checkpointing=True, parts=2),
    "geco": lambda: count_training(GECO, [SEEN, TILED], (1, 2)),
}


def count_model(name: str) -> dict:
    """Counts the network of a published model, and its VAE where it has one."""
    print(f"counting {name}", file=sys.stderr, flush=True)
    return {"network": count_network(name)} | ({"vae": count_vae(name)} if "vae" in MODELS[name] else {})


COUNTS: dict[str, Callable[[], dict]] = {
    "models": lambda: {name: count_model(name) for name in MODELS},
    "training": lambda: {name: count() for name, count in TRAININGS.items()},
    "reconstructor": count_reconstructor,
    "rendering": count_rendering,
}
"""All that `systems/memory/estimate.py` reckons with."""


def estimates(recipe: Recipe) -> dict[str, Memory]:
    """Estimates what the stages of a recipe take."""
    context = Context(torch.device("cpu"), 0, "", mixed=recipe.run.precision == "bf16-mixed")
    found = {stage: one.cls.memory(one.config, context) for stage, one in recipe.stages.items()}
    return {stage: memory for stage, memory in found.items() if memory is not None}


def with_presets() -> list[str]:
    """Lists the recipes that have memory presets."""
    names = sorted(path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.yaml"))
    return [name for name in names if not name.startswith(("comparisons", "backbones")) and load(name).sizes]


def table() -> str:
    """Lists the estimates of every recipe's stages under each preset, in GB."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for name in with_presets():
        for size, plain in load(name).presets():
            for stage, memory in estimates(parse_recipe(plain, name)).items():
                found.setdefault((name, stage), {})[size] = f"{memory.total / GB:.1f}"
    sizes = sorted({size for row in found.values() for size in row}, key=gigabytes)
    lines = [f"| recipe, stage | {' | '.join(sizes)} |", f"|---|{'---:|' * len(sizes)}"]
    for (name, stage), row in found.items():
        named = f"`{name}.yaml`" + (f", `{stage}`" if stage != "main" else "")
        lines.append(f"| {named} | {' | '.join(row.get(size, '') for size in sizes)} |")
    return "\n".join(lines)


def main() -> None:
    """Counts and writes, or prints the estimates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the estimates, from what was counted before")
    parser.add_argument("--only", choices=COUNTS, nargs="+", default=list(COUNTS), help="count these parts anew")
    given = parser.parse_args()
    if given.table:
        print(table())
        return
    found = json.loads(COUNTED.read_text()) if COUNTED.exists() else {}
    found |= {name: COUNTS[name]() for name in given.only}
    COUNTED.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
