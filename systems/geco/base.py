"""Base class of both GECO stages (`systems/geco/stages.py`): models, baselines, export."""

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from priors.backbones.base import Condition
from priors.backbones.multiview import MultiviewBackbone
from priors.generator import OneStepConfig, OneStepGenerator
from priors.reconstructor import Reconstructor
from priors.toybox.views import untile
from systems.geco.evaluation import Baselines, GecoEvaluation, evaluate_baselines, evaluate_reconstruction
from systems.geco.generate import METHOD, generate
from systems.geco.pipeline import Generation, ImageTo3D, save
from systems.geco.targets import ConditionImages, ImageFolder, TargetSampling, teacher_views
from systems.memory import training as memory_of
from threestudio_like.config.ranges import Count, NonNegativeSchedule
from threestudio_like.config.recipe import Recipe
from threestudio_like.config.registry import Component, configure
from threestudio_like.config.schedule import Schedule
from threestudio_like.data.cache import Chunks
from threestudio_like.data.framing import Framing
from threestudio_like.data.image_files import image_files
from threestudio_like.data.images import load_image
from threestudio_like.data.toybox.reconstruction import ReconstructionSet
from threestudio_like.data.toybox.split import check_split, sign
from threestudio_like.engine.memory import Memory
from threestudio_like.engine.record import git_revision
from threestudio_like.engine.system import Context, Frozen, Generated, System, SystemConfig
from threestudio_like.errors import NoSurfaceError, UserError
from threestudio_like.evaluate.scorer import Scorer
from threestudio_like.export.mesh_io import no_mesh
from threestudio_like.export.origin import Origin

SHOWN = 4  # images of a preview


@dataclass(frozen=True)
class Reconstructors:
    """Names the folders of both reconstructors."""

    pretrained: str = "priors/weights/reconstructor"
    """The one that makes the targets."""
    weights: str | None = None
    """The one that stage 2 starts from; the same where null."""


@dataclass
class GecoConfig(SystemConfig):
    """Configures what both stages share."""

    untrained = (*SystemConfig.untrained, "evaluation", "generation")

    backbone: Annotated[Component, "backbone"] = field(kw_only=True)
    """The teacher, a multi-view prior."""
    perceptual: Annotated[Component, "perceptual"] = field(kw_only=True)
    """The perceptual distance of losses and figures."""
    generator: OneStepConfig = field(default_factory=OneStepConfig)
    """The one-step generator."""
    reconstructor: Reconstructors = field(default_factory=Reconstructors)
    """The reconstructors' weights."""
    targets: TargetSampling = field(default_factory=TargetSampling)
    """How stage 2's targets are drawn."""
    data: ReconstructionSet = field(default_factory=ReconstructionSet)
    """The toys: training images unless `images` names others, held-out objects, and the six views' cameras."""
    framing: Framing = field(default_factory=Framing)
    """Framing of the toys' images."""
    images: ImageFolder | None = None
    """Condition images in place of the toys'."""
    batch: Count = 8
    """Images a step and process."""
    lr: NonNegativeSchedule = Schedule.constant(1e-6)
    """The generator's in stage 1, the reconstructor's in stage 2."""
    evaluation: GecoEvaluation = field(default_factory=GecoEvaluation)
    """How the baselines are measured."""
    generation: Generation = field(default_factory=Generation)
    """How the exported example is made and shown."""

    def __post_init__(self):
        if set(self.evaluation.splits) - set(self.data.views.held_out_splits):
            raise ValueError("evaluation.splits: where data.views.left_out is empty, there are no unseen categories")


