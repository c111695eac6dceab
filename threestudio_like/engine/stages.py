"""Builds a recipe's stages: as they start, and with what they have trained."""

from dataclasses import replace
from pathlib import Path

import torch

from threestudio_like.config.recipe import Recipe, parse_recipe, run_folder
from threestudio_like.config.renamed import translated_state
from threestudio_like.engine import checkpoint
from threestudio_like.engine.memory import Memory, refuse_too_large
from threestudio_like.engine.run_folder import checkpoint_path
from threestudio_like.engine.system import Context, System
from threestudio_like.engine.trainer import make_fabric, take_over
from threestudio_like.errors import UserError, nearest
from threestudio_like.kernels import backend
from threestudio_like.utils import card


class Stages:
    """A recipe's stages on its device, and their checkpoints in its folder."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.folder = run_folder(recipe)
        backend.force(recipe.run.kernels, recipe.run.packages)
        self.fabric = make_fabric(recipe.run.device, recipe.run.devices, recipe.run.precision)
        mixed = recipe.run.precision == "bf16-mixed"
        self.context = Context(  # of one process, until they are launched
            self.fabric.device, recipe.run.seed, recipe.run.prompt, recipe=recipe.name, mixed=mixed
        )

    def chosen(self, only: str | None) -> list[str]:
        """Returns the one stage that is asked for, or all. Raises UserError."""
        if only is None:
            return list(self.recipe.stages)
        if only not in self.recipe.stages:
            raise UserError(f"--stage: no stage '{only}'{nearest(only, self.recipe.stages)}")
        return [only]

    def checkpoint_path(self, stage: str) -> Path:
        """Returns the path of a stage's checkpoint."""
        return checkpoint_path(self.folder, stage)

    def build(self, stage: str, priors: bool = True) -> System:
        """Builds the stage's system on the run's device, with every initial value drawn from the run's seed."""
        torch.manual_seed(self.recipe.run.seed)  # torch's layers initialise from the global generator only
        return self.recipe.stages[stage].build(replace(self.context, priors=priors)).to(self.fabric.device)

    def validated(self, stage: str) -> System:
        """Builds the stage's system as it starts. Raises UserError where its parts do not fit together."""
        system = self.build(stage)
        init = system.config.init
        system.validate(self.recipe.stages[init.stage].config if init is not None else None)
        list(system.parameter_groups())  # tells a learning rate that is missing or unknown
        return system

    def finished(self, stage: str, to_start_from: bool = False, priors: bool = False) -> System:
        """Builds the stage's system with its trained state, or only what another stage starts from.

        Without `priors`, what its guidance learned is left out with them. Raises UserError where it has none, or
        stopped before its end.
        """
        path = self.checkpoint_path(stage)
        if not path.exists():
            raise UserError(f"{self.folder}: stage '{stage}' has no checkpoint; run it first")
        saved = checkpoint.load(path, torch.device("cpu"))  # the GPU may have no room for it twice
        component = self.recipe.stages[stage]
        if to_start_from:
            system = component.cls.to_start_from(replace(self.context, priors=False), component.config)
        else:
            system = self.build(stage, priors)
        if saved.step < system.config.steps:
            raise UserError(
                f"{self.folder}: stage '{stage}' stopped at step {saved.step} of {system.config.steps}; "
                "--resume it first"
            )
        state = translated_state(saved.system)
        if to_start_from:
            state = {name: tensor for name, tensor in state.items() if name in system.state_dict()}
        elif not priors:
            state = {name: tensor for name, tensor in state.items() if not name.startswith(system.learned_with_priors)}
        take_over(system, replace(saved, system=state), path)
        return system

    def memory(self, recipe: Recipe | None = None) -> dict[str, Memory]:
        """Estimates what the stages take of a GPU's memory, as far as it is known; of this recipe, or another."""
        stages = (recipe or self.recipe).stages
        estimates = {stage: one.cls.memory(one.config, self.context) for stage, one in stages.items()}
        return {stage: found for stage, found in estimates.items() if found is not None}

    def memory_lines(self) -> list[str]:
        """Says what the stages take of a GPU; without one, what each preset of the recipe takes at its largest stage.

        GB are 2^30 bytes.
        """
        if self.fabric.device.type == "cpu" and self.recipe.run.memory is None:
            under = {size: self.memory(parse_recipe(plain, self.recipe.name)) for size, plain in self.recipe.presets()}
            largest = {size: max(one.total for one in stages.values()) for size, stages in under.items() if stages}
            if largest:
                listed = [f"{size} {total / card.GB:.1f} GB" for size, total in reversed(largest.items())]
                return [f"memory: {', '.join(listed)}"]
        return [f"stage '{stage}' takes {memory}" for stage, memory in self.memory().items()]

    def refuse_too_large(self, stages: list[str]) -> None:
        """Raises UserError where one of the stages will not fit the GPU that is there."""
        there = card.memory() if self.fabric.device.type == "cuda" else None
        if there is None:
            return
        own = {stage: one for stage, one in self.memory().items() if stage in stages}
        presets = ((size, parse_recipe(plain, self.recipe.name)) for size, plain in self.recipe.presets())
        refuse_too_large(own, there, ((size, self.memory(recipe)) for size, recipe in presets))
