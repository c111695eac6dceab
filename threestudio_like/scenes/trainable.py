"""Defines what a scene does to be optimised: its parameters by groups, its schedules, its start from an earlier one."""

from typing import Any, ClassVar

from torch import nn

from threestudio_like.config.registry import Component
from threestudio_like.errors import UserError
from threestudio_like.scenes.base import Scene


class TrainableScene(nn.Module):
    """Base of the slot `scene`; built from a Config or its fields. It follows the protocol of a renderer as well."""

    Config: ClassVar[Any]
    must_agree: ClassVar[tuple[str, ...]] = ()
    """Fields of the Config that must be what they are in the scene that one starts from."""

    def parameters_by_name(self) -> dict[str, list[nn.Parameter]]:
        """Returns the parameters by the groups that recipes give learning rates to."""
        raise NotImplementedError

    def advance(self, step: int) -> None:
        """Follows the scene's own schedules, where it has any, to a step of training."""

    @classmethod
    def check_start(cls, scene: Component, earlier: Component) -> None:
        """Raises UserError where such a scene cannot take over that of an earlier stage; both are yet to be built."""
        if scene.type != earlier.type:
            raise UserError(f"init: a scene of type '{scene.type}' cannot start from one of type '{earlier.type}'")
        check_agreement(cls.must_agree, scene, earlier)

    def start_from(self, scene: Scene) -> None:
        """Takes over another scene, as its renderer draws it. Raises UserError where it cannot."""
        raise UserError(f"init: a {type(self).__name__} cannot start from another scene")


def check_agreement(fields: tuple[str, ...], scene: Component, earlier: Component) -> None:
    """Raises UserError where two scenes' Configs differ in one of these fields."""
    for name in fields:
        if getattr(scene.config, name, None) != getattr(earlier.config, name, None):
            raise UserError(f"init: `scene.{name}` must be what it is in the stage before")
