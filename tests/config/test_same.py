"""What changes the training is found, by its key; what does not may differ."""

import pytest

from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.config.same import retrained_key


@pytest.mark.parametrize(
    "recipe, override, key",
    [
        ("dreamfusion", "evaluation.mesh_resolution=64", None),
        ("dreamfusion", "device=cpu", None),
        ("dreamfusion", "checkpoint_seconds=5", None),
        ("dreamfusion", "out=elsewhere", None),
        ("dreamfusion", "seed=1", "seed"),
        ("dreamfusion", "precision=bf16-mixed", "precision"),
        ("dreamfusion", "prompt=a red dog", "prompt"),
        ("dreamfusion", "guidance.rgb.method.scale=3", "guidance.rgb.method.scale"),
        ("dreamfusion", "guidance.rgb.method.type=csd", "guidance.rgb.method.type"),
        ("dreamfusion", "lr.mlp=0.5", "lr.mlp"),
        ("dreamfusion", "regularizers.opacity={0: 0, 9: 1}", "regularizers.opacity"),
        ("dreamfusion", "cameras.distance=[2.0, 2.7]", "cameras.distance"),
        ("dreamfusion", "steps=7", "steps"),
        ("dreamfusion", "system=prolificdreamer", "system"),
        ("fantasia3d", "stages.coarse.scene.hidden=8", "stages.coarse.scene.hidden"),
        ("geco", "generation.show.formats=[ply]", None),
        ("geco", "targets.count=9", "stages.views.targets.count"),
    ],
)
def test_the_key_that_changes_the_training_is_named(recipe, override, key):
    before, now = (parse_recipe(load(recipe, keys), recipe) for keys in ([], [override]))
    found = retrained_key(before, now)
    assert found == key or (key is not None and found is not None and found.endswith(key.rpartition(".")[2]))
    assert retrained_key(now, now) is None
    assert retrained_key(before, now, steps=False) == (None if key == "steps" else found)
