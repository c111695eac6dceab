"""Builds the guidance terms of a per-scene loss: each a guidance with its prior, prompt, channel and weight."""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from priors.backbones.base import Backbone
from priors.text import Prompt
from threestudio_like.config.ranges import NonNegativeSchedule
from threestudio_like.config.registry import Built, Component
from threestudio_like.config.schedule import Schedule
from threestudio_like.engine.system import Adjustable
from threestudio_like.errors import UserError, nearest
from threestudio_like.renderers.channels import CHANNELS


@dataclass
class GuidanceTermConfig:
    """Configures one guidance term of the loss: channel, weight, prompt and guidance."""

    method: Annotated[Component, "guidance"]
    """How the prior's prediction becomes a gradient (SDS, VSD, ...)."""
    prompt: Prompt.Config
    """What the object is, in words."""
    channel: str = "rgb"
    """The image of the render that the prior sees: see `CHANNELS`."""
    weight: NonNegativeSchedule = Schedule.constant(1.0)
    """Its factor in the loss; the term is skipped while it is 0."""
    backbone: Annotated[Component, "backbone"] | None = None
    """The prior; the recipe's where null."""

    def __post_init__(self):
        if self.channel not in CHANNELS:
            raise ValueError(f"unknown channel '{self.channel}'{nearest(self.channel, CHANNELS)}")


class GuidanceTerm(nn.Module):
    """One guidance term of the loss: a guidance, the channel it sees, its weight and its prompt."""

    def __init__(self, config: GuidanceTermConfig, backbone: Backbone, prompt: Prompt):
        super().__init__()
        self.weight, self.channel = config.weight, CHANNELS[config.channel]
        self.folder = backbone.folder
        """The folder of its prior."""
        self.prompt = prompt
        self.guidance = config.method.build(backbone)

    def adjustables(self, key: str) -> list[Adjustable]:
        """Lists the numbers that may be changed between steps; `key` is the term's own in the recipe."""

        def change(value: float) -> None:
            self.weight = Schedule.constant(value)

        own = Adjustable(f"{key}.weight", lambda step: self.weight(step), change)
        return [own, *self.guidance.adjustables(f"{key}.method")]


def build_terms(
    terms: dict[str, GuidanceTermConfig], default: Component | None, device: torch.device
) -> dict[str, GuidanceTerm]:
    """Builds the terms by name; those that name the same prior share it. `default` is the prior of the others.

    Raises UserError for a term without a prior, or whose channel is not what its prior takes.
    """
    built: list[tuple[Component, Backbone]] = []
    priors, found = {name: prior_of(name, term, default) for name, term in terms.items()}, {}
    # all prompts before the first network: a large text encoder beside it might find no room
    prompts = {name: Prompt(Texts(priors[name], device), term.prompt) for name, term in terms.items()}
    for name, term in terms.items():
        chosen = priors[name]
        backbone = next((backbone for component, backbone in built if component == chosen), None)
        if backbone is None:
            backbone = chosen.build(device)
            built.append((chosen, backbone))
        width = CHANNELS[term.channel].width
        if backbone.image_channels != width:
            raise UserError(
                f"guidance.{name}: the channel '{term.channel}' is an image of {width} channels, and the prior in "
                f"{backbone.folder} takes {backbone.image_channels}"
            )
        found[name] = GuidanceTerm(term, backbone, prompts[name])
    return found


def prior_of(name: str, term: GuidanceTermConfig, default: Component | None) -> Component:
    """Returns the prior of a term. Raises UserError where there is none."""
    chosen = term.backbone or default
    if chosen is None:
        raise UserError(f"guidance.{name}: no backbone; give the term or the recipe a `backbone:`")
    return chosen


@dataclass(frozen=True)
class Texts:
    """Embeds texts as a prior that is not loaded yet will know them."""

    prior: Component
    device: torch.device

    def embed(self, texts: list[str]) -> Float[Tensor, "N L D"]:
        """Embeds by the prior's text encoders alone. Raises UserError where there is none to load."""
        if isinstance(self.prior, Built):
            return self.prior.build().embed(texts)
        return self.prior.cls.embedded(self.prior.config, texts, self.device)
