"""Evaluates and exports a trained scene: turntable, mesh, scorer metrics."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from threestudio_like.cameras import Cameras, orbit
from threestudio_like.config.ranges import Cells, Pixels, Positive
from threestudio_like.data.toybox.catalogue import CATEGORIES, COLORS
from threestudio_like.engine.parts import part
from threestudio_like.errors import NoSurfaceError, UserError
from threestudio_like.evaluate.images import saturation
from threestudio_like.evaluate.janus import classify_views
from threestudio_like.evaluate.metrics import own_figure
from threestudio_like.evaluate.scorer import Scorer
from threestudio_like.evaluate.shapes import HEALTH, health
from threestudio_like.evaluate.toybox import CATEGORY_CAPTIONS, COLOR_CAPTIONS, pair_index, toy_of
from threestudio_like.export.mesh_io import no_mesh
from threestudio_like.export.origin import Origin
from threestudio_like.export.presentation import Presentation, Views, write_object, write_turntable
from threestudio_like.renderers.base import Render
from threestudio_like.renderers.shading import Shading, bare
from threestudio_like.scenes.base import Scene
from threestudio_like.scenes.convert import remove_small_components

own_figure(
    "color_correct",
    "Caption of 286, %",
    "higher",
    "Whether the Toybox scorer finds the prompt among all 286 colour x category captions, on 4 colour renders"
    " at 30 degrees elevation (CLIP R-Precision, Park et al. 2021, as DreamFusion uses it). 0 or 1.",
    percent=True,
)

own_figure(
    "geometry_correct",
    "Shape of 26, %",
    "higher",
    "Whether it finds the category among all 26 on textureless renders (DreamFusion's geometry score). 0 or 1.",
    percent=True,
)

own_figure(
    "color_similarity",
    "Similarity",
    "higher",
    "The cosine of the Toybox scorer's embeddings of the 4 renders and of the prompt, in -1..1.",
)

own_figure(
    "consistent",
    "Consistent, %",
    "higher",
    "Whether 24 views tell of one object with one front (see evaluate/janus); only prompts whose object has a"
    " front. 0 or 1.",
    percent=True,
)

own_figure(
    "consistency_margin",
    "Margin, nats",
    "higher",
    "How much likelier one front is than the best other story, in nats a view; consistent above 0.",
)

log = logging.getLogger(__name__)


@dataclass
class Evaluation(Presentation):
    """The keys by which a finished scene is shown, exported and measured."""

    preview_size: Pixels = 96
    """Side length in pixels of a preview's views."""
    mesh_resolution: Cells = 128
    """Grid points along each axis at which a field's surface is extracted."""
    mesh_threshold: Positive | None = None
    """The density at a field's surface; null chooses it by the field's own silhouettes."""
    scorer: str | None = None
    """A scorer's folder; the prompt is scored where it names one of the Toybox's colours and categories."""
    scorer_size: Pixels = 64
    """Side length in pixels of the views that the scorer is shown."""

    def check_surface(self, scene: str) -> None:
        """Raises UserError for keys on extracting a mesh, of a scene of this type, which has one."""
        for key in ("mesh_resolution", "mesh_threshold"):
            if getattr(self, key) != getattr(type(self), key):
                raise UserError(
                    f"evaluation.{key}: a scene of type '{scene}' has a mesh of its own, as fine as its `resolution`; "
                    "take the key away, or give it to the stage of a field"
                )


def evaluate_scene(
    views: Views, shown: Callable[[Cameras], Shading], prompt: str, show: Evaluation, folder: Path, device: torch.device
) -> dict[str, float]:
    """Writes the turntable; returns `saturation` and the scores."""
    return measure(write_turntable(views, shown, show, folder, device), views, shown, prompt, show, device)


def measure(
    strip: list[Render],
    views: Views,
    shown: Callable[[Cameras], Shading],
    prompt: str,
    show: Evaluation,
    device: torch.device,
) -> dict[str, float]:
    """Returns the `saturation` of a strip of views, and the scores where a scorer is named."""

    def image(pixels):
        return torch.cat([pixels(view) for view in strip]).permute(0, 3, 1, 2)

    found: dict[str, float] = {}
    with part("saturation"):
        color, opacity = image(lambda view: view.rgb), image(lambda view: view.opacity)
        found["saturation"] = saturation(color, opacity).mean().item()
    if show.scorer is not None:
        with part("scores"):
            found |= scores(views, shown, prompt, show, device)
    return found


def scores(
    views: Views, shown: Callable[[Cameras], Shading], prompt: str, show: Evaluation, device: torch.device
) -> dict[str, float]:
    """R-Precision's verdict on this scene, from 4 views at 30 degrees elevation: is its own caption the nearest of all?

    `color_correct` (0 or 1): among all colour x category captions, on colour renders. `geometry_correct`: among all
    categories, on textureless renders. `consistent` (0 or 1), where the category has a front: whether 24 views around
    it tell of one object, with the `consistency_margin` in nats a view (see `evaluate/janus`). Empty where the prompt
    is not about the Toybox.
    """
    toy = toy_of(prompt)
    if toy is None:
        if prompt:
            log.info("not scored: '%s' does not name one of the Toybox's toys and one of its colours", prompt)
        return {}
    category, color = toy
    assert show.scorer is not None, "without one nothing is scored"
    scorer = Scorer.load(show.scorer, device)
    cameras = orbit(4, 30.0, show.distance, show.fov_deg, show.scorer_size).to(device)

    def look(shading):
        return torch.cat([v.rgb.permute(0, 3, 1, 2) for v in views(cameras, shading)])

    right_pair = pair_index(category, color)
    pair = (scorer.image(look(shown(cameras))) @ scorer.text(COLOR_CAPTIONS).T).mean(0)
    kind = (scorer.image(look(bare(cameras))) @ scorer.text(CATEGORY_CAPTIONS).T).mean(0)
    log.info("the scorer sees %s (shape alone: %s)", COLOR_CAPTIONS[pair.argmax()], CATEGORY_CAPTIONS[kind.argmax()])
    found = {
        "color_correct": float(pair.argmax() == right_pair),
        "color_similarity": pair[right_pair].item(),
        "geometry_correct": float(kind.argmax() == right_pair // len(COLORS)),
    }
    if CATEGORIES[category].has_front:
        cameras = orbit(24, 15.0, show.distance, show.fov_deg, show.scorer_size).to(device)
        seen = classify_views(scorer.azimuth(look(shown(cameras))).softmax(-1), cameras.azimuth)
        log.info("seen from all around: %s (margin %.2f)", seen.story, seen.margin)
        found |= {"consistent": float(seen.consistent), "consistency_margin": seen.margin}
    return found


def export_scene(
    scene: Scene, show: Evaluation, folder: Path, device: torch.device, origin: Origin
) -> dict[str, float]:
    """Writes `mesh.<format>`, which tells its origin; a scene without a surface is reported, not fatal.

    Raises NoSurfaceError where an earlier mesh is there, which would stand beside the figures of none.
    """
    try:
        mesh = remove_small_components(scene.mesh(), show.smallest_part)
    except NoSurfaceError as error:
        no_mesh(folder, error)
        return {"mesh_vertices": 0, **{f"mesh_{key}": 0.0 for key in HEALTH}}
    found = health(mesh.to_trimesh())
    mesh = write_object(mesh, scene, show, folder, origin, device)
    return {"mesh_vertices": len(mesh.vertices), **{f"mesh_{key}": value for key, value in found.items()}}
