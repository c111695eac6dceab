"""Configures a comparison: its methods, prompts, seeds and metrics, and what is claimed of them."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import MinLen

from threestudio_like.config.ranges import Seed

MESH_RECIPE = "mesh.yaml"
"""The recipe of methods whose objects are mesh files."""
AIMS = ("higher_than", "lower_than", "at_least", "at_most")


@dataclass
class Method:
    """A way of making an object of a prompt."""

    config: str = ""
    """The recipe."""
    keys: dict[str, Any] = field(default_factory=dict)
    """Keys that replace the recipe's."""
    generate: bool = False
    """Whether the recipe makes the prompts' objects in one pass."""
    meshes: str = ""
    """Files of meshes made elsewhere, in place of a recipe: a folder of `PROMPT-SEED.glb` (see `mesh_files`), or a path
    with `{prompt}` and `{seed}` in it."""

    def __post_init__(self):
        if self.meshes and (self.generate or self.config not in ("", MESH_RECIPE)):
            raise ValueError("`meshes:` are measured as they are; leave `config:` and `generate:` out")
        if not self.meshes and not self.config:
            raise ValueError("give `config:`, a recipe, or `meshes:`, files of meshes made elsewhere")
        self.config = self.config or MESH_RECIPE


@dataclass
class Claim:
    """A hypothesis: a method's metric is higher or lower than another method's, or at least or at most a number."""

    says: str
    """The claim in words."""
    source: str
    """The paper, and the place in it."""
    metric: str
    """The metric's name."""
    method: str
    """The method that the claim is about."""
    higher_than: str | None = None
    """The method whose figure is lower."""
    lower_than: str | None = None
    """The method whose figure is higher."""
    at_least: float | None = None
    """The smallest figure that the claim allows."""
    at_most: float | None = None
    """The largest figure that the claim allows."""

    def __post_init__(self):
        if sum(getattr(self, aim) is not None for aim in AIMS) != 1:
            raise ValueError(f"'{self.says}': give exactly one of {', '.join(AIMS)}")

    @property
    def other(self) -> str | None:
        """The method it is measured against, if any."""
        return self.higher_than or self.lower_than


@dataclass
class ComparisonConfig:
    """A comparison's keys. Its methods are `methods:`, or all combinations of a `grid:` of the recipe `config:`."""

    prompts: Annotated[tuple[str, ...], MinLen(1)]
    """The prompts, each run by each method."""
    metrics: Annotated[tuple[str, ...], MinLen(1)]
    """The columns of the table, by the metrics' names."""
    title: str = ""
    """The report's heading."""
    about: str = ""
    """The report's first paragraph."""
    seeds: Annotated[tuple[Seed, ...], MinLen(1)] = (0,)
    """The seeds of each prompt."""
    methods: dict[str, Method] = field(default_factory=dict)
    """The methods by the names that they have in the report."""
    config: str | None = None
    """The recipe of a `grid:`."""
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """Values of the recipe's keys; every combination is a method."""
    keys: dict[str, Any] = field(default_factory=dict)
    """Replace those of every method's recipe, in all of its stages: the device, the scored views."""
    claims: tuple[Claim, ...] = ()
    """Hypotheses, each decided by the runs."""
    imports: tuple[str, ...] = ()
    """Modules of one's own that declare metrics."""
    scorer: str = "priors/weights/second_scorer"
    """A Toybox scorer's folder, or any CLIP: a folder, or a hub id. The runs' own scorer is another judge."""
    distractors: tuple[str, ...] = ()
    """Captions that R-Precision also chooses from, beside the prompts."""
    reference: str | None = None
    """The images that Frechet distances are to: a folder of images, or `toybox`, the true toys of the prompts."""
    out: str | None = None
    """The report's folder; by default `outputs/comparisons/NAME`."""
    runs: str | None = None
    """The runs' folder, shared by all comparisons that name the same folder; by default `runs` beside `out`."""
