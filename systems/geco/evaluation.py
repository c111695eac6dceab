"""GECO's baselines: the same held-out objects made from true views, the teacher's, and the generator's; diversity.

The paper's order is: one-step teacher, far behind; GECO without stage 2; GECO, about as good as the slow teacher
(arXiv 2405.20327, tables 1 and 2).
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from priors.backbones.multiview import MultiviewBackbone
from priors.generator import OneStepGenerator
from priors.reconstructor import Reconstructor
from priors.toybox.views import untile
from priors.view_encoder import CONDITION_ELEVATION_DEG, pose_numbers, rig_poses
from systems.geco.pipeline import Generation, Reconstruction3D, unlit, views_of
from systems.geco.targets import TargetSampling
from threestudio_like.cameras import orbit
from threestudio_like.config.ranges import Count, Whole
from threestudio_like.data.toybox.multiview import Split
from threestudio_like.data.toybox.reconstruction import Objects, ReconstructionSet
from threestudio_like.engine.parts import part
from threestudio_like.engine.timing import wait_for
from threestudio_like.evaluate.features import diversity
from threestudio_like.evaluate.images import psnr
from threestudio_like.evaluate.perceptual import Perceptual
from threestudio_like.evaluate.reconstruction import UNSEEN, ReconstructionEvaluation, evaluate_reconstructor
from threestudio_like.evaluate.scene import Evaluation, measure
from threestudio_like.evaluate.shapes import health
from threestudio_like.export.presentation import around, fitting_distance
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.triplane import Triplane

Baseline = Literal["true_views", "teacher", "one_step_teacher", "without_stage_2", "geco", "single_image"]
"""True views, the teacher's in many steps, and in one, and the generator's, all to the pretrained reconstructor; the
generator's to the distilled one; the condition image alone to a reconstructor of single images."""
BASELINES: tuple[Baseline, ...] = get_args(Baseline)


@dataclass
class GecoEvaluation(ReconstructionEvaluation):
    """Configures how the baselines are measured."""

    baselines: tuple[Baseline, ...] = ("true_views", "teacher", "one_step_teacher", "without_stage_2", "geco")
    """What is measured."""
    splits: tuple[Literal["held_out", "unseen"], ...] = ("held_out", "unseen")
    """Known categories in held-out colours, and unseen categories; `objects` of each."""
    single: str | None = None
    """The folder of the reconstructor of single images."""
    diverse: Whole = 8
    """Objects of the first split on which diversity is measured."""
    seeds: Count = 4
    """Noises of each of them."""

    def __post_init__(self):
        if "single_image" in self.baselines and self.single is None:
            raise ValueError("baselines: single_image needs `single`, the folder of a reconstructor of single images")
        if self.diverse and self.seeds < 2:
            raise ValueError(f"seeds: diversity takes at least 2, got {self.seeds}")


@dataclass(frozen=True)
class Baselines:
    """Holds what is compared; `distilled` is None before stage 2, `draws` says how the teacher samples."""

    teacher: MultiviewBackbone
    generator: OneStepGenerator
    pretrained: Reconstructor
    distilled: Reconstructor | None
    single: Reconstructor | None
    draws: TargetSampling

    def baselines(self, asked: tuple[Baseline, ...]) -> list[Baseline]:
        """Returns those of the baselines that can be evaluated (without `geco` before stage 2)."""
        return [baseline for baseline in asked if baseline != "geco" or self.distilled is not None]

    def views(self, baseline: Baseline, objects: Objects, index: int, seed: int = 0) -> Float[Tensor, "6 3 S S"]:
        """Makes an object's six views as a baseline does."""
        teacher, number = self.teacher, np.array([index])
        if baseline == "true_views":
            return objects.views.six_views(number)[0].to(teacher.device)
        images, z = objects.views.images(number).to(teacher.device), teacher.noise_for("held out", seed, index)
        if baseline == "teacher":
            return self.draws(teacher, images, z)[0]
        condition = teacher.condition(images)
        if baseline == "one_step_teacher":
            x = teacher.one_step(z, condition, self.generator.scale)
        else:
            x = self.generator(z, condition)
        return untile(teacher.decode(x))[0]

    def scene(self, baseline: Baseline, objects: Objects, index: int, views: Tensor | None) -> Triplane:
        """Reconstructs the object from the views as a baseline does."""
        toys, device = objects.config.views, self.teacher.device
        if baseline == "single_image":
            model, views = self.single, objects.views.images(np.array([index])).to(device)
            poses = pose_numbers(orbit(1, CONDITION_ELEVATION_DEG, toys.distance, toys.fov_deg, toys.size))
        else:
            model = self.distilled if baseline == "geco" else self.pretrained
            poses = rig_poses(toys.distance, toys.fov_deg, toys.size)
        return model.scene(model(views[None], poses[None].to(device)))


