"""Aligned geometric priors (SweetDreamer, arXiv 2310.02596): diffusion models of coordinate maps that obey a camera.

The canonical coordinate map, xyz and opacity in 0..1 (`threestudio_like/renderers/ccm.py`), is what the U-Net works on,
without a VAE (section 3.2). The camera's extrinsics go through an MLP and are added to the time embedding, which in
diffusers is a projected class embedding, and, in models that have one, into the text's mean_predictor.
"""

from diffusers import UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor, nn

from priors.backbones.pixel import PixelBackbone
from priors.condition import CAMERA_WIDTH, Condition, camera_numbers
from priors.toybox.build import copy_matching
from priors.toybox.mean_predictor import MeanPredictor

MAP_CHANNELS = 4


class GeometricBackbone(PixelBackbone):
    """An aligned geometric prior. Its images are coordinate maps `[B, 4, H, W]`; every condition must have a camera."""

    image_channels = MAP_CHANNELS

    def camera_numbers(self, condition: Condition, count: int) -> Float[Tensor, "N 12"]:
        camera = camera_numbers(condition.camera)
        return camera.repeat(count // len(camera), 1)


def geometric_unet(base: UNet2DConditionModel, mean: bool, patch: int) -> UNet2DConditionModel:
    """Makes a text-to-image U-Net one of coordinate maps folded p x p, beside their `mean` where there is one.

    All weights that fit are the base's. The camera's embedding starts at zero, so that it changes nothing at first.
    """
    channels = MAP_CHANNELS * patch**2
    unet = UNet2DConditionModel.from_config(
        dict(base.config)
        | {
            "in_channels": 2 * channels if mean else channels,
            "out_channels": 2 * channels if mean else channels,  # with a gate beside a mean
            "class_embed_type": "projection",
            "projection_class_embeddings_input_dim": CAMERA_WIDTH,
        }
    )
    copy_matching(unet, base)
    nn.init.zeros_(unet.class_embedding.linear_2.weight)
    nn.init.zeros_(unet.class_embedding.linear_2.bias)
    return unet


def geometric_mean_predictor(base: MeanPredictor, patch: int) -> MeanPredictor:
    """Makes a text-to-image mean predictor one that also knows the camera, and gives coordinate maps."""
    config = dict(base.config) | {"channels": MAP_CHANNELS * patch**2, "camera_width": CAMERA_WIDTH}
    mean_predictor = MeanPredictor.from_config(config)
    copy_matching(mean_predictor, base)
    words = base.cells[0].weight
    mean_predictor.cells[0].weight.data[:, : words.shape[1]] = words.data
    return mean_predictor
