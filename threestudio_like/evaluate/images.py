"""Compares images in 0..1, `[B, 3, H, W]`, and measures their colours."""

from jaxtyping import Float
from torch import Tensor

from threestudio_like.evaluate.metrics import own_figure

own_figure(
    "psnr",
    "PSNR, dB",
    "higher",
    "Peak signal-to-noise ratio of views against the truth, from 0 up.",
    digits=1,
)

own_figure(
    "ssim",
    "SSIM",
    "higher",
    "Structural similarity of views to the truth (Wang et al. 2004), at most 1.",
    digits=3,
)

own_figure(
    "saturation",
    "Saturation",
    "neither",
    "The mean HSV saturation of the object's pixels on 8 views, in 0..1: it should be the truth's.",
)


def psnr(images: Float[Tensor, "B 3 H W"], truth: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B"]:
    """Computes the peak signal-to-noise ratio in dB, 0 up to infinity where equal; higher is better."""
    return -10 * (images - truth).square().flatten(1).mean(1).log10()


def ssim(images: Float[Tensor, "B 3 H W"], truth: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B"]:
    """Computes the structural similarity, at most 1 where equal; higher is better (Wang et al. 2004; scikit-image).

    As in the paper: windows of 11 x 11 pixels weighted by a Gaussian of 1.5, where they lie within the image whole.
    """
    from skimage.metrics import structural_similarity

    pairs = zip(images.detach().cpu().numpy(), truth.detach().cpu().numpy(), strict=True)
    papers = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return images.new_tensor([structural_similarity(a, b, channel_axis=0, **papers) for a, b in pairs])


def saturation(images: Float[Tensor, "B 3 H W"], opacity: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B"]:
    """Computes the mean saturation (HSV) of the object's pixels, in 0..1.

    Neither way is better: it should be the truth's.
    """
    highest, lowest = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    saturated = (highest - lowest) / highest.clamp(min=1e-6)
    return (saturated * opacity).flatten(1).sum(1) / opacity.flatten(1).sum(1).clamp(min=1e-6)