@torch.no_grad()
def evaluate_baselines(
    baselines: Baselines, show: GecoEvaluation, data: ReconstructionSet, perceptual: Perceptual, folder: Path
) -> dict[str, float]:
    """Measures every baseline: `[unseen_]<baseline>_<figure>`.

    The figures are those of `evaluate_reconstructor`; `views_psnr`, that of the six views; the seconds of the views, of
    their reconstruction, of the mesh, and of all three. Writes pictures into the folder.
    """
    figures, device = {}, baselines.teacher.device
    for split in show.splits:
        objects = show.of(data).objects(split)
        for baseline in baselines.baselines(show.baselines):
            prefix = "unseen_" if split == "unseen" else ""
            with part(f"{prefix}{baseline}"):
                timed = TimedViews(baselines, baseline, objects)
                found = evaluate_reconstructor(
                    timed.reconstruct,
                    objects,
                    show,
                    perceptual,
                    device,
                    folder / f"{baseline}-{split}.png".replace("_", "-"),
                )
                judged = slice(min(show.objects, len(objects)))  # what the picture shows is made again
                if baseline not in ("single_image", "true_views"):
                    found["views_psnr"] = float(np.mean(timed.psnr[judged]))
                found["views_seconds"] = float(np.mean(timed.seconds[judged]))
                found["reconstruction_seconds"] -= found["views_seconds"]
                found["seconds"] = sum(found[f"{part}_seconds"] for part in ("views", "reconstruction", "mesh"))
                figures |= {f"{prefix}{baseline}_{name}": value for name, value in found.items()}
    if show.diverse:
        with part("diversities"):
            figures |= diversities(baselines, show, data, show.splits[0])
    return figures


class TimedViews:
    """A baseline as a way of reconstructing, whose views are timed and measured apart."""

    def __init__(self, baselines: Baselines, baseline: Baseline, objects: Objects):
        self.baselines, self.baseline, self.objects = baselines, baseline, objects
        self.seconds: list[float] = []
        self.psnr: list[float] = []

    def reconstruct(self, index: int) -> Triplane:
        """Reconstructs the object of this number."""
        if self.baseline == "single_image":
            self.seconds.append(0.0)
            return self.baselines.scene(self.baseline, self.objects, index, None)
        begin = time.perf_counter()
        views = self.baselines.views(self.baseline, self.objects, index)
        wait_for(views.device)
        self.seconds.append(time.perf_counter() - begin)
        truth = self.objects.views.six_views(np.array([index]))[0].to(views.device)
        self.psnr.append(psnr(views, truth).mean().item())
        return self.baselines.scene(self.baseline, self.objects, index, views)


def diversities(baselines: Baselines, show: GecoEvaluation, data: ReconstructionSet, split: Split) -> dict[str, float]:
    """Measures how much the unseen sides of one image's objects differ from one noise to the next.

    The mean over objects of the root mean square difference of two, in 0..1, of the slow teacher and of the generator.
    """
    objects, found = show.of(data).objects(split), {}
    by_name = {"teacher": "teacher", "generator": "without_stage_2"}
    asked = {name: baseline for name, baseline in by_name.items() if name == "generator" or baseline in show.baselines}
    for name, baseline in asked.items():
        of_objects = []
        for index in range(min(show.diverse, len(objects))):
            drawn = [baselines.views(baseline, objects, index, seed)[UNSEEN] for seed in range(show.seeds)]
            sides = torch.stack(drawn).flatten(1)
            of_objects.append(diversity(sides / sides.shape[1] ** 0.5))
        found[f"{name}_diversity"] = float(np.mean(of_objects))
    return found


def evaluate_reconstruction(made: Reconstruction3D, config: Generation, prompt: str = "") -> dict[str, float]:
    """Returns how sound a reconstructed mesh is, its views' `saturation`, and what the scorer says of the prompt."""
    show = Evaluation(**vars(config.show), scorer=config.scorer)
    device = made.views.device
    views = views_of(made.mesh, config, device)
    whole = replace(show, distance=fitting_distance(views, show, device))
    strip = views(around(whole, 8, show.strip_size).to(device), Shading())
    sound = {f"mesh_{name}": value for name, value in health(made.mesh.to_trimesh()).items()}
    return sound | measure(strip, views, unlit, prompt, show, device)
