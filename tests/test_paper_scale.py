"""The recipes for large models: what they would write to the disk, reckoned from published sizes."""

import pytest

from benchmarks.memory import with_presets
from threestudio_like.config.loading import CONFIGS, load
from threestudio_like.config.recipe import parse_recipe

UNET = 0.87e9
"""Parameters of the U-Net of Stable Diffusion 2.1, and so of Zero123++."""
RECONSTRUCTOR = 0.4e9
"""Parameters of a reconstructor of InstantMesh's large size."""
ADAM, AVERAGED = 3, 4
"""Numbers kept a parameter: itself and Adam's moments, and a moving average."""
GIGABYTES_AN_HOUR = 50


def scene_parameters(config):
    """Counts a scene's, at most: its hash grids' entries and, of a mesh, its vertices' distances and places."""
    scene = config.scene.config
    table = scene.encoding.n_levels * scene.encoding.n_features_per_level << scene.encoding.log2_hashmap_size
    return 2 * table + (4 * 2 * scene.resolution**3 if hasattr(scene, "resolution") else 0)


def checkpoint_bytes(config):
    """Reckons what a checkpoint of a stage takes."""
    numbers = {
        "GecoViewsConfig": 2 * ADAM * UNET,
        "GecoSceneConfig": UNET + ADAM * RECONSTRUCTOR,
        "GeometricTrainingConfig": AVERAGED * UNET,
        "ReconstructorTrainingConfig": AVERAGED * RECONSTRUCTOR,
    }
    known = numbers.get(type(config).__name__)
    return 4 * (ADAM * scene_parameters(config) if known is None else known)


@pytest.mark.parametrize("name", with_presets())
def test_checkpoints_take_a_bounded_part_of_the_disk(name):
    """At most so many gigabytes an hour, however fast the steps are: only the seconds between checkpoints count."""
    recipe = parse_recipe(load(name), name)
    largest = max(checkpoint_bytes(stage.config) for stage in recipe.stages.values())
    assert recipe.run.checkpoint_every is None
    assert largest / 1e9 * 3600 / recipe.run.checkpoint_seconds < GIGABYTES_AN_HOUR


def test_the_key_that_prolificdreamer_names_changes_what_its_fake_scores_predict():
    """Of both stages that have one."""
    key = "vars.fake_score.prediction=v_prediction"
    assert f"`{key}`" in (CONFIGS / "prolificdreamer-sd.yaml").read_text()
    for told, expected in (([], None), ([key], "v_prediction")):
        stages = parse_recipe(load("prolificdreamer-sd", told), "mine").stages
        methods = [stages[name].config.guidance["rgb"].method.config for name in ("nerf", "texture")]
        assert [method.fake_score.config.prediction for method in methods] == [expected] * 2
