"""A recipe's stages: which there are, and that null takes one out."""

from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe


def test_a_stage_that_is_null_is_left_out():
    def stages(*keys: str) -> list[str]:
        return list(parse_recipe(load("prolificdreamer.yaml", list(keys)), "prolificdreamer").stages)

    assert stages() == ["nerf", "geometry", "texture"]
    assert stages("stages.texture=null") == ["nerf", "geometry"]
    assert stages("stages.geometry=null", "stages.texture=null", "cameras.size=32") == ["nerf"]
