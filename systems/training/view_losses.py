"""Image losses between rendered reconstructions and ground-truth views.

MSE(rgb) + a perceptual(rgb) + b MSE(mask) + c |depth| + d (1 - n . n_true) + regularizers
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from priors.reconstructor import Reconstructor
from threestudio_like.cameras import Cameras
from threestudio_like.config.schedule import Schedule
from threestudio_like.data.toybox.reconstruction import Truth
from threestudio_like.errors import NoSurfaceError, UserError, nearest
from threestudio_like.evaluate.perceptual import Perceptual
from threestudio_like.renderers import regularizers
from threestudio_like.renderers.base import Render, Renderer
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.triplane import PointFeatures, Triplane
from threestudio_like.utils.precision import without_autocast

VIEW_LOSSES = ("rgb", "perceptual", "mask", "depth", "normal")
PULL = 0.05
"""The middle of an object that has vanished is pulled so far inside, in scene units."""


def check_names(weights: dict[str, Schedule], known: tuple[str, ...]) -> None:
    """Raises UserError for a loss of an unknown name."""
    for name in weights:
        if name not in known:
            raise UserError(f"weights: unknown loss '{name}'{nearest(name, known)}")


@dataclass(frozen=True)
class ViewLosses:
    """The losses named by `weights` and `regularizers`, not yet weighted."""

    renderer: Renderer
    perceptual: Perceptual
    weights: dict[str, Schedule]
    regularizers: dict[str, Schedule]

    def __post_init__(self):
        regularizers.check_scene(self.regularizers, self.renderer.draws)

    def __call__(
        self,
        model: Reconstructor,
        planes: PointFeatures,
        truth: Truth,
        step: int,
        generator: torch.Generator,
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The means over these objects, and the share of them that have vanished."""
        object_losses, vanished = [], []
        for i in range(len(planes)):
            scene = model.scene(planes[i : i + 1])
            try:
                view = self.render(scene, truth.cameras_of(i), generator)
            except NoSurfaceError:  # pulled back from its middle, which the rendering cannot do
                vanished.append((scene.distance(torch.zeros(1, 3, device=scene.device)) + PULL).clamp(min=0).sum())
                continue
            regularizers.check_render(self.regularizers, view)
            object_losses.append(
                self.compare(view, truth, i)
                | {
                    name: regularizers.REGULARIZERS[name](view)
                    for name, weight in self.regularizers.items()
                    if weight(step) != 0
                }
            )
        losses = (
            {name: torch.stack([one[name] for one in object_losses]).mean() for name in object_losses[0]}
            if object_losses
            else {}
        )
        if vanished:
            losses["vanished"] = torch.stack(vanished).sum() / len(planes)
        return losses, {"vanished": len(vanished) / len(planes)}

    def render(self, scene: Triplane, cameras: Cameras, generator: torch.Generator) -> Render:
        """Renders one object's target views."""
        self.renderer.forget()
        self.renderer.refresh(scene, 0, generator)
        return self.renderer(scene, cameras, Shading(), generator, normals="normal" in self.weights)

    @without_autocast()
    def compare(self, view: Render, truth: Truth, i: int) -> dict[str, Tensor]:
        """Computes the losses of one object's views; depth and normals count where the object is."""
        opacity = truth.opacity[i]
        images = [rgb.permute(0, 3, 1, 2) for rgb in (view.rgb, truth.rgb[i])]
        losses = {
            "rgb": F.mse_loss(view.rgb, truth.rgb[i]),
            "mask": F.mse_loss(view.opacity, opacity),
            "depth": (opacity * (view.depth - truth.depth[i]).abs()).mean(),
        }
        if "perceptual" in self.weights:
            losses["perceptual"] = self.perceptual(*images).mean()
        if "normal" in self.weights:
            assert view.normal is not None, "the render is asked for them"
            losses["normal"] = (opacity - (view.normal * truth.normal[i]).sum(-1, keepdim=True)).mean()
        return {name: loss for name, loss in losses.items() if name in self.weights}


def weighted(losses: dict[str, Tensor], weights: dict[str, Schedule], step: int) -> dict[str, Tensor]:
    """Multiplies each loss by its scheduled weight and drops zero ones; unlisted losses keep weight 1."""
    now = {name: weight(step) for name, weight in weights.items()}
    return {name: now.get(name, 1.0) * loss for name, loss in losses.items() if now.get(name, 1.0) != 0}
