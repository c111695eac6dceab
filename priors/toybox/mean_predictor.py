"""Conditional-mean network: predicts E[x | text], of which the U-Net predicts the residual.

A convolutional U-Net gets its text as a vector, the same at every position, and has to derive the layout from the
borders of its feature maps. Small models learn that last: left and right only after millions of images. Here an MLP
goes from the text straight to positions. Trained on every image, `mean_predictor(y)` becomes E[x | y], the best
prediction where x_t is all noise; the U-Net gets it beside x_t and adds the rest.

Images are folded into patches and represented by their principal components, whose standard deviations differ widely: a
plain Wiener filter, one number a component, then removes most of the noise, and the U-Net need not.
"""

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn

COARSE = 4  # cells along each axis of the first map


class MeanPredictor(ModelMixin, ConfigMixin):
    """An MLP to 4 x 4 cells and a convolution at each doubling up to `size`, a power of two of at least 4.

    Its text is a bag of words; tokens equal to the last are padding. `camera_width` numbers of a camera may follow it.
    Left and right depend on products of words, which a wide first layer that starts at full strength finds within
    100,000 images; a narrow or gentle one does not. Its images are the `channels` components of folded ones
    (`patchify`); `spread` is their standard deviation, in training that around the mean.
    """

    @register_to_config
    def __init__(
        self,
        text_width: int = 128,
        wide: int = 1024,
        hidden: int = 256,
        width: int = 64,
        channels: int = 48,
        size: int = 16,
        camera_width: int = 0,
    ):
        super().__init__()
        doublings = (size // COARSE).bit_length() - 1
        widths = [width] * doublings + [channels]
        self.cells = nn.Sequential(
            nn.Linear(text_width + camera_width, wide),
            nn.SiLU(),
            nn.Linear(wide, hidden),
            nn.SiLU(),
            nn.Linear(hidden, widths[0] * COARSE**2),
        )
        for layer in (self.cells[0], self.cells[2]):
            nn.init.kaiming_normal_(layer.weight)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in itertools.pairwise(widths)
        )

        self.register_buffer("basis", torch.eye(channels))
        self.register_buffer("spread", torch.ones(channels))  # the std; shipped weights store it by this name

    def patchify(self, images: Float[Tensor, "B image H W"], patch: int) -> Float[Tensor, "B C h w"]:
        """Computes the components of each patch x patch pixels; white noise stays white."""
        return torch.einsum("dc,bchw->bdhw", self.basis.to(images), F.pixel_unshuffle(images, patch))

    def unpatchify(self, x: Float[Tensor, "B C h w"], patch: int) -> Float[Tensor, "B image H W"]:
        """Inverts `patchify`."""
        return F.pixel_shuffle(torch.einsum("dc,bdhw->bchw", self.basis.to(x), x), patch)

    @torch.no_grad()
    def find_components(self, images: Float[Tensor, "B image H W"], patch: int) -> None:
        """Sets `basis` and `spread` to the principal components of these images' patches, the strongest first."""
        patches = F.pixel_unshuffle(images, patch).movedim(1, -1).flatten(0, -2)
        variance, vectors = torch.linalg.eigh(torch.cov(patches.T))
        self.basis.copy_(vectors.T.flip(0))
        self.spread.copy_(variance.flip(0).clamp_min(1e-6).sqrt())

    def forward(
        self, text: Float[Tensor, "B L D"], camera: Float[Tensor, "B K"] | None = None
    ) -> Float[Tensor, "B C s s"]:
        """Predicts the mean image, folded, of B embedded texts, seen by these cameras."""
        words = (text * (text != text[:, -1:]).any(-1, keepdim=True)).sum(1) / text.shape[1] ** 0.5
        cond = words if camera is None else torch.cat([words, camera], dim=-1)
        x = self.cells(cond).unflatten(-1, (-1, COARSE, COARSE))
        for convolution in self.convolutions:
            x = convolution(F.interpolate(F.silu(x), scale_factor=2))
        return x


def refine(
    unet: Callable,
    mean: Float[Tensor, "B C h w"] | None,
    x_t: Float[Tensor, "B C h w"],
    t: Tensor,
    text: Float[Tensor, "B L D"],
    alpha_squared: Float[Tensor, "B"],
    std: Float[Tensor, "C"] | float = 1.0,
    camera: Float[Tensor, "B K"] | None = None,
) -> Tensor:
    """Predicts the clean image: the Wiener filter's estimate from x_t for images N(mean, std^2), and the U-Net's
    addition to it.

        x_hat = mean + 2 sigmoid(g) k (x_t - alpha mean) + c u      u, g = unet([x_t, mean], t, text)
        k = alpha std^2 / v     c = std sigma / sqrt(v)     v = alpha^2 std^2 + sigma^2

    c is the filter's standard error, so that the U-Net's part has the same size at every t (Karras et al. 2022, section
    5, around a mean); with mean 0 and std 1 the U-Net predicts -v. The gate g makes the filter adaptive: where an image
    is flat, all of x_t's detail is noise. A U-Net of as many outputs as the image has channels has no gate (g = 0).
    Without a mean, returns the U-Net's own output. A camera is added to its time embedding (diffusers' projected class
    embedding).
    """
    inputs = x_t if mean is None else torch.cat([x_t, mean], dim=1)
    output = unet(inputs, t, encoder_hidden_states=text, class_labels=camera).sample
    if mean is None:
        return output
    alpha_squared, std = alpha_squared[:, None, None, None], torch.as_tensor(std).to(x_t).view(-1, 1, 1)
    alpha, sigma = alpha_squared.sqrt(), (1 - alpha_squared).sqrt()
    variance = alpha_squared * std**2 + sigma**2
    filtered = alpha * std**2 / variance * (x_t - alpha * mean)
    if output.shape[1] == 2 * mean.shape[1]:
        output, gate = output.chunk(2, dim=1)
        filtered = 2 * gate.sigmoid() * filtered
    return mean + filtered + std * sigma / variance.sqrt() * output
