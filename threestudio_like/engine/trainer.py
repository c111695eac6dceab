"""The only training loop, and the only importer of Fabric (devices, precision, several processes)."""

import logging
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor

from threestudio_like.engine import checkpoint
from threestudio_like.engine.checkpoint import Checkpoint
from threestudio_like.engine.monitor import Monitor
from threestudio_like.engine.muon import MuonAdamW
from threestudio_like.engine.observer import Observer
from threestudio_like.engine.system import ParameterGroup, StepResult, System
from threestudio_like.engine.timing import StepClock
from threestudio_like.errors import NonFiniteError, StoppedError, UserError, brief
from threestudio_like.utils import stopping
from threestudio_like.utils.seeding import generator

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Settings of the loop."""

    seed: int
    """Seed of all random numbers."""
    checkpoint_every: int | None
    """Steps between checkpoints, at most; None, any number."""
    checkpoint_seconds: float
    """Seconds between checkpoints, at most."""
    preview_every: int
    """Steps between preview pictures."""


def make_fabric(device: str, devices: int, precision: Literal["32-true", "bf16-mixed"]) -> Fabric:
    """Sets up Fabric for `auto`, `cpu` or `cuda`. Raises UserError where the device is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda was asked for, but torch finds no CUDA device; use device=cpu or device=auto")
    accelerator = {"auto": "cuda" if torch.cuda.is_available() else "cpu", "cuda": "cuda", "cpu": "cpu"}[device]
    if accelerator == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, where the hardware has it
    # PyTorch before 2.11 would reuse a weight that was cast without a graph, and give it no gradient
    torch.set_autocast_cache_enabled(precision == "32-true")
    # stages train parts of a system, so that some parameters have no gradient; buffers are grids of gigabytes, which
    # every process builds alike, and occupancy grids, which each may know a little differently
    strategy: DDPStrategy | str = "auto"
    if devices > 1:
        strategy = DDPStrategy(find_unused_parameters=True, broadcast_buffers=False, gradient_as_bucket_view=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The `srun` command is available")  # clusters are submitit's business
        return Fabric(accelerator=accelerator, devices=devices, precision=precision, strategy=strategy)


def train(
    system: System,
    name: str,
    path: Path,
    settings: Settings,
    fabric: Fabric,
    monitor: Monitor,
    observer: Observer | None = None,
) -> float:
    """Runs the stage `name` from its checkpoint at `path` (or from step 0) to its end; returns its seconds so far.

    Raises NonFiniteError, and StoppedError after saving.
    """
    steps = system.config.steps
    groups = list(system.parameter_groups())
    optimizer = make_optimizer(system, groups)
    start, seconds_before = 0, 0.0
    if fabric.global_rank == 0:
        checkpoint.mend(path)
    fabric.barrier()
    if path.exists():
        saved = checkpoint.load(path, torch.device("cpu"))  # the GPU may have no room for it twice
        restore(system, optimizer, saved, path)
        start, seconds_before = saved.step, saved.seconds
        del saved  # a second copy of all there is
    if start > steps:
        raise UserError(f"{path}: stage '{name}' has taken {start} steps already, and is to take {steps}")
    if start >= steps:
        if not path.exists() and fabric.global_rank == 0:
            checkpoint.save(path, Checkpoint(start, 0.0, system.state_dict(), optimizer.state_dict()))
        return seconds_before
    model, optimizer = fabric.setup(system, optimizer)
    observer = observer or Observer()
    clock, last_saved = StepClock(), time.monotonic()

    def save(step: int) -> None:
        if fabric.global_rank == 0:
            seconds = seconds_before + clock.seconds()
            saved = Checkpoint(step, seconds, system.state_dict(), optimizer.state_dict())
            check_state(system, saved, name)
            checkpoint.save(path, saved)

    with stopping.patiently(), monitor.stage(name, start, steps), observer.watching(name, system, start):
        for step in range(start, steps):
            for group, described in zip(optimizer.param_groups, groups, strict=True):
                group["lr"] = described.lr(step)
            own = 0 if system.one_batch else fabric.global_rank
            result = model(step, generator(fabric.device, settings.seed, name, step, own))
            loss = torch.stack(list(result.losses.values())).sum()
            fabric.backward(loss)
            check_losses(result, name, step, fabric)  # not before: it waits for the device, which may be behind
            if fabric.world_size > 1:
                loss, result.losses = fabric.all_reduce(
                    (loss.detach(), {k: v.detach() for k, v in result.losses.items()})
                )
            gradient_norm = check_gradients(system, name, step, system.config.optimizer.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            system.after_step(step)
            check_parameters(system, name, step)
            done = step + 1
            clock.tick()
            monitor.step(done, loss, result, gradient_norm)
            if settings.preview_every and (done % settings.preview_every == 0 or done == steps):
                monitor.picture(done, system.preview())
            with clock.halted():
                observer.step(done, result)
            overdue = time.monotonic() - last_saved > settings.checkpoint_seconds
            to_stop = anywhere(fabric, stopping.requested() or observer.asks_to_stop())
            due = settings.checkpoint_every is not None and done % settings.checkpoint_every == 0
            if done == steps or due or overdue or to_stop:
                save(done)
                last_saved = time.monotonic()
            if to_stop:
                fabric.barrier()  # a process that ends takes the others with it, which may be saving
                raise StoppedError(f"stage '{name}' stopped after step {done} of {steps}")
    return seconds_before + clock.seconds()


def make_optimizer(system: System, groups: list[ParameterGroup]) -> torch.optim.Optimizer:
    """Builds AdamW over the parameter groups, and Muon over those that ask for it."""
    config = system.config.optimizer
    described = [dict(params=group.parameters, lr=group.lr(0), weight_decay=group.weight_decay) for group in groups]
    described = described or [dict(params=[])]  # of a system that learns nothing; an optimiser needs a group
    if not any(group.muon for group in groups):
        return torch.optim.AdamW(described, betas=config.betas, eps=config.eps, fused=True)
    described = [one | {"muon": group.muon} for one, group in zip(described, groups, strict=True)]
    return MuonAdamW(described, betas=config.betas, eps=config.eps, fused=True)


def restore(system: System, optimizer: torch.optim.Optimizer, saved: Checkpoint, path: Path) -> None:
    """Loads a checkpoint's system and optimiser. Raises UserError where they do not fit."""
    take_over(system, saved, path)
    recipes = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(saved.optimizer)
        check_moments(optimizer)
    except Exception as error:  # the optimiser trusts what it is given
        raise misfit(path, error) from None
    for group, settings in zip(optimizer.param_groups, recipes, strict=True):
        group.update(settings)


def check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Raises ValueError where a parameter's moments are not what its optimizer goes on from."""
    for group in optimizer.param_groups:
        needed = {"step", "momentum"} if group.get("muon") else {"step", "exp_avg", "exp_avg_sq"}
        for parameter in group["params"]:
            state = optimizer.state.get(parameter) or {}
            if state and state.keys() != needed:
                raise ValueError(f"the optimizer's state has {sorted(state)}, not {sorted(needed)}")
            for name, value in state.items():
                shape = () if name == "step" else parameter.shape
                if not isinstance(value, torch.Tensor) or value.shape != shape:
                    raise ValueError(f"the optimizer's {name} is not a tensor of the shape {list(shape)}")


def take_over(system: System, saved: Checkpoint, path: Path) -> None:
    """Loads the system's state from a checkpoint that was read from `path`. Raises UserError where it does not fit."""
    try:
        system.load_state_dict(saved.system)
        check_state(system, saved, path.stem)
    except Exception as error:  # a part that reads its own state may raise anything
        raise misfit(path, error) from None


def misfit(path: Path, error: Exception) -> UserError:
    """Returns the error of a checkpoint that does not fit the recipe."""
    return UserError(f"{path}: does not fit this recipe ({brief(error)})")


def anywhere(fabric: Fabric, here: bool) -> bool:
    """Tells whether it is so in any of the processes, which all must ask."""
    if fabric.world_size == 1:
        return here
    asked: Any = fabric.all_reduce(torch.tensor(float(here), device=fabric.device), reduce_op="sum")
    return bool(asked > 0)


def check_losses(result: StepResult, stage: str, step: int, fabric: Fabric) -> None:
    """Raises NonFiniteError that names the step's loss which is not finite, in all processes."""
    finite = torch.isfinite(torch.stack([loss.detach() for loss in result.losses.values()])).tolist()
    bad = next((name for name, good in zip(result.losses, finite, strict=True) if not good), None)
    if anywhere(fabric, bad is not None):
        told = (
            "a loss of another process is not finite"
            if bad is None
            else f"the loss '{bad}' is {result.losses[bad].item()}"
        )
        raise NonFiniteError(f"stage '{stage}', step {step}: {told}")


def check_gradients(system: System, stage: str, step: int, clip_norm: float | None) -> Tensor:
    """Returns the gradient's global norm, and clips it. Raises NonFiniteError that names the parameter."""
    trained = [(name, p, p.grad) for name, p in system.named_parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([grad for _, _, grad in trained])
    if not torch.isfinite(norm):
        bad = next((name for name, _, grad in trained if not torch.isfinite(grad).all()), "all together")
        raise NonFiniteError(f"stage '{stage}', step {step}: the gradient of '{bad}' is not finite")
    if clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_([p for _, p, _ in trained], clip_norm, norm)
    return norm


def check_parameters(system: System, stage: str, step: int) -> None:
    """Raises NonFiniteError that names the parameter which the optimiser's step made infinite or not a number."""
    trained = {name: parameter.detach() for name, parameter in system.named_parameters() if parameter.requires_grad}
    if trained and not torch.isfinite(torch.nn.utils.get_total_norm(trained.values())):
        bad = next((name for name, parameter in trained.items() if not torch.isfinite(parameter).all()), None)
        if bad is not None:  # else their squares alone are beyond what a number holds
            raise NonFiniteError(f"stage '{stage}', step {step}: the parameter '{bad}' is not finite")


def check_state(system: System, saved: Checkpoint, stage: str) -> None:
    """Raises NonFiniteError for what must not be saved: a parameter that is not finite, a buffer with a NaN.

    A buffer may hold an infinity that is meant: the extent of nothing, a density that is not known yet. So may not the
    optimiser's moments.
    """
    parameters = {name for name, _ in system.named_parameters()}
    named = {name: (value, name in parameters) for name, value in saved.system.items()}
    for index, moments in saved.optimizer["state"].items():
        named |= {f"the optimiser's {key} of parameter {index}": (value, True) for key, value in moments.items()}
    for name, (value, finite) in named.items():
        if isinstance(value, Tensor) and not (torch.isfinite(value).all() if finite else not value.isnan().any()):
            raise NonFiniteError(f"stage '{stage}', step {saved.step - 1}: '{name}' is not finite")
