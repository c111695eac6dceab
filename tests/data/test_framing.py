"""A batch is framed as a user's image is."""

import numpy as np
import pytest
import torch
from PIL import Image

from threestudio_like.config.registry import parse
from threestudio_like.data.framing import Framing, reframe
from threestudio_like.data.images import ImageLoading, load_image
from threestudio_like.errors import UserError


def generator():
    return torch.Generator().manual_seed(0)


def shapes() -> torch.Tensor:
    """Soft blobs off the middle, of several sizes."""
    x = (torch.arange(64) + 0.5) / 32 - 1
    images = []
    for size, right, down in ((0.3, 0.2, -0.3), (0.5, -0.2, 0.1), (0.25, 0.4, 0.4)):
        inside = (size - ((x[None] - right) ** 2 / 1.5 + (x[:, None] - down) ** 2).sqrt()).mul(16).add(0.5).clamp(0, 1)
        color = torch.stack([0.2 + 0 * inside, 0.5 + 0.2 * x.expand(64, 64), 0.3 + 0 * inside])
        images.append(1 - inside * (1 - color))
    return torch.stack(images)


@pytest.mark.parametrize("fill", [0.5, 0.7])
def test_it_frames_as_images_of_users_are_framed(tmp_path, fill):
    """Files are cut out of opaque white there: their soft rims may fall on either side of the box."""
    framed = reframe(shapes(), torch.full((3,), fill))
    for image, got in zip(shapes(), framed, strict=True):
        Image.fromarray((image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)).save(tmp_path / "toy.png")
        loaded = load_image(tmp_path / "toy.png", 64, ImageLoading(fill=fill))
        assert (loaded - got).abs().mean() < 0.02
        assert (loaded - image).abs().mean() > 0.04


def test_the_object_is_in_the_middle_and_as_large_as_asked():
    solid = (reframe(shapes(), torch.tensor([0.5, 0.6, 0.75])) < 0.99).any(1)
    for one, fill in zip(solid, (0.5, 0.6, 0.75), strict=True):
        rows, columns = one.any(1).nonzero()[:, 0], one.any(0).nonzero()[:, 0]
        longest = max(len(rows), len(columns))
        assert abs(longest - 64 * fill) <= 3
        assert abs(rows.float().mean() - 31.5) <= 1 and abs(columns.float().mean() - 31.5) <= 1


def test_what_is_not_framed_stays():
    images = torch.cat([shapes(), torch.ones(1, 3, 64, 64)])
    fill = torch.tensor([torch.nan, 0.7, torch.nan, 0.7])
    framed = reframe(images, fill)
    assert torch.equal(framed[[0, 2, 3]], images[[0, 2, 3]]) and not torch.equal(framed[1], images[1])


def test_shares_and_sizes():
    fill = Framing(share=0.25, fill=(0.6, 0.8)).draw(4000, generator())
    assert abs(fill.isnan().float().mean() - 0.75) < 0.03
    kept = fill[~fill.isnan()]
    assert 0.6 <= kept.min() < 0.61 and 0.79 < kept.max() <= 0.8
    assert Framing(share=0.0).draw(8, generator()).isnan().all()
    for wrong in ({"share": 1.5}, {"fill": (0.8, 0.6)}, {"fill": (0.0, 0.5)}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            parse(Framing, wrong, "")
