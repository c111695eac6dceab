"""The interface of the training loop: a system computes the losses of one step and names its parameters."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threestudio_like.config.ranges import Decay, Positive, Whole
from threestudio_like.config.recipe import Recipe
from threestudio_like.config.schedule import Schedule
from threestudio_like.engine.memory import Memory
from threestudio_like.errors import UserError

M = TypeVar("M", bound=nn.Module)


@dataclass  # not frozen: Fabric rewrites the tensors of what a model returns
class StepResult:
    """The losses of one step, already weighted (the trainer sums them), and numbers worth watching."""

    losses: dict[str, Tensor]
    logs: dict[str, float | Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate."""

    name: str
    parameters: list[nn.Parameter]
    lr: Schedule
    weight_decay: float = 0.0
    muon: bool = False
    """Updated by Muon instead of AdamW: for hidden matrices and convolutions (`threestudio_like/engine/muon.py`)."""


@dataclass(frozen=True, eq=False)
class Frozen(Generic[M]):
    """Holds a model that a system uses, without gradients and in evaluation mode, and does not save.

    A module that is an attribute of another is part of its parameters and checkpoint; one in here is not.
    """

    model: M

    def __post_init__(self):
        self.model.requires_grad_(False).eval()


@dataclass(frozen=True)
class Context:
    """Device, seed, prompt, process and recipe that a system is built for."""

    device: torch.device
    seed: int
    prompt: str
    rank: int = 0
    processes: int = 1
    recipe: str = ""
    """The recipe's name, for the files that say what made them."""
    mixed: bool = False
    """Whether the steps are computed in bfloat16 where that is safe (autocast)."""
    priors: bool = True
    """Whether the priors are loaded; only what is not trained any more can be built without."""


@dataclass(frozen=True)
class GuidancePreview:
    """Holds images, in 0..1, of a guidance's last step."""

    image: Float[Tensor, "B 3 H W"]
    """What the prior was shown."""
    target: Float[Tensor, "B 3 H W"]
    """What the step pulls it to."""


@dataclass(frozen=True)
class Generated:
    """The objects that a feed-forward method made."""

    folder: Path
    """They lie in it, each in a folder of its own."""
    failed: dict[str, str]
    """By the names of images and objects, why there is none."""


@dataclass(frozen=True)
class Adjustable:
    """A number of a running system that may be changed between two of its steps."""

    key: str
    """What recipes call it."""
    at: Callable[[int], float]
    """Its value at a step."""
    change: Callable[[float], None]
    """Gives it a value, at least 0, for all steps to come."""


@dataclass
class Optimizer:
    """Settings of Adam, with decoupled weight decay where a group asks for it."""

    betas: tuple[Decay, Decay] = (0.9, 0.99)
    """Decay rates of the moments."""
    eps: Positive = 1e-15
    """Term added to the denominator."""
    clip_norm: Positive | None = None
    """Bound of the gradient's global norm; null clips nothing."""


@dataclass
class Init:
    """The start of a stage."""

    stage: str
    """An earlier stage of the recipe, from whose result it starts."""


@dataclass
class SystemConfig:
    """Keys that every stage of every system has."""

    untrained: ClassVar[tuple[str, ...]] = ()

    steps: Whole
    """Steps of the stage."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    """Settings of the optimiser."""
    init: Init | None = None
    """Earlier stage to start from."""


class System(nn.Module):
    """Base of all systems. Registered in the slot `system`; built as `cls(context, config=config)`.

    All randomness of a step comes from the generator that `forward` is given; whatever must survive a resume is a
    parameter or a buffer.
    """

    Config: ClassVar[type[SystemConfig]] = SystemConfig
    config: Any
    """The system's own Config."""
    predecessors: tuple[type[SystemConfig], ...] = ()
    """The configs of the stages that this one can start from."""
    learned_with_priors: tuple[str, ...] = ()
    """How names of its state begin that it has no place for where it was built without its priors."""
    one_batch = False
    """Whether all processes are given the same random numbers, to draw the same batch and each take a share of it.

    Then two processes do what one does with twice the batch; otherwise each draws its own.
    """

    def forward(self, step: int, generator: torch.Generator) -> StepResult:
        """Computes the losses of step `step`."""
        raise NotImplementedError

    def parameter_groups(self) -> Iterable[ParameterGroup]:
        """Lists the parameters that are optimised."""
        raise NotImplementedError

    def validate(self, previous: SystemConfig | None) -> None:
        """Raises UserError where parts that fit alone do not fit together. Called before the first step of any stage.

        `previous` is the config of the stage that `init` names, if it names one.
        """
        if previous is not None and not isinstance(previous, self.predecessors):
            raise UserError(
                f"init: a stage of {type(self).__name__} cannot start from one of {type(previous).__name__}"
            )

    def start_from(self, previous: "System") -> None:
        """Starts from the result of an earlier stage."""
        raise NotImplementedError(f"{type(self).__name__} cannot start from another stage")

    def after_step(self, step: int) -> None:
        """Does what follows the optimiser's step, such as averaging weights."""

    @classmethod
    def memory(cls, config: SystemConfig, context: Context) -> Memory | None:
        """Estimates what a stage takes of a GPU's memory, before anything is loaded; None where that is not known."""
        return None

    @classmethod
    def exports_priors(cls, config: SystemConfig) -> bool:
        """Tells whether `export` writes what was learned on top of the priors, and so needs them."""
        return False

    @classmethod
    def to_start_from(cls, context: Context, config: SystemConfig) -> "System":
        """Builds what another stage's `start_from` is given, beside that stage: with as little of the GPU's memory as
        may be. Of a checkpoint it is filled with what it has a place for."""
        return cls(context, config=config).to(context.device)

    @classmethod
    def generate(cls, recipe: Recipe, images: tuple[str, ...], n: int) -> Generated:
        """Makes `n` objects of each image, or image of a folder, or of the prompt, in one pass, without training.

        Raises UserError where the method cannot, or no object was made.
        """
        raise UserError(f"--generate: '{recipe.name}' makes nothing in one pass; use --config geco.yaml")

    def preview(self) -> Float[Tensor, "H W 3"] | None:
        """Renders a picture, in 0..1, of the present state; None where there is none."""
        return None

    def guidance_previews(self) -> dict[str, GuidancePreview]:
        """Returns what each guidance did in its last step, by its name."""
        return {}

    def adjustables(self) -> list[Adjustable]:
        """Lists the numbers that a viewer may change while the system is trained."""
        return []

    def evaluate(self, folder: Path) -> dict[str, float]:
        """Measures the result and writes its pictures into the folder."""
        return {}

    def export(self, folder: Path) -> dict[str, float]:
        """Writes the result, for use elsewhere, into the folder."""
        return {}
