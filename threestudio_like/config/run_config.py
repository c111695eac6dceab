"""The keys of a recipe that belong to the run."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from threestudio_like.config.ranges import Count, NonNegative, Seed, Threads, Whole

LoggerName = Literal["tensorboard", "csv", "wandb"]
PackageName = Literal["tiny-cuda-nn", "tiny-cuda-nn-fused", "nerfacc", "kaolin", "nvdiffrast"]


@dataclass(frozen=True)
class ExpectedSeconds:
    """Tells what a recipe takes on one core of the machine where it was measured."""

    start: NonNegative = 0.0
    """Seconds until the first step."""
    steps: dict[str, NonNegative] = field(default_factory=dict)
    """Seconds of a step of each stage, by the stage's name; `main` where there is one."""
    end: NonNegative = 0.0
    """Seconds of all that is done once beside the steps, evaluation and export among it."""
    first: NonNegative = 0.0
    """Seconds more of a machine's first run, in which kernels are compiled and data is made."""


@dataclass
class RunConfig:
    """The keys of a recipe that belong to the run; all others belong to its stages."""

    untrained = (
        "out",
        "device",
        "kernels",
        "packages",
        "threads",
        "checkpoint_every",
        "checkpoint_seconds",
        "preview_every",
        "logger",
        "expected_seconds",
        "vars",
        "imports",
        "memory",
    )

    prompt: str = ""
    """Text prompt of the object."""
    negative_prompt: str = ""
    """Negative prompt, used in place of the empty text in classifier-free guidance."""
    seed: Seed = 0
    """Decides all random numbers of the run."""
    out: str | None = None
    """The folder of the results; by default outputs/RECIPE/PROMPT-SEED."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it is computed; auto takes CUDA where there is a GPU."""
    devices: Count = 1
    """How many processes train together, each on a device of its own."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Single precision, or bfloat16 where it is safe (autocast)."""
    kernels: Literal["auto", "reference", "cpu", "cuda"] | None = None
    """Forces one side of all kernels; by default TSL_KERNELS, or the device, chooses."""
    packages: tuple[PackageName, ...] | None = None
    """Packages that take over, on CUDA, the operations that they have: `[nerfacc, kaolin]`; `[]`, none; null, those
    that are installed and were faster in a trial on this GPU, where `kernels` forces nothing."""
    threads: Threads | None = None
    """CPU threads at most; null, all. Small models are faster on one: several wait for each other."""
    checkpoint_every: Count | None = 250
    """Steps between checkpoints; null, only `checkpoint_seconds` counts."""
    checkpoint_seconds: NonNegative = 60.0
    """Seconds after which a checkpoint is written even if fewer steps have passed."""
    preview_every: Whole = 100
    """Steps between preview pictures; 0 for none."""
    logger: tuple[LoggerName, ...] = ("tensorboard",)
    """What records losses, previews and final figures: several are a list, `[tensorboard, csv]`; `[]` records none."""
    expected_seconds: ExpectedSeconds | None = None
    """What the run takes, as far as it was measured; this machine's speed is taken into account."""
    memory: str | None = None
    """Which of the recipe's `presets` is laid over it, by the size of the GPU: 12gb, 16gb, 24gb or 80gb, as far as it
    has them; auto, by the GPU that is there."""
    stages: dict[str, Any] | None = None
    """Blocks of keys by the stages' names, run in this order; what they leave out is shared by all."""
    vars: dict[str, Any] | None = None
    """Values for use elsewhere in the recipe as `${vars.name}`."""
    imports: list[str] = field(default_factory=list)
    """Modules that register classes of one's own, imported before the recipe's components are read."""


TEXT_KEYS = tuple(field.name for field in fields(RunConfig) if field.type in (str, str | None))
"""Keys whose override is taken to the letter, not as YAML."""
