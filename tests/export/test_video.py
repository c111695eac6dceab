"""Videos show their frames in order, once around in three seconds, and can be played while they load."""

import imageio.v2 as imageio
import numpy as np
import pytest
from PIL import Image, ImageSequence

from threestudio_like.export.video import durations, write_video


@pytest.fixture(scope="module")
def frames():
    """From red to blue, a white bar moving from left to right."""
    made = []
    for i in range(7):
        frame = np.zeros((32, 48, 3), np.uint8)
        frame[:] = (250 - 40 * i, 30, 40 * i)
        frame[:, 6 * i : 6 * i + 6] = 255
        made.append(frame)
    return made


def boxes(content: bytes) -> list[str]:
    """The names of an MP4's outermost boxes, in order."""
    names, at = [], 0
    while at < len(content):
        names.append(content[at + 4 : at + 8].decode())
        at += int.from_bytes(content[at : at + 4])
    return names


def test_mp4_has_its_index_before_its_pictures(frames, tmp_path):
    write_video(tmp_path / "turntable.mp4", frames)
    names = boxes((tmp_path / "turntable.mp4").read_bytes())
    assert names.index("moov") < names.index("mdat")
    with imageio.get_reader(tmp_path / "turntable.mp4") as video:
        back = [np.asarray(frame) for frame in video]
        assert video.get_meta_data()["duration"] == pytest.approx(3, abs=0.1)
    assert len(back) == 7 and np.abs(back[3].astype(int) - frames[3]).mean() < 12


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_moving_pictures_show_every_frame_and_play_for_ever(frames, tmp_path, kind):
    write_video(tmp_path / f"turntable.{kind}", frames)
    with Image.open(tmp_path / f"turntable.{kind}") as picture:
        assert picture.info["loop"] == 0
        back, shown = [], []
        for frame in ImageSequence.Iterator(picture):
            back.append(np.asarray(frame.convert("RGB")).astype(int))
            shown.append(frame.info["duration"])
    assert sum(shown) == 3000
    assert [np.abs(one - two).mean() < 8 for one, two in zip(back, frames, strict=True)] == [True] * 7


@pytest.mark.parametrize("count", [1, 7, 60, 150])
def test_frames_add_up_to_once_around(count):
    assert len(durations(count)) == count and sum(durations(count)) == 3000


def test_no_frame_is_shorter_than_browsers_show():
    assert min(durations(1000)) == 20
