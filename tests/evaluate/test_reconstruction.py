"""The unseen sides of a reconstruction are those that the image shows nothing of."""

from threestudio_like.cameras import RIG_AZIMUTHS_DEG
from threestudio_like.evaluate.reconstruction import UNSEEN


def test_the_unseen_sides_lie_opposite_the_image():
    assert RIG_AZIMUTHS_DEG[UNSEEN] == (150.0, 210.0)
