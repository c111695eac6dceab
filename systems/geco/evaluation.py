"""GECO's ladder: the same held-out objects made from true views, the teacher's, and the generator's; diversity.

The paper's order is: one-step teacher, far behind; GECO without stage 2; GECO, about as good as the slow teacher
(arXiv 2405.20327, tables 1 and 2).
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from priors.backbones.multiview import MultiviewBackbone
from priors.generator import OneStepGenerator
from priors.reconstructor import CONDITION_ELEVATION_DEG, Reconstructor, pose_numbers, rig_poses
from priors.toybox.views import untile
from systems.geco.pipeline import Generation, Made, unlit, views_of
from systems.geco.targets import TeacherViews
from threestudio_like.cameras import orbit
from threestudio_like.data.toybox.multiview import Split
from threestudio_like.data.toybox.reconstruction import Objects, ReconstructionSet
from threestudio_like.engine.timing import wait_for
from threestudio_like.evaluate.features import diversity
from threestudio_like.evaluate.images import psnr
from threestudio_like.evaluate.perceptual import Perceptual
from threestudio_like.evaluate.reconstruction import UNSEEN, ReconstructionEvaluation, evaluate_reconstructor
from threestudio_like.evaluate.scene import Evaluation, measure
from threestudio_like.evaluate.shapes import health
from threestudio_like.renderers.shading import Shading
from threestudio_like.scenes.triplane import Triplane

Rung = Literal["true_views", "teacher", "one_step_teacher", "without_stage_2", "geco", "single_image"]
"""True views, the teacher's in many steps, and in one, and the generator's, all to the pretrained reconstructor; the
generator's to the distilled one; the condition image alone to a reconstructor of single images."""
RUNGS: tuple[Rung, ...] = ("true_views", "teacher", "one_step_teacher", "without_stage_2", "geco", "single_image")


@dataclass
class GecoEvaluation(ReconstructionEvaluation):
    """`rungs` are judged on `objects` of each of the `splits`: known categories in held-out colours, and unseen ones.

    Diversity is measured on `diverse` objects of the first split, `seeds` noises of each.
    """

    rungs: tuple[Rung, ...] = ("true_views", "teacher", "one_step_teacher", "without_stage_2", "geco")
    splits: tuple[Literal["held_out", "unseen"], ...] = ("held_out", "unseen")
    single: str | None = None
    """The folder of the reconstructor of single images."""
    diverse: int = 8
    seeds: int = 4

    def __post_init__(self):
        if "single_image" in self.rungs and self.single is None:
            raise ValueError("rungs: single_image needs `single`, the folder of a reconstructor of single images")
        if self.diverse and self.seeds < 2:
            raise ValueError(f"seeds: diversity takes at least 2, got {self.seeds}")


@dataclass(frozen=True)
class Ladder:
    """What is compared; `distilled` is None before stage 2. `draws`: how the teacher does."""

    teacher: MultiviewBackbone
    generator: OneStepGenerator
    pretrained: Reconstructor
    distilled: Reconstructor | None
    single: Reconstructor | None
    draws: TeacherViews

    def rungs(self, asked: tuple[Rung, ...]) -> list[Rung]:
        """Those of them that there are."""
        return [rung for rung in asked if rung != "geco" or self.distilled is not None]

    def views(self, rung: Rung, objects: Objects, index: int, seed: int = 0) -> Float[Tensor, "6 3 S S"]:
        """What a rung takes for an object's six views."""
        teacher, number = self.teacher, np.array([index])
        if rung == "true_views":
            return objects.views.six_views(number)[0].to(teacher.device)
        condition = teacher.condition(objects.views.images(number).to(teacher.device))
        z = teacher.noise_for("held out", seed, index)
        if rung == "teacher":
            x = teacher.sample(condition, self.draws.scale, self.draws.steps, None, z, self.draws.stop)
        elif rung == "one_step_teacher":
            x = teacher.one_step(z, condition, self.generator.scale)
        else:
            x = self.generator(z, condition)
        return untile(teacher.decode(x))[0]

    def scene(self, rung: Rung, objects: Objects, index: int, views: Tensor) -> Triplane:
        """The object that a rung makes of the views."""
        toys, device = objects.config.views, self.teacher.device
        if rung == "single_image":
            model, views = self.single, objects.views.images(np.array([index])).to(device)
            poses = pose_numbers(orbit(1, CONDITION_ELEVATION_DEG, toys.distance, toys.fov_deg, toys.size))
        else:
            model = self.distilled if rung == "geco" else self.pretrained
            poses = rig_poses(toys.distance, toys.fov_deg, toys.size)
        return model.scene(model(views[None], poses[None].to(device))[0])


