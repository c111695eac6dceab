"""A small system for tests of the training loop, and the launcher with it as a program of its own."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from threestudio_like.config.loading import CONFIGS
from threestudio_like.config.registry import register
from threestudio_like.config.schedule import Schedule
from threestudio_like.engine.system import ParameterGroup, StepResult, System, SystemConfig
from threestudio_like.errors import UserError

PROGRAM = """
import sys
sys.path.insert(0, {root!r})
import launch
import tests.fitting  # registers the small system
sys.exit(launch.main(sys.argv[1:]))
"""
RECIPE = "system: fit_for_tests\nsteps: 400\ncheckpoint_every: 20\npreview_every: 0\ndevice: cpu\n"


@dataclass
class FitConfig(SystemConfig):
    lr: Schedule = Schedule.constant(0.05)
    break_at: int = -1
    break_gradient: bool = False
    stop_at: int = -1
    spoil_at: int = -1
    """The step after which the point is no number any more."""
    size: int = 3
    refuse: bool = False
    """Whether the system cannot be built."""


@register("system", "fit_for_tests")
class Fit(System):
    """Fits a point to noisy observations; counts its steps in a buffer."""

    Config = FitConfig
    predecessors = (FitConfig,)

    def __init__(self, context, config):
        super().__init__()
        if config.refuse:
            raise UserError("refuse: it cannot be built")
        self.config = config
        self.point = nn.Parameter(torch.randn(config.size))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, step, generator):
        noise = torch.randn(self.config.size, generator=generator)
        loss = (self.point - 1 - 0.1 * noise).square().sum()
        if step == self.config.break_at:
            loss = (
                self.point.abs().sum().sqrt() * 0 / 0
                if not self.config.break_gradient
                else (0 * self.point).sqrt().sum()
            )
        if step == self.config.stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return StepResult({"fit": loss}, {"noise": noise.mean()})

    def after_step(self, step):
        self.count += 1
        if step == self.config.spoil_at:
            self.point.data[0] = torch.nan

    def parameter_groups(self):
        yield ParameterGroup("point", [self.point], self.config.lr)

    def start_from(self, previous):
        self.point.data.copy_(previous.point)

    def preview(self):
        return torch.rand(4, 4, 3, generator=torch.Generator().manual_seed(0))

    def evaluate(self, folder):
        return {"error": (self.point - 1).norm().item()}


def write(folder: Path) -> tuple[Path, Path]:
    """The program and a recipe for it, in the folder."""
    program, recipe = folder / "launch_fit.py", folder / "fit.yaml"
    program.write_text(PROGRAM.format(root=str(CONFIGS.parent)))
    recipe.write_text(RECIPE)
    return program, recipe