class Geco(System):
    """Base of both GECO stages: models, evaluation, export."""

    Config: ClassVar[type[SystemConfig]] = GecoConfig
    one_batch = True

    def __init__(self, context: Context, config: GecoConfig | None = None, **fields):
        super().__init__()
        self.config = config = configure(self, config, fields)
        self.device = context.device
        self.context = context
        self.rank, self.processes = context.rank, context.processes
        self.teacher = config.backbone.build(context.device)
        if not isinstance(self.teacher, MultiviewBackbone):
            raise UserError(f"backbone: GECO's teacher makes six views of an image; '{config.backbone.type}' does not")
        if self.teacher.view_size != config.data.views.size:
            raise UserError(
                f"data.views.size: {config.data.views.size} pixels are not the teacher's {self.teacher.view_size}"
            )
        self.generator = OneStepGenerator(self.teacher, config.generator)
        self.generator.mixed = context.mixed
        self.pretrained = Frozen(Reconstructor.load(config.reconstructor.pretrained).to(context.device))
        self.single: Frozen | None = None
        if "single_image" in config.evaluation.baselines:
            self.single = Frozen(Reconstructor.load(config.evaluation.single).to(context.device))
        self.perceptual = Frozen(config.perceptual.build(context.device))
        self.reconstructor: Reconstructor | None = None
        # What is missing is told before the work, not after.
        Scorer.load(config.evaluation.scorer)
        if config.images is not None:
            image_files(Path(config.images.path))
        for place in (self.teacher.folder, config.reconstructor.pretrained, config.reconstructor.weights):
            check_split(place)
        example = config.generation.example
        self.example = example and load_image(Path(example), self.teacher.condition_size, config.generation.loading)
        self._images: ConditionImages | None = None
        self._targets: Chunks | None = None

    @classmethod
    def memory(cls, config: SystemConfig, context: Context) -> Memory | None:
        return memory_of.geco(config, context.mixed)

    @classmethod
    def to_start_from(cls, context: Context, config: SystemConfig) -> System:
        """Builds all of it on the CPU: of three U-Nets, the next stage takes the generator's numbers."""
        return cls(replace(context, device=torch.device("cpu")), config=config)

    @property
    def images(self) -> ConditionImages:
        """The condition images, rendered or read at the first call."""
        if self._images is None:
            self._images = ConditionImages.of(self.config.data.views, self.config.framing, self.config.images)
        return self._images

    @property
    def targets(self) -> Chunks:
        """The teacher's views `[N, 6, S, S, 3]` as bytes, made or mapped at the first call."""
        if self._targets is None:
            self._targets = teacher_views(self.teacher, self.images, self.config.targets, self.rank, self.processes)
        return self._targets

    def slow_views(self, chosen: Int[np.ndarray, "b"]) -> Float[Tensor, "b 6 3 S S"]:
        """Reads the targets of these numbers, in 0..1."""
        return torch.from_numpy(self.targets[chosen]).permute(0, 1, 4, 2, 3).to(self.device).float() / 255

    def target_inputs(self, chosen: Int[np.ndarray, "b"]) -> tuple[Condition, Float[Tensor, "b C h w"]]:
        """Returns the conditions and the noises that the targets of these numbers were drawn from."""
        images = self.images[chosen % len(self.images)].to(self.device)
        return self.teacher.condition(images), torch.cat(
            [self.teacher.noise_for(self.config.targets.seed, i) for i in chosen]
        )

    def share(self, count: int, generator: torch.Generator) -> Int[np.ndarray, "B"]:
        """Draws this process's part of the step's examples among `count`."""
        total = self.config.batch * self.processes
        drawn = torch.randint(count, (total,), generator=generator, device=generator.device)
        return drawn[self.rank :: self.processes].cpu().numpy()

    def evaluate(self, folder: Path) -> dict[str, float]:
        """The baselines of `systems/geco/evaluation.py`."""
        baselines = Baselines(
            teacher=self.teacher,
            generator=self.generator,
            pretrained=self.pretrained.model,
            distilled=self.reconstructor,
            single=self.single and self.single.model,
            draws=self.config.targets,
        )
        return evaluate_baselines(baselines, self.config.evaluation, self.config.data, self.perceptual.model, folder)

    @classmethod
    def generate(cls, recipe: Recipe, images: tuple[str, ...], n: int) -> Generated:
        return generate(recipe, images, n, evaluate_reconstruction)

    def export(self, folder: Path) -> dict[str, float]:
        """Writes `generator/` and `reconstructor/`, half precision, which `generation.weights` takes, and the mesh, the
        turntable and the six views of an example image. Before stage 2 the reconstructor is the pretrained one."""
        reconstructor = self.reconstructor or self.pretrained.model
        self.generator.save(folder / "generator")
        save_half(reconstructor, folder / "reconstructor")
        for part in ("generator", "reconstructor"):
            sign(folder / part)
        toys, generation = self.config.data.views, self.config.generation
        image = toys.images("held_out").images(np.array([0]))[0] if self.example is None else self.example
        pipeline = ImageTo3D(self.teacher, self.generator, reconstructor, toys, generation)
        try:
            made = pipeline(image, 0)
            origin = Origin(folder.name, "", self.context.recipe, METHOD, self.context.seed, git_revision())
            return save(made, image, generation, folder, origin) | evaluate_reconstruction(made, generation)
        except NoSurfaceError as error:
            no_mesh(folder, error)
            return {"mesh_vertices": 0, "mesh_faces": 0, "mesh_missing": str(error)}

    @torch.no_grad()
    def preview(self) -> Tensor:
        """Draws one row per image: the image, two samples of the generator, and the teacher's one-step views."""
        rows = []
        for index in range(min(SHOWN, len(self.images))):
            image = self.images[np.array([index])].to(self.device)
            condition = self.teacher.condition(image)
            noises = [self.teacher.noise_for("preview", seed) for seed in (0, 1)]
            made = [self.generator(z, condition) for z in noises]
            made.append(self.teacher.one_step(noises[0], condition, self.generator.scale))
            views = torch.cat([untile(self.teacher.decode(x))[0] for x in made])
            small = F.interpolate(image, views.shape[-2:], mode="bilinear", antialias=True)
            rows.append(torch.cat([*small, *views], dim=-1))
        return torch.cat(rows, dim=-2).permute(1, 2, 0).cpu()


def save_half(model: Reconstructor, folder: Path) -> None:
    """Writes a diffusers model in half precision."""
    copy.deepcopy(model).half().cpu().save_pretrained(folder, safe_serialization=True)
