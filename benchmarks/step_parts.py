"""Times the steps of a stage of a recipe by part, on whatever device it runs: the diffusion models and VAEs, the rest.

A network's share is what passes between its call and its answer, and in the backward pass between the gradient's
arrival at its output and its departure at the other end, or at the last parameter that learns.
"""

import gc
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from torch import nn

from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.engine.monitor import peak_memory_mib
from threestudio_like.engine.run import Run
from threestudio_like.engine.system import System
from threestudio_like.engine.timing import wait_for
from threestudio_like.engine.trainer import make_optimizer
from threestudio_like.utils.seeding import generator

PROFILED = 3
"""Steps in which kernels are counted; profiling slows them, so that they are not timed."""


@dataclass(frozen=True)
class Step:
    """Time and memory of a step, as medians of several."""

    recipe: str
    stage: str
    step: int
    """The number of the first one; schedules go by it."""
    ms: float
    priors_ms: float
    """Of the diffusion models and VAEs, forward and backward."""
    busy: float | None
    """Share of the time in which the GPU computes; None on a CPU."""
    kernels: float | None
    """Kernels that are launched; None on a CPU."""
    peak_gib: float
    """Memory at most, the models included."""

    @property
    def rest(self) -> float:
        """The share of all that is neither a diffusion model nor a VAE, 0..1."""
        return 1 - self.priors_ms / self.ms

    def plain(self) -> dict:
        """Returns what JSON can hold."""
        return asdict(self)


class Stamps:
    """Takes times on the device's own clock, without waiting for it."""

    def __init__(self, device: torch.device):
        self.device = device

    def take(self) -> "torch.cuda.Event | float":
        """Notes the time at which the device comes to this point."""
        if self.device.type != "cuda":
            return time.perf_counter()
        stamp = torch.cuda.Event(enable_timing=True)
        stamp.record()
        return stamp

    def ms(self, begin, end) -> float:
        """Returns the milliseconds between two, once the device has passed both."""
        return begin.elapsed_time(end) if self.device.type == "cuda" else 1000 * (end - begin)


class Intervals:
    """Notes when networks are at work."""

    def __init__(self, stamps: Stamps):
        self.stamps, self.closed, self.begun = stamps, [], {}

    def watch(self, network: nn.Module) -> list:
        """Begins to watch a network; returns the handles of its hooks."""

        def called(network, given):
            for tensor in gradients_pass(given):
                tensor.register_hook(lambda gradient: self.end(network, "backward"))
            self.begin(network, "forward")

        def answered(network, given, answer):
            self.end(network, "forward")
            for tensor in gradients_pass(answer.values() if isinstance(answer, dict) else answer):
                tensor.register_hook(lambda gradient: self.begin(network, "backward"))

        inner = [p for p in network.parameters() if p.requires_grad]
        learning = [p.register_post_accumulate_grad_hook(lambda p: self.end(network, "backward")) for p in inner]
        if network._compiled_call_impl is not None:  # it would not look at hooks that come later
            return [*learning, Around(network, called, answered)]
        return [*learning, network.register_forward_pre_hook(called), network.register_forward_hook(answered)]

    def begin(self, network: nn.Module, way: str) -> None:
        """Opens an interval."""
        self.begun[network, way] = len(self.closed)
        self.closed.append([self.stamps.take(), None])

    def end(self, network: nn.Module, way: str) -> None:
        """Closes the network's last interval, or moves its end."""
        place = self.begun.get((network, way))
        if place is not None:
            self.closed[place][1] = self.stamps.take()

    def total(self) -> float:
        """Returns the milliseconds of all intervals, and forgets them."""
        found = sum(self.stamps.ms(begin, end) for begin, end in self.closed if end is not None)
        self.closed, self.begun = [], {}
        return found


class Around:
    """Does something before and after each call of a compiled network, until it is removed."""

    def __init__(self, network: nn.Module, before: Callable, after: Callable):
        self.network, self.compiled = network, network._compiled_call_impl

        def call(*given, **named):
            before(network, given)
            answer = self.compiled(*given, **named)
            after(network, given, answer)
            return answer

        network._compiled_call_impl = call

    def remove(self) -> None:
        """Leaves the network as it was."""
        self.network._compiled_call_impl = self.compiled


def gradients_pass(given) -> list[torch.Tensor]:
    """Lists the tensors, of one or several, through which a gradient passes."""
    several = [given] if isinstance(given, torch.Tensor) else given
    return [one for one in several if isinstance(one, torch.Tensor) and one.requires_grad]


def networks() -> list[nn.Module]:
    """Lists all diffusion models, and the two halves of all VAEs, that there are."""
    from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel

    modules = [thing for thing in gc.get_objects() if isinstance(thing, nn.Module)]
    halves = [(vae.encoder, vae.decoder) for vae in modules if isinstance(vae, AutoencoderKL)]
    predicting = [module for module in modules if isinstance(module, UNet2DConditionModel | SD3Transformer2DModel)]
    return [*predicting, *itertools.chain(*halves)]


@contextmanager
def watched(intervals: Intervals) -> Iterator[None]:
    """Watches all networks while it lasts."""
    handles = [handle for network in networks() for handle in intervals.watch(network)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Stepper:
    """A stage of a recipe as it starts, stepped as the trainer does."""

    def __init__(self, name: str, stage: str | None, keys: list[str], first: int):
        run = Run(parse_recipe(load(name, keys), name))
        self.stage = stage or next(iter(run.recipe.stages))
        self.fabric, self.device, self.step = run.fabric, run.fabric.device, first
        system: System = run.validated(self.stage)
        self.system, self.optimizer = self.fabric.setup(system, make_optimizer(system, list(system.parameter_groups())))

    def take(self) -> None:
        """Takes a step."""
        losses = self.system(self.step, generator(self.device, 0, self.stage, self.step)).losses
        self.fabric.backward(torch.stack(list(losses.values())).sum())
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1


def measure(name: str, stage: str | None, keys: list[str], first: int, steps: int, warm_up: int) -> Step:
    """Measures a stage's step number `first` and those that follow. Raises UserError where the recipe cannot run."""
    stepper = Stepper(name, stage, keys, first)
    for _ in range(warm_up):
        stepper.take()
    stamps, whole, own = Stamps(stepper.device), [], []
    intervals = Intervals(stamps)
    with watched(intervals):
        for _ in range(steps):
            begin = stamps.take()
            stepper.take()
            end = stamps.take()
            wait_for(stepper.device)
            whole.append(stamps.ms(begin, end))
            own.append(intervals.total())
    peak = peak_memory_mib(stepper.device) / 1024
    busy, kernels = utilisation(stepper)
    return Step(name, stepper.stage, first, median(whole), median(own), busy, kernels, peak)


def median(values: list[float]) -> float:
    """Returns the middle one."""
    return sorted(values)[len(values) // 2]


def utilisation(stepper: Stepper) -> tuple[float | None, float | None]:
    """Returns the share of the time in which the GPU computes, and the kernels a step; None without a GPU."""
    if stepper.device.type != "cuda":
        return None, None
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    wait_for(stepper.device)
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        begin = time.perf_counter()
        for _ in range(PROFILED):
            stepper.take()
        wait_for(stepper.device)
        seconds = time.perf_counter() - begin
    kernels = [event for event in found.events() if event.device_type == DeviceType.CUDA]
    at_work = sum(event.time_range.elapsed_us() for event in kernels) / 1e6
    return min(at_work / seconds, 1.0), len(kernels) / PROFILED
