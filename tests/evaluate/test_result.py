"""What metrics see of a turntable: the colours' row above that of the bare shapes."""

import imageio.v3 as iio
import numpy as np
import torch

from threestudio_like.evaluate.result import Context, Result, as_tensor, read_turntable


class Brightness:
    """A scorer that sees how bright an image is; its caption is brightness itself."""

    def image(self, images):
        return images.mean((1, 2, 3))[:, None]

    def text(self, captions):
        return torch.ones(len(captions), 1)

    def features(self, images):
        return self.image(images)


def test_rows_and_views_are_read_in_their_order(tmp_path):
    strip = np.zeros((4, 16, 3), np.uint8)
    strip[:2] = 10 * np.arange(8).repeat(2)[None, :, None]
    strip[2:] = 200
    iio.imwrite(tmp_path / "turntable.png", strip)
    views = read_turntable(tmp_path)
    assert views[0, :, 0, 0, 0].tolist() == [10 * view for view in range(8)] and (views[1] == 200).all()


def test_colours_are_scored_in_colour_and_shapes_bare():
    views = torch.zeros(2, 8, 3, 2, 2)
    views[0], views[1] = 0.25, 0.75
    result = Result("a", "a dog", 0, {}, False, 1, (views,), Context(("a dog",), Brightness()))
    assert result.color_scores.item() == 0.25 and result.shape_scores.item() == 0.75
    assert result.features[0].flatten().tolist() == [0.25] * 8
    assert as_tensor(np.full((2, 8, 2, 2, 3), 51, np.uint8)).unique().item() == torch.tensor(0.2)