@torch.no_grad()
def climb(
    ladder: Ladder, show: GecoEvaluation, data: ReconstructionSet, perceptual: Perceptual, folder: Path
) -> dict[str, float]:
    """Every rung's figures, `[unseen_]<rung>_<figure>`: those of `evaluate_reconstructor`; `views_psnr`, that of the
    six views; the seconds of the views, of their reconstruction, of the mesh, and of all three. Pictures in the
    folder."""
    figures, device = {}, ladder.teacher.device
    for split in show.splits:
        objects = show.of(data).objects(split)
        for rung in ladder.rungs(show.rungs):
            timed = TimedViews(ladder, rung, objects)
            found = evaluate_reconstructor(
                timed.reconstruct, objects, show, perceptual, device, folder / f"{rung}-{split}.png".replace("_", "-")
            )
            judged = slice(min(show.objects, len(objects)))  # what the picture shows is made again
            if rung not in ("single_image", "true_views"):
                found["views_psnr"] = float(np.mean(timed.psnr[judged]))
            found["views_seconds"] = float(np.mean(timed.seconds[judged]))
            found["reconstruction_seconds"] -= found["views_seconds"]
            found["seconds"] = sum(found[f"{part}_seconds"] for part in ("views", "reconstruction", "mesh"))
            prefix = "unseen_" if split == "unseen" else ""
            figures |= {f"{prefix}{rung}_{name}": value for name, value in found.items()}
    return figures | (diversities(ladder, show, data, show.splits[0]) if show.diverse else {})


class TimedViews:
    """A rung as a way of reconstructing, whose views are timed and measured apart."""

    def __init__(self, ladder: Ladder, rung: Rung, objects: Objects):
        self.ladder, self.rung, self.objects = ladder, rung, objects
        self.seconds: list[float] = []
        self.psnr: list[float] = []

    def reconstruct(self, index: int) -> Triplane:
        if self.rung == "single_image":
            self.seconds.append(0.0)
            return self.ladder.scene(self.rung, self.objects, index, None)
        begin = time.perf_counter()
        views = self.ladder.views(self.rung, self.objects, index)
        wait_for(views.device)
        self.seconds.append(time.perf_counter() - begin)
        truth = self.objects.views.six_views(np.array([index]))[0].to(views.device)
        self.psnr.append(psnr(views, truth).mean().item())
        return self.ladder.scene(self.rung, self.objects, index, views)


def diversities(ladder: Ladder, show: GecoEvaluation, data: ReconstructionSet, split: Split) -> dict[str, float]:
    """How much the unseen sides of one image's objects differ from one noise to the next, of the slow teacher and of
    the generator: the mean over objects of the root mean square difference of two, in 0..1."""
    objects, found = show.of(data).objects(split), {}
    rungs = {"teacher": "teacher", "generator": "without_stage_2"}
    asked = {name: rung for name, rung in rungs.items() if name == "generator" or rung in show.rungs}
    for name, rung in asked.items():
        of_objects = []
        for index in range(min(show.diverse, len(objects))):
            drawn = [ladder.views(rung, objects, index, seed)[UNSEEN] for seed in range(show.seeds)]
            sides = torch.stack(drawn).flatten(1)
            of_objects.append(diversity(sides / sides.shape[1] ** 0.5))
        found[f"{name}_diversity"] = float(np.mean(of_objects))
    return found


def evaluate_made(made: Made, config: Generation, prompt: str = "") -> dict[str, float]:
    """Returns how sound a reconstructed mesh is, its views' `saturation`, and what the scorer says of the prompt."""
    show = Evaluation(**vars(config.show), scorer=config.scorer)
    views, device = views_of(made, config), made.views.device
    strip = views(orbit(8, show.elevation_deg, show.distance, show.fov_deg, show.strip_size).to(device), Shading())
    sound = {f"mesh_{name}": value for name, value in health(made.mesh.to_trimesh()).items()}
    return sound | measure(strip, views, unlit, prompt, show, device)
