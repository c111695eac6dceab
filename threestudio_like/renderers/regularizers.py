"""Regularizers on a render: pure functions from a Render to a scalar.

Where several definitions share a name, the one here is threestudio's, at whose weights recipes for large models are
known to work; each docstring says whose it is. A guidance's gradient is summed over the image or latent, so that these
weights are far above those of a loss that is a mean.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from threestudio_like.errors import UserError, nearest
from threestudio_like.renderers.base import Render
from threestudio_like.scenes.mesh import Surface
from threestudio_like.utils.declaring import declare


@dataclass(frozen=True)
class Regularizer:
    """A term of the loss that no prior takes part in; called as `regularizer(view)`."""

    function: Callable[[Render], Tensor]
    """Computes it, a scalar, from a render."""
    on: Literal["volume", "mesh"] | None
    """The kind of renders that it is for; None for both."""
    needs_normals: bool
    """Whether the render must have normals."""
    needs_field: str | None
    """The optional field of `Surface` that it reads."""
    filled_by: str
    """The scenes that fill this field, in words."""

    def __call__(self, view: Render) -> Tensor:
        """Returns the term, not yet weighted: a scalar."""
        return self.function(view)


REGULARIZERS: dict[str, Regularizer] = {}
"""By the names that recipes call them."""


def regularizer(
    on: Literal["volume", "mesh"] | None = None,
    needs_normals: bool = False,
    needs_field: str | None = None,
    filled_by: str = "another scene",
) -> Callable[[Callable[[Render], Tensor]], Callable[[Render], Tensor]]:
    """Decorates a function from a render to a scalar: recipes can give it a weight by its name."""

    def offer(function: Callable[[Render], Tensor]) -> Callable[[Render], Tensor]:
        described = Regularizer(function, on, needs_normals, needs_field, filled_by)
        declare(REGULARIZERS, "regularizer", function.__name__, described)
        return function

    return offer


@regularizer(on="volume", needs_normals=True)
def orientation(view: Render) -> Tensor:
    """Computes `sum_i stopgrad(w_i) max(0, n_i . v)^2`, mean over the rays that meet something: no inward normals.

    Ref-NeRF's, eq. 11 (DreamFusion, appendix A.2); the mean is threestudio's, so that a small object counts as much.
    """
    samples = view.samples
    assert samples is not None and samples.normal is not None, "check_render comes before"
    facing_away = (samples.normal * samples.directions[samples.ray]).sum(-1).clamp(min=0).square()
    return (samples.weights.detach() * facing_away).sum() / (view.opacity > 0).sum().clamp(min=1)


@regularizer()
def opacity(view: Render) -> Tensor:
    """Computes `sqrt(opacity^2 + 0.01)`, mean over rays: empty space where nothing is needed.

    DreamFusion's, appendix A.2; threestudio calls it sparsity.
    """
    return (view.opacity.square() + 0.01).sqrt().mean()


@regularizer()
def sparsity(view: Render) -> Tensor:
    """Computes the mean opacity: a plainer `opacity`, and not what threestudio calls sparsity."""
    return view.opacity.mean()


@regularizer()
def entropy(view: Render) -> Tensor:
    """Computes the binary entropy of the opacity in nats, mean over rays: no fog, a pixel is object or background.

    threestudio's opaque loss: within 1e-3 of 0 and 1 a pixel is left alone. ProlificDreamer's own code has the entropy
    of the samples' weights instead, in bits.
    """
    p = view.opacity.clamp(1e-3, 1 - 1e-3)
    return -(p * p.log() + (1 - p) * (1 - p).log()).mean()


@regularizer(needs_normals=True)
def normal_smoothness(view: Render) -> Tensor:
    """Computes `|n_p - n_q|^2` of neighbouring pixels' unit normals, mean over the pairs, weighted by both opacities.

    The opacities get no gradient, or less of the object would be smoother.
    """
    assert view.normal is not None, "check_render comes before"
    normal, opacity = F.normalize(view.normal, dim=-1, eps=1e-3), view.opacity[..., 0].detach()
    total, weight = normal.new_zeros(()), normal.new_zeros(())
    for dim in (1, 2):
        count = normal.shape[dim] - 1
        one, other = normal.narrow(dim, 0, count), normal.narrow(dim, 1, count)
        both = opacity.narrow(dim, 0, count) * opacity.narrow(dim, 1, count)
        total, weight = total + (both * (one - other).square().sum(-1)).sum(), weight + both.sum()
    return total / weight.clamp_min(1.0)


def surface_of(view: Render) -> Surface:
    """Returns the surface that a mesh renderer drew."""
    assert view.surface is not None, "check_render comes before"
    return view.surface


@regularizer(on="mesh")
def laplacian(view: Render) -> Tensor:
    """Computes `|sum_j (v_j - v_i)|` over a vertex' neighbours j, mean over the vertices: even faces, no spikes.

    The uniform Laplacian of stable-dreamfusion, ProlificDreamer's own code and threestudio: its length and not the
    square, and not divided by the number of neighbours.
    """
    return torch.linalg.vector_norm(surface_of(view).laplacian(), dim=-1).mean()


@regularizer(on="mesh")
def normal_consistency(view: Render) -> Tensor:
    """Computes `1 - n_i . n_j` of the vertex normals at both ends, mean over the mesh's edges: smooth, no creases.

    threestudio's; nvdiffrec's and ProlificDreamer's own compares the normals of neighbouring faces.
    """
    return (1 - surface_of(view).normal_cosines()).mean()


@regularizer(on="mesh", needs_field="deviation", filled_by="a scene of type 'flexicubes'")
def deviation(view: Render) -> Tensor:
    """Measures how uneven the patches of a FlexiCubes surface are, against flaps and crumpled faces.

    Shen et al. 2023, section 4.4.
    """
    found = surface_of(view).deviation
    assert found is not None, "check_render comes before"
    return found


@regularizer(
    on="mesh", needs_field="crossings", filled_by="a scene that tells its crossings: a reconstructor's triplane"
)
def sign_changes(view: Render) -> Tensor:
    """Penalises floaters and internal surface: each end of a crossed edge is asked to have the other's sign.

    The binary cross entropy in nats, mean over the edges (nvdiffrec, Munkberg et al. 2022).
    """
    crossings = surface_of(view).crossings
    assert crossings is not None, "check_render comes before"
    one, two = crossings.unbind(-1)
    return 0.5 * (
        F.binary_cross_entropy_with_logits(one, (two > 0).to(one))
        + F.binary_cross_entropy_with_logits(two, (one > 0).to(two))
    )


def check_names(names: Iterable[str]) -> None:
    """Raises UserError for a regularizer that does not exist."""
    for name in names:
        if name not in REGULARIZERS:
            raise UserError(f"regularizers: unknown regularizer '{name}'{nearest(name, REGULARIZERS)}")


def check_scene(names: Iterable[str], draws: str, fields: Collection[str] | None = None) -> None:
    """Raises UserError for a regularizer that renders of a volume, or of a mesh, have nothing for.

    `fields` are the optional ones of `Surface` that the scene fills, where that is known.
    """
    for name in names:
        one = REGULARIZERS[name]
        if one.on not in (None, draws):
            raise UserError(f"regularizers: '{name}' needs a {one.on} renderer")
        if one.needs_field is not None and fields is not None and one.needs_field not in fields:
            raise UserError(f"regularizers: '{name}' needs {one.filled_by}")


def check_render(names: Iterable[str], view: Render) -> None:
    """Raises UserError for a regularizer that this kind of render has nothing for."""
    optional = {one.needs_field for one in REGULARIZERS.values() if one.needs_field is not None}
    filled = {field for field in optional if getattr(view.surface, field, None) is not None}
    check_scene(names, "volume" if view.surface is None else "mesh", filled)


def need_normals(names: Iterable[str]) -> bool:
    """Tells whether one of these regularizers looks at the normals."""
    return any(REGULARIZERS[name].needs_normals for name in names)
