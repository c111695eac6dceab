"""A method for the demo's tests: a box that is soon made, by steps as slow as a test wants them."""

import logging
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.viewer.scenes import Shown, ShownConfig
from threestudio_like.config.registry import register
from threestudio_like.demo.methods import Method
from threestudio_like.export.mesh_io import write_meshes

log = logging.getLogger("systems.boxes_for_tests")


@dataclass
class BoxesConfig(ShownConfig):
    """Configures the system of the demo's tests."""

    fails: bool = False
    """Whether it fails when it is exported."""
    warns: str = "a box"
    """What its warning is about."""


@register("system", "made_for_tests")
class Boxes(Shown):
    """Shows a picture that brightens, and leaves the viewer's coloured box."""

    Config = BoxesConfig

    def preview(self):
        return self.size.detach().clamp(0, 1).expand(8, 16, 3)

    def export(self, folder):
        log.warning("%s: this box is strange", self.config.warns)
        if self.config.fails:
            raise ZeroDivisionError("division by zero")
        write_meshes(self.object.scene.mesh(), folder, ["glb"])
        return {}


def method(folder: Path, name: str = "Boxes", steps: int = 20, seconds: float = 0.0, **keys) -> Method:
    """Writes a recipe of so many steps, each of so many seconds, and returns the method."""
    path = folder / f"{name.lower()}.yaml"
    plain = {"system": "made_for_tests", "prompt": "a box", "steps": steps, "sleep": seconds, "preview_every": 0}
    plain |= {"device": "cpu", "logger": [], "expected_seconds": {"steps": {"main": 0.05}, "end": 1.0}}
    path.write_text(yaml.safe_dump(plain | keys), encoding="utf-8")
    return Method(name, str(path), "a box")
