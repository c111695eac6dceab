"""Regularizers of the recipes for large models beside their guidance: neither dead, nor all that there is.

The recipes' weights belong to a guidance whose gradient is a sum over the latents. One copied from a loss that is a
mean over pixels would be a millionth of it, and nobody would see.

The scene, its weights and the latents' size are the recipe's own. The U-Net is tiny and its score is made to be off by
as much as the noise; the VAE is a linear one of the published one's reduction and gain, because random layers of its
kind have any gain. Smaller than in the recipe are the number of views, over which every loss is a mean, and their size:
the guidance resizes them, and the penalties are means over their pixels.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from benchmarks.memory import with_presets
from systems.per_scene import PerSceneConfig
from tests.priors import model_folders
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.engine.system import Context
from threestudio_like.utils.seeding import generator

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
CPU = torch.device("cpu")
LATENTS = {"dreamfusion-sdxl": 128, "dreamfusion-sd3": 128}
"""Latents a side, where they are not 64."""


def regularized():
    """All stages of the recipes for large models that have a regularizer whose weight is not zero."""
    for name in with_presets():
        for stage, part in parse_recipe(load(name), name).stages.items():
            weights = part.config.regularizers if isinstance(part.config, PerSceneConfig) else {}
            if any(max(weight.values) > 0 for weight in weights.values()):
                yield name, stage


FAINT = {"opacity": 1e-4}
"""threestudio's own weight is as faint there; what always points one way adds up where the guidance does not."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        "latent": model_folders.stable_diffusion_21(root / "sd21", 64),
        "pixel": model_folders.deepfloyd(root / "if", 64),
        "dreamfusion-sdxl": model_folders.stable_diffusion_xl(root / "sdxl", 128),
        "dreamfusion-sd3": model_folders.stable_diffusion_3(root / "sd3", 128),
        "geometric": model_folders.stable_diffusion_agp(root / "agp"),
    }


def built(name, stage, folders):
    """Builds a stage of a recipe on tiny models, at sizes that a CPU can draw."""
    plain = load(name)
    first = parse_recipe(plain, name).stages[stage].config
    prior = folders.get(name) or folders["pixel" if name == "dreamfusion-if" else "latent"]
    keys = [f"backbone.model={prior}", "cameras.views=1", "guidance.rgb.weight=1.0"]
    if name == "sweetdreamer-nerf-sd":
        keys += [f"stages.coarse.backbone.model={folders['pixel']}"]
        keys += [f"guidance.ccm.backbone.model={folders['geometric']}", "guidance.ccm.weight=0.0"]
    prefix = "" if stage == "main" else f"stages.{stage}."
    size = 128 if first.renderer.type == "mesh" else 64
    recipe = parse_recipe(load(name, [*keys, f"{prefix}cameras.size={size}"]), name)
    torch.manual_seed(0)
    return recipe.stages[stage].build(Context(CPU, 0, recipe.run.prompt))


@torch.no_grad()
def roughen(scene):
    """Makes the scene uneven, as one that is being optimised: features of a tenth, distances off by 1 % of a cell."""
    if hasattr(scene, "net"):
        scene.net.table.uniform_(-0.1, 0.1)
    else:
        scene.values.add_(0.01 * 2 / scene.config.resolution * torch.randn(scene.values.shape))


def linear_encoder(images, channels, side):
    """Encodes 8 x 8 pixels as one latent, of unit variance in three directions where natural images have 1/16."""
    pixels = F.avg_pool2d(F.interpolate(images, (8 * side, 8 * side), mode="bilinear"), 8)
    mixed = torch.linalg.qr(torch.randn(channels, 3, generator=torch.Generator().manual_seed(0)))[0]
    return 4 * torch.einsum("lc,bchw->blhw", mixed, pixels - 0.5)


def shares(system, step, side):
    """Returns the norm of each regularizer's gradient by the object's parameters, as a share of the guidance's."""
    (particle,), term = system.particles, system.terms["rgb"]
    backbone = term.guidance.backbone
    if hasattr(backbone, "vae"):
        backbone.encode = lambda images: linear_encoder(images, backbone.channels, side)
    result = system(step, generator(CPU, step))
    groups = particle.scene.parameters_by_name()
    parameters = [p for name, group in groups.items() if name != "background" for p in group]

    def norm(loss):
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        return math.sqrt(sum(g.square().sum().item() for g in found if g is not None))

    numbers = backbone.channels * side**2
    guidance = norm(result.losses["rgb"]) * math.sqrt(numbers) / result.logs["rgb/grad_norm"].item()
    return {name: norm(result.losses[name]) / guidance for name in system.config.regularizers if name in result.losses}


@pytest.mark.parametrize("name, stage", regularized())
def test_each_regularizer_counts_at_its_peak_and_does_not_outweigh_the_guidance(name, stage, folders):
    """Between 1 % and 100 %, in the largest share over the steps at which a weight is named."""
    system = built(name, stage, folders)
    roughen(system.particles[0].scene)
    weights = {key: weight for key, weight in system.config.regularizers.items() if max(weight.values) > 0}
    largest = dict.fromkeys(weights, 0.0)
    for step in sorted({step for weight in weights.values() for step in weight.at}):
        system.refresh(0, generator(CPU, 0))
        for key, share in shares(system, step, LATENTS.get(name, 64)).items():
            largest[key] = max(largest[key], share)
    print(name, stage, {key: f"{share:.2g}" for key, share in largest.items()})
    for key, share in largest.items():
        assert FAINT.get(key, 0.01) <= share <= 1.0, largest
