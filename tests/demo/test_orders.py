"""What a visitor may ask for, and the sentence for what cannot be made."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.tiny import picture
from threestudio_like.demo import orders
from threestudio_like.demo.methods import METHODS
from threestudio_like.demo.orders import Order, cut_out
from threestudio_like.errors import UserError

GECO, DREAMFUSION = METHODS[:2]


def text(prompt: str, **more) -> Order:
    return Order(DREAMFUSION, prompt, **more)


def test_what_can_be_made_is_taken(tmp_path):
    text("a red chair").check()
    text("<script>alert(1)</script> ${vars.x}").check()
    Order(GECO, image=picture(tmp_path / "box.png")).check()


@pytest.mark.parametrize(
    "order, says",
    [
        (text(""), "there is nothing to make a mesh of"),
        (text(" \n"), "there is nothing to make a mesh of"),
        (text("a" * 100_000), "the prompt has 100000 letters; 300 are the most"),
        (text("a chair", seed=-1), "the seed must be"),
        (text("a chair", seed=2**63), "the seed must be"),
        (text("a chair", share=0.01), "the share of the recipe's steps must be from 40% to 100%"),
        (text("a chair", share=100.0), "from 40% to 100%"),
        (text("a chair", share=float("nan")), "from 40% to 100%"),
        (Order(GECO), "there is nothing to make a mesh of"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_made_is_a_sentence(order, says):
    with pytest.raises(UserError, match=says):
        order.check()


def truncated(tmp_path):
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)).save(whole, "PNG")
    return whole.getvalue()[:5000]


def far_too_many_pixels(tmp_path):
    """The beginning of a PNG that says so: 400 megapixels, and none of them there."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">II5B", 20_000, 20_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", bytes(16))


@pytest.mark.parametrize(
    "content, says",
    [
        (truncated, "the image is damaged"),
        (far_too_many_pixels, "the image is too large; 80 megapixels can be read"),
        (lambda folder: b"<svg onload=alert(1)></svg>", "this is not an image"),
        (lambda folder: b"", "this is not an image"),
        (lambda folder: b"GIF89a", "image"),
    ],
    ids=["truncated", "huge", "svg", "empty", "stump"],
)
def test_what_is_no_picture_is_a_sentence_that_names_the_file_alone(tmp_path, content, says):
    path = tmp_path / "a.png"
    path.write_bytes(content(tmp_path))
    with pytest.raises(UserError, match=says) as told:
        Order(GECO, image=path).check()
    assert str(told.value).startswith("a.png: ") and str(tmp_path) not in str(told.value)


def test_a_file_is_not_read_beyond_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(orders, "MEGABYTES", 1)
    path = picture(tmp_path / "box.png")
    with open(path, "ab") as file:
        file.truncate(3_000_000)
    with pytest.raises(UserError, match=r"box\.png: the file has 3 MB; 1 are the most"):
        cut_out(path)


def test_the_cut_out_is_the_object_on_white(tmp_path):
    found = cut_out(picture(tmp_path / "box.png", (200, 40, 40)))
    size = orders.SHOWN
    assert found.shape == (size, size, 3)
    assert (found[:5] == 255).all() and abs(found[size // 2, size // 2].astype(int) - (200, 40, 40)).max() <= 2
    share = (found[size // 2] < 250).any(-1).mean()
    assert share == pytest.approx(0.7, abs=0.05)


def test_the_recipe_of_an_order_has_its_prompt_to_the_letter(tmp_path):
    made = text("a ${red} \\ <b>", share=0.2, seed=3).recipe(tmp_path / "run")
    assert (made.run.prompt, made.run.seed, made.run.out) == ("a ${red} \\ <b>", 3, str(tmp_path / "run"))
    assert made.stages["main"].config.steps == 60
    config = Order(GECO, image=tmp_path / "box.png").recipe(tmp_path / "run")
    assert config.run.prompt == "" and config.name == "geco"


def test_a_folder_is_named_by_what_is_made():
    assert text("A red <script>!").name == "a-red-script-dreamfusion"
    assert text("..").name == "dreamfusion" and "/" not in text("../../etc").name
