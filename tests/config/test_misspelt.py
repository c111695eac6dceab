"""Keys and types that are checked by the source alone; what the source does not tell is left to the parser."""

from dataclasses import dataclass

import pytest

import threestudio_like.engine.system as aliased
from threestudio_like.config.misspelt import UnknownKeyError, refuse_misspelt
from threestudio_like.config.registry import register
from threestudio_like.engine import system as engine_system
from threestudio_like.errors import UserError


@register("system", "misspelt_for_tests")
class Derived:
    """A system whose Config's base is named by another module's attribute, which the source tells too."""

    @dataclass
    class Config(engine_system.SystemConfig):
        own: int = 1


def test_a_base_that_another_module_names_is_followed():
    refuse_misspelt("system", {"type": "misspelt_for_tests", "own": 2, "steps": 3}, "")
    with pytest.raises(UserError, match="unknown key 'onw'; did you mean 'own'"):
        refuse_misspelt("system", {"type": "misspelt_for_tests", "onw": 2}, "")


def test_a_suggestion_is_a_plain_one_whatever_its_words():
    error = UnknownKeyError("", "weihgt now", ["weight now"])
    assert " now" in str(error) and error.plain
    assert not UnknownKeyError("", "penalties", ["weight"]).plain


@register("system", "aliased_for_tests")
class Aliased:
    """A system whose Config's base is not followed: its module has another name here."""

    @dataclass
    class Config(aliased.SystemConfig):
        own: int = 1


def test_fields_that_the_source_does_not_tell_are_left_to_the_parser():
    @register("scene", "made_at_run_time_for_tests")
    class Made:
        @dataclass
        class Config:
            own: int = 1

    refuse_misspelt("system", {"type": "aliased_for_tests", "onw": 2}, "")
    refuse_misspelt("scene", {"type": "made_at_run_time_for_tests", "onw": 2}, "")


@pytest.mark.parametrize(
    "key, value, says",
    [
        ("scene", {"type": "field", "encoding": {"n_levles": 3}}, "scene.encoding: unknown key 'n_levles'"),
        ("scene", {"type": "feild"}, "scene.type: unknown scene 'feild'; did you mean 'field'"),
        ("guidance", {"rgb": {"chanel": "rgb"}}, "guidance.rgb: unknown key 'chanel'; did you mean 'channel'"),
        ("guidance", {"rgb": {"method": {"typ": "sds"}}}, "guidance.rgb.method: expected a block with `type:`"),
    ],
)
def test_mistakes_are_found_however_deep(key, value, says):
    with pytest.raises(UserError, match=says):
        refuse_misspelt("system", {"type": "dreamfusion", key: value}, "")


@pytest.mark.parametrize(
    "node, says",
    [
        ({"type": {"geometry": {"isosurface_threshold": 10}}}, "system: expected a name.*as `geometry=`"),
        ({"type": ["dreamfusion"]}, "system: expected a name, got"),
        ({"type": "dreamfusion", "scene": None}, r"scene: expected a block with `type:`; scene types: .*\bfield\b"),
        ({"type": "dreamfusion", "scene": ["field"]}, "scene: expected a name, got"),
        ({"type": "dreamfusion", "scene": {"type": ["field"]}}, "scene.type: expected a name, got"),
        ({"type": "dreamfusion", "guidance": 5}, "guidance: expected a map, got 5"),
        ({"type": "dreamfusion", "guidance": {"rgb": 5}}, "guidance.rgb: expected a block, got 5"),
        ({"type": "dreamfusion", "evaluation": "all"}, "evaluation: expected a block, got 'all'"),
    ],
)
def test_a_block_for_a_name_and_a_name_for_a_block_are_told(node, says):
    with pytest.raises(UserError, match=says):
        refuse_misspelt("system", node, "")


@pytest.mark.parametrize(
    "node, says",
    [
        ({"type": "geco_scene", "evaluation": {"formats": ["obj"]}}, "'generation.show.formats'"),
        ({"type": "geco_scene", "formats": ["obj"]}, "'generation.show.formats'"),
        ({"type": "dreamfusion", "formats": ["obj"]}, "'evaluation.formats'"),
        (
            {"type": "dreamfusion", "guidance": {"rgb": {"method": {"type": "sds"}}}, "scale": 5},
            "'guidance.rgb.method.scale'",
        ),
    ],
)
def test_a_key_of_another_block_is_named_by_its_path(node, says):
    with pytest.raises(UserError, match=f"unknown key.*; it is a key of another block: {says}"):
        refuse_misspelt("system", node, "")
