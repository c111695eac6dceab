"""Lists the recipes that visitors choose from, and shortens those that optimise a scene."""

import functools
from dataclasses import dataclass
from typing import Any

from threestudio_like.config.loading import Loaded, is_schedule, load
from threestudio_like.config.recipe import Recipe, parse_recipe

FEWEST = 0.4
"""The least share of a recipe's steps that a visitor may ask for; with a fifth, DreamFusion's chair is still a ball."""
PROPOSED = 0.6
"""The share that the page proposes."""
COUNTS = ("steps", "albedo_steps")
"""Keys whose whole number is one of steps."""


@dataclass(frozen=True)
class Method:
    """A recipe as the page offers it."""

    name: str
    recipe: str
    """As `--config` takes it."""
    about: str
    """One sentence for visitors."""
    in_one_pass: bool = False
    """Whether it makes a mesh without training, of an image too."""

    @functools.cached_property
    def whole(self) -> Recipe:
        """The recipe as it ships. Raises UserError."""
        return parse_recipe(load(self.recipe), self.recipe)

    @property
    def steps(self) -> int:
        """Counts the steps of all its stages."""
        return sum(stage.config.steps for stage in self.whole.stages.values())


METHODS = (
    Method("GECO", "geco.yaml", "an image is drawn first, then its mesh is made in one pass", True),
    Method("DreamFusion", "dreamfusion.yaml", "SDS on a NeRF, step by step"),
    Method("SweetDreamer", "sweetdreamer-nerf.yaml", "SDS on a NeRF, with a prior of shapes that have one front"),
    Method("Fantasia3D", "fantasia3d.yaml", "SDS on a mesh: first its shape, then its material"),
    Method("ProlificDreamer", "prolificdreamer.yaml", "VSD, from a NeRF to a textured mesh; the slowest"),
)
"""The methods of the shipped recipes whose priors ship too."""


def shortened(plain: Loaded, share: float) -> Loaded:
    """Returns a recipe's plain data with a `share` of its steps; its schedules go through all their values in them."""
    made = Loaded(
        {key: value if key == "expected_seconds" else scaled(key, value, share) for key, value in plain.items()}
    )
    made.changes = plain.changes
    return made


def scaled(key: str, value: Any, share: float) -> Any:
    """Scales what stands under a key, where it counts steps, and all that is in it."""
    if isinstance(value, dict) and is_schedule(value):
        if list(value) == ["ramp"]:
            return {"ramp": scaled(key, value["ramp"], share)} if isinstance(value["ramp"], dict) else value
        return {round(share * int(step)): number for step, number in value.items()}
    if isinstance(value, dict):
        return {name: scaled(name, inner, share) for name, inner in value.items()}
    if key in COUNTS and type(value) is int:
        return max(round(share * value), min(value, 1))
    return value
