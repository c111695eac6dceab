"""The loss of per-scene distillation on a scene of one number: weights, schedules, particles, what is optimised."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from systems.particle import Particle
from systems.per_scene import PerScene
from tests.systems.parts import CAMERAS, CPU, Blank, Empty
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.config.registry import Component, register
from threestudio_like.engine import parts
from threestudio_like.engine.run import Run
from threestudio_like.errors import UserError
from threestudio_like.renderers.volume import VolumeRenderer
from threestudio_like.scenes.background import Solid

SCHEDULE = {"ramp": {0: 2.0, 10: 4.0}}


def term(weight=1.0, channel="rgb"):
    of = {"method": {"type": "pull_for_tests"}, "prompt": {"text": "a dot"}, "backbone": {"type": "blank_for_tests"}}
    return of | {"channel": channel, "weight": weight}


def per_scene(guidance=None, lr=None, **fields):
    parts = {"scene": {"type": "dot_for_tests"}, "renderer": {"type": "glimpse_for_tests"}, "cameras": CAMERAS}
    fields |= {"lr": lr or {"level": 0.01, "shade": 0.02}, "guidance": guidance or {"look": term()}}
    return PerScene(CPU, steps=10, **parts, **fields)


def losses(system, step):
    return {name: round(loss.item(), 5) for name, loss in system(step, torch.Generator()).losses.items()}


def test_the_loss_is_the_weighted_sum_of_the_terms_and_regularizers():
    """The level of 0.5 is shown as a colour of 0.25 and an opacity of 0.5; half way a schedule from 2 to 4 is 3."""
    guidance = {"look": term(SCHEDULE), "mask": term(10.0, "opacity")}
    system = per_scene(guidance, regularizers={"sparsity": SCHEDULE})
    priors = {"look/fake_score": 9.0, "mask/fake_score": 9.0}
    assert losses(system, 0) == {"look": 2 * 0.25, "mask": 10 * 0.5, "sparsity": 2 * 0.5} | priors
    assert losses(system, 5) == {"look": 3 * 0.25, "mask": 10 * 0.5, "sparsity": 3 * 0.5} | priors


def test_all_prompts_are_embedded_before_the_first_network_is_loaded(monkeypatch):
    """A large text encoder may find no room beside one."""
    order, load, embedded = [], Blank.__init__, Blank.embedded

    def loading(blank, *given, **named):
        order.append("network")
        load(blank, *given, **named)

    monkeypatch.setattr(Blank, "__init__", loading)
    monkeypatch.setattr(Blank, "embedded", lambda *given: order.append("texts") or embedded(*given))
    per_scene({"look": term(), "mask": term(10.0, "opacity")})
    assert order == ["texts", "texts", "network"]


def test_what_a_stage_starts_from_has_no_priors():
    earlier, later = per_scene(particles=2), per_scene(particles=2)
    earlier.particles[1].scene.level.data.fill_(0.75)
    bare = PerScene.to_start_from(replace(CPU, priors=False), earlier.config)
    assert not bare.terms and set(bare.state_dict()) < set(earlier.state_dict())
    bare.load_state_dict({name: tensor for name, tensor in earlier.state_dict().items() if name in bare.state_dict()})
    later.start_from(bare)
    assert [particle.scene.level.item() for particle in later.particles] == [0.5, 0.75]


def test_of_three_steps_the_last_moves_the_scene_and_all_train_the_guidance():
    system = per_scene(update_every=3, regularizers={"sparsity": 1.0})
    of = [losses(system, step) for step in range(6)]
    assert (
        of
        == [{"look/fake_score": 9.0}, {"look/fake_score": 9.0}, {"look": 0.25, "look/fake_score": 9.0, "sparsity": 0.5}]
        * 2
    )


@pytest.mark.parametrize("update_every", [1, 2])
def test_every_particle_is_seen_and_moved_in_its_turn(update_every):
    """Particle i has the level i; the loss of a step that moves one is half its level."""
    system = per_scene(update_every=update_every, particles=2)
    system.particles[1].scene.level.data.fill_(1.0)
    moved = [losses(system, step).get("look") for step in range(2 * update_every)]
    assert sorted(loss for loss in moved if loss is not None) == [0.25, 0.5]
    seen = [images.mean().item() for images in system.terms["look"].guidance.seen]
    assert seen.count(0.25) == seen.count(0.5) == update_every


def test_all_particles_are_optimised_each_group_at_its_own_rate_and_the_guidance_too():
    system = per_scene(particles=2)
    groups = {group.name: group for group in system.parameter_groups()}
    scenes = [particle.scene for particle in system.particles]
    assert {name: group.lr(0) for name, group in groups.items()} == {"level": 0.01, "shade": 0.02, "look/own": 0.25}
    for name in ("level", "shade"):
        assert {id(p) for p in groups[name].parameters} == {id(getattr(scene, name)) for scene in scenes}
    assert groups["look/own"].parameters[0] is system.terms["look"].guidance.own
    assert groups["look/own"].weight_decay == 0.5


def test_every_scenes_own_schedules_are_at_the_step():
    system = per_scene(particles=2)
    for step in range(4):
        system(step, torch.Generator())
    assert [particle.scene.turns for particle in system.particles] == [[0, 1, 2, 3]] * 2


def test_figures_of_particles_are_averaged():
    system = per_scene(particles=2)
    found = iter([{"a": 1.0, "b": 2.0}, {"a": 4.0}])
    assert system.for_each_particle(Path("here"), lambda particle, place: next(found)) == {"a": 2.5, "b": 2.0}


def test_every_particle_starts_from_its_own():
    earlier, later = per_scene(particles=2), per_scene(particles=2)
    earlier.particles[1].scene.level.data.fill_(0.75)
    later.start_from(earlier)
    assert [particle.scene.level.item() for particle in later.particles] == [0.5, 0.75]


class Still:
    """A volume that nobody can train."""

    Config, background, device = Empty, Solid(), torch.device("cpu")

    def __init__(self, config=None):
        self.material = self.mesh = self.density = self.at = lambda *given: None


def test_a_scene_that_cannot_be_trained_is_a_sentence():
    register("scene", "still_for_tests")(Still)
    scene = Component("scene", "still_for_tests", Empty())
    with pytest.raises(UserError, match="a 'still_for_tests' cannot be trained; derive its class from TrainableScene"):
        Particle(scene, Component("renderer", "volume", VolumeRenderer.Config()))


def test_what_a_guidance_cannot_save_does_not_cost_the_mesh(tmp_path, monkeypatch):
    system = per_scene()
    monkeypatch.setattr(system.terms["look"].guidance, "save", lambda folder: 1 / 0)
    monkeypatch.setattr(system, "for_each_particle", lambda folder, leave: {"mesh_faces": 12.0})
    with parts.collected() as left_out:
        assert system.export(tmp_path) == {"mesh_faces": 12.0}
    assert list(left_out) == ["guidance.look"]


@pytest.mark.parametrize("method, exports", [("pull_for_tests", True), ("sds", False)])
def test_a_result_is_looked_at_without_priors_and_exported_with_those_that_learned(
    tmp_path, monkeypatch, method, exports
):
    built = {"scene": {"type": "dot_for_tests"}, "renderer": {"type": "glimpse_for_tests"}, "cameras": CAMERAS}
    plain = {"system": "dreamfusion", "steps": 0, "device": "cpu", "out": str(tmp_path / "run"), "prompt": "a dot"}
    plain |= built | {"lr": {"level": 0.01, "shade": 0.02}, "evaluation": {"scorer": None}}
    run = Run(parse_recipe(plain | {"guidance": {"look": term() | {"method": {"type": method}}}}, "dot"))
    seen = []
    monkeypatch.setattr(Run, "_end", lambda self, system, export, evaluate: seen.append(len(system.terms)))
    run.start(False)
    run.train()
    run.test(None, export_only=False)
    run.test(None, export_only=True)
    assert seen == [1, 0, int(exports)] and not run.system.terms and run.scene is not None
