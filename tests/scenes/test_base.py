"""Scenes are known by what can be asked of them, and a renderer that cannot draw one says which could."""

import pytest
import torch

from tests.renderers.test_mesh import tetmesh
from tests.renderers.test_volume import small_field
from tests.scenes.test_triplane import ball
from threestudio_like.errors import UserError
from threestudio_like.renderers.base import check_scene
from threestudio_like.renderers.mesh import MeshRenderer
from threestudio_like.renderers.volume import VolumeRenderer
from threestudio_like.scenes.base import HashGridColors, Scene, SurfaceScene, VolumeScene

VOLUME, MESH = VolumeRenderer(VolumeRenderer.Config()), MeshRenderer(MeshRenderer.Config())


@pytest.mark.parametrize(
    "kind, protocols",
    [
        (small_field, {Scene, VolumeScene, HashGridColors}),
        (lambda: VOLUME.visible(small_field()), {Scene, VolumeScene, HashGridColors}),
        (tetmesh, {Scene, SurfaceScene, HashGridColors}),
        (lambda: tetmesh("flexicubes"), {Scene, SurfaceScene, HashGridColors}),
        (ball, {Scene, VolumeScene, SurfaceScene}),
    ],
)
def test_a_scenes_protocols(kind, protocols):
    scene = kind()
    assert {one for one in (Scene, VolumeScene, SurfaceScene, HashGridColors) if isinstance(scene, one)} == protocols


def test_a_scene_that_cannot_be_drawn_is_a_sentence():
    check_scene(VOLUME, small_field())
    check_scene(MESH, tetmesh())
    with pytest.raises(UserError, match=r"^renderer: 'mesh' draws a mesh, and a 'field' has none; use type: volume$"):
        check_scene(MESH, small_field())
    with pytest.raises(
        UserError, match=r"^renderer: 'volume' draws a volume, and a 'tetmesh' has none; use type: mesh$"
    ):
        check_scene(VOLUME, tetmesh())


@pytest.mark.usefixtures("unchecked")
def test_a_field_starts_from_a_field_only():
    torch.manual_seed(1)
    other = small_field()
    with torch.no_grad():
        other.net.head.weight.add_(1.0)
    field = small_field()
    field.start_from(VOLUME.visible(other))
    assert torch.equal(field.net.head.weight, other.net.head.weight)
    with pytest.raises(UserError, match="a field can start from a field only, not from a TetMesh"):
        field.start_from(tetmesh())
    with pytest.raises(UserError, match="a mesh scene cannot start from a Triplane"):
        tetmesh().start_from(ball())
