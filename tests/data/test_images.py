"""A user's image: the object alone, centred and as large as in training, whatever the file; or a sentence why not."""

import os
import struct
import sys
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from threestudio_like.config.registry import parse
from threestudio_like.data import image_files as image_files_module
from threestudio_like.data.image_files import image_files, read
from threestudio_like.data.images import ImageLoading, load_image
from threestudio_like.errors import UserError

RED, WHITE, GREY = (200, 30, 40), (255, 255, 255), (90, 120, 110)


def picture(size=(120, 80), box=(10, 20, 50, 40), back=WHITE, front=RED, mode="RGB"):
    image = Image.new(mode, size, back)
    image.paste(front, box)
    return image


def cut_out(size):
    """A red square in the middle of a clear image."""
    return picture((50, 50), (20, 20, 20 + size, 20 + size), back=(0, 0, 0, 0), front=(*RED, 255), mode="RGBA")


def red_box(image: torch.Tensor) -> tuple[int, int, int, int]:
    """The red pixels' columns and rows."""
    red = (image[0] > 0.6) & (image[1] < 0.3)
    rows, columns = red.any(1).nonzero()[:, 0], red.any(0).nonzero()[:, 0]
    return columns[0].item(), columns[-1].item() + 1, rows[0].item(), rows[-1].item() + 1


def check_object(image, fill=0.7, size=64, within=2):
    """Twice as wide as high, centred, as large as it should be, red on white."""
    left, right, top, bottom = red_box(image)
    assert image.shape == (3, size, size) and image.min() >= 0 and image.max() <= 1
    assert right - left == pytest.approx(fill * size, abs=within)
    assert bottom - top == pytest.approx(fill * size / 2, abs=within)
    assert (left + right) / 2 == pytest.approx(size / 2, abs=1) and (top + bottom) / 2 == pytest.approx(size / 2, abs=1)
    assert torch.allclose(image[:, 0, 0], torch.ones(3)) and torch.allclose(
        image[:, size // 2, size // 2], torch.tensor(RED) / 255, atol=0.02
    )


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.bmp", "a.gif", "a.tiff"])
@pytest.mark.parametrize("back", [WHITE, GREY])
def test_a_plain_background_is_keyed_out(tmp_path, name, back):
    picture(back=back).save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    check_object(load_image(tmp_path / name, 64))


def test_dust_on_a_plain_background_is_not_the_objects(tmp_path):
    image = picture()
    for spot in ((100, 70), (3, 3), (60, 75), (115, 10)):
        image.putpixel(spot, (20, 200, 60))
    image.save(tmp_path / "a.png")
    picture().save(tmp_path / "b.png")
    assert torch.equal(load_image(tmp_path / "a.png", 64), load_image(tmp_path / "b.png", 64))


def test_the_grain_of_a_plain_background_is_not_the_objects(tmp_path):
    """All of the frame's grain would be in the frame, and the object small."""
    color = np.asarray(picture().convert("RGB")) * 0.85 / 255
    noise = np.random.default_rng(0).normal(0, 0.02, color.shape)
    Image.fromarray(((color + noise).clip(0, 1) * 255).astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray((color * 255).astype(np.uint8)).save(tmp_path / "b.png")
    grainy, clean = (load_image(tmp_path / name, 64) for name in ("a.png", "b.png"))
    assert torch.equal(grainy[:, :4], torch.ones(3, 4, 64)) and (grainy - clean).abs().mean() < 0.02


def test_jpeg_and_cmyk_work(tmp_path):
    picture().save(tmp_path / "a.jpg", quality=95)
    check_object(load_image(tmp_path / "a.jpg", 64), within=5)
    picture().convert("CMYK").save(tmp_path / "b.jpg", quality=95)
    check_object(load_image(tmp_path / "b.jpg", 64), within=5)


def test_alpha_wins_over_what_clear_pixels_hide(tmp_path):
    image = picture(back=(0, 255, 0, 0), front=(*RED, 255), mode="RGBA")
    image.save(tmp_path / "a.png")
    check_object(load_image(tmp_path / "a.png", 64))
    check_object(load_image(tmp_path / "a.png", 64, ImageLoading("alpha", 0.5)), fill=0.5)
    palette = image.quantize(8)
    palette.save(tmp_path / "b.png")
    assert palette.mode == "P"
    check_object(load_image(tmp_path / "b.png", 64))


def test_what_is_enclosed_stays(tmp_path):
    image = picture(size=(100, 100), box=(20, 20, 80, 80))
    image.paste(WHITE, (40, 40, 60, 60))
    image.paste(GREY, (45, 45, 55, 55))
    image.save(tmp_path / "a.png")
    found = load_image(tmp_path / "a.png", 64)
    assert torch.allclose(found[:, 32, 32], torch.tensor(GREY) / 255, atol=0.02)


@pytest.mark.parametrize("back", [(0, 0, 0), GREY, WHITE])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_the_background_is_seen_through_a_hole(tmp_path, back, name):
    """A ring with an eye of the background's colour: the middle is white, and the eye stays as it is."""
    image = Image.new("RGB", (200, 200), back)
    draw = ImageDraw.Draw(image)
    for box, color in (((30, 30, 170, 170), RED), ((70, 70, 130, 130), back), ((45, 96, 53, 104), back)):
        draw.ellipse(box, fill=color)
    image.save(tmp_path / name, **({"quality": 95} if name == "a.jpg" else {}))
    found = load_image(tmp_path / name, 200)
    assert torch.allclose(found[:, 90:110, 90:110], torch.ones(3, 1, 1), atol=0.02)
    assert torch.allclose(found[:, 100, 49], torch.tensor(back) / 255, atol=0.15)


@pytest.mark.parametrize("width", [14, 50, 140])
def test_an_object_may_touch_the_frame_where_the_rest_is_of_one_colour(tmp_path, width):
    image = picture((200, 200), (100 - width // 2, 60, 100 + width // 2, 200))
    image.save(tmp_path / "a.png")
    left, right, top, bottom = red_box(load_image(tmp_path / "a.png", 200))
    assert (right - left) / (bottom - top) == pytest.approx(width / 140, abs=0.03)


def test_a_photograph_of_little_contrast_is_no_object_on_plain_ground(tmp_path, monkeypatch):
    """Its spots lie scattered over a ground that is grainy itself, as the moon's craters do; one great spot is one."""
    monkeypatch.setitem(sys.modules, "rembg", None)
    rng = np.random.default_rng(0)
    ground = 0.5 + gaussian_filter(rng.normal(0, 1, (256, 256)), 3) * 0.2
    for spot in rng.integers(20, 236, (40, 2)):
        ground[tuple(slice(at - 4, at + 4) for at in spot)] += 0.3
    Image.fromarray((ground.clip(0, 1) * 255).astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="neither transparent nor plain"):
        load_image(tmp_path / "a.png", 64)
    ground[60:200, 60:200] = 1.0
    Image.fromarray((ground.clip(0, 1) * 255).astype(np.uint8)).save(tmp_path / "b.png")
    assert (load_image(tmp_path / "b.png", 64, ImageLoading(fill=None))[:, 20:44, 20:44] > 0.98).all()


@pytest.mark.parametrize("opacity", [0.2, 0.4, 0.6])
def test_glass_is_an_object_too(tmp_path, opacity):
    front = (*RED, round(255 * opacity))
    picture(back=(0, 0, 0, 0), front=front, mode="RGBA").save(tmp_path / "a.png")
    found = load_image(tmp_path / "a.png", 64)
    seen = 1 - opacity * (1 - torch.tensor(RED) / 255)
    assert torch.allclose(found[:, 32, 32], seen, atol=0.02)
    assert (found.mean(0) < 0.99).float().mean() == pytest.approx(0.7 * 0.35, abs=0.03)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "I;16", "F"])
def test_large_pictures_are_reduced_as_they_are_read(tmp_path, mode, monkeypatch):
    """What is read in strips is what Pillow makes of the whole."""
    monkeypatch.setattr(image_files_module, "WORKING_SIZE", 32)
    monkeypatch.setattr(image_files_module, "STRIP", 5)
    smooth = gaussian_filter(np.random.default_rng(0).random((126, 192)), 6)
    grey = ((smooth - smooth.min()) / np.ptp(smooth) * 65535).astype(np.uint16)
    image = {"I;16": lambda: Image.fromarray(grey), "F": lambda: Image.fromarray(grey / np.float32(65535))}.get(
        mode, lambda: Image.fromarray((grey >> 8).astype(np.uint8)).convert(mode)
    )()
    image.save(tmp_path / "a.tiff")
    found = np.asarray(read(tmp_path / "a.tiff")).astype(float)
    whole = Image.fromarray((grey / 65535 * 255).round().astype(np.uint8)).resize((32, 21), Image.Resampling.BOX)
    assert found.shape == (21, 32, 4) and (found[..., 3] == 255).all()
    assert np.abs(found[..., 0] - np.asarray(whole)).mean() < 6


def test_a_soft_rim_takes_no_background_along(tmp_path):
    """Red over green, its edge blended over three pixels: on white no green may be left."""
    x = np.clip((30 - np.abs(np.arange(100) - 49.5)) / 3 + 0.5, 0, 1)
    alpha = np.minimum(x[:, None], x[None])[..., None]
    pixels = alpha * np.array(RED) + (1 - alpha) * np.array((40, 200, 60))
    Image.fromarray(pixels.round().astype(np.uint8)).save(tmp_path / "a.png")
    found = load_image(tmp_path / "a.png", 50)
    clearly_green = (found[1] > found[0] + 0.3) & (found[1] > found[2] + 0.3)
    assert clearly_green.float().mean() < 0.03


def test_sixteen_bits_keep_their_greys(tmp_path):
    grey = np.full((60, 60), 65535, dtype=np.uint16)
    grey[15:45, 15:45] = 20000
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png", 32)[:, 16, 16].tolist() == pytest.approx([20000 / 65535] * 3, abs=0.01)


def test_of_an_animation_the_first_picture_is_taken(tmp_path):
    frames = [picture(), picture(front=(0, 0, 255))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    check_object(load_image(tmp_path / "a.gif", 64))


def test_a_very_wide_image_works_and_a_huge_one_is_refused(tmp_path):
    picture(size=(20000, 300), box=(9000, 10, 9500, 260)).save(tmp_path / "wide.png")
    assert load_image(tmp_path / "wide.png", 32).shape == (3, 32, 32)
    whole = (tmp_path / "wide.png").read_bytes()
    for side in (10_000, 20_000):  # what the header says is all that is read of it
        header = b"IHDR" + struct.pack(">II", side, side) + whole[24:29]
        (tmp_path / "huge.png").write_bytes(whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:])
        with pytest.raises(UserError, match="megapixels"):
            load_image(tmp_path / "huge.png", 32)


def test_a_few_clear_pixels_are_no_cut_out(tmp_path):
    """Rounded corners: the plain colour is background all the same."""
    rounded = picture().convert("RGBA")
    for corner in ((0, 0), (119, 0), (0, 79), (119, 79)):
        rounded.putpixel(corner, (0, 0, 0, 0))
    rounded.save(tmp_path / "a.png")
    check_object(load_image(tmp_path / "a.png", 64))


def test_stray_pixels_of_a_cut_out_are_no_object(tmp_path):
    cut = picture(back=(0, 0, 0, 0), front=(*RED, 255), mode="RGBA")
    cut.putpixel((118, 78), (0, 0, 255, 255))
    cut.save(tmp_path / "a.png")
    check_object(load_image(tmp_path / "a.png", 64))


def test_a_turned_photograph_is_put_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter clockwise
    picture().transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.jpg", quality=95, exif=exif)
    check_object(load_image(tmp_path / "a.jpg", 64), within=5)


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda p: Image.new("RGB", (50, 50), GREY).save(p), "no object"),
        (lambda p: Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(p), "no object"),
        (lambda p: Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8)).save(p), "rembg"),
        (lambda p: Image.new("RGB", (1, 1), RED).save(p), "no object"),
        (lambda p: cut_out(4).save(p), "pixels large"),
        (lambda p: p.write_text("this is no image"), "not an image"),
        (lambda p: p.write_bytes(b""), "not an image"),
        (lambda p: (picture().save(p), p.write_bytes(p.read_bytes()[:90])), "damaged|cannot be opened"),
        (lambda p: p.mkdir(), "cannot be opened"),
        (lambda p: None, "no such image"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(tmp_path, monkeypatch, make, says):
    monkeypatch.setitem(sys.modules, "rembg", None)
    path = tmp_path / "a.png"
    make(path)
    with pytest.raises(UserError, match=says) as caught:
        load_image(path, 32)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_truncated_jpeg_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    picture(size=(400, 300)).save(path)
    path.write_bytes(path.read_bytes()[:-800])
    with pytest.raises(UserError, match="damaged"):
        load_image(path, 32)


def test_the_chosen_way_must_be_possible(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rembg", None)
    picture().save(tmp_path / "a.png")
    for way, says in (("alpha", "transparent"), ("rembg", "not installed")):
        with pytest.raises(UserError, match=says):
            load_image(tmp_path / "a.png", 32, ImageLoading(way))
    noise = np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "b.png")
    with pytest.raises(UserError, match="plain"):
        load_image(tmp_path / "b.png", 32, ImageLoading("plain"))
    with pytest.raises(UserError, match="fill"):
        parse(ImageLoading, {"fill": 0.0}, "")


def test_rembg_is_used_where_it_is_installed(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (80, 120, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    cut = picture(back=(0, 0, 0, 0), front=(*RED, 255), mode="RGBA")
    monkeypatch.setitem(sys.modules, "rembg", types.SimpleNamespace(remove=lambda image: cut))
    check_object(load_image(tmp_path / "a.png", 64))


def test_files_of_a_folder(tmp_path):
    with pytest.raises(UserError, match="no images"):
        image_files(tmp_path)
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [path.name for path in image_files(tmp_path)] == ["a.JPG", "b.png"]
    assert image_files(tmp_path / "b.png") == [tmp_path / "b.png"]
    with pytest.raises(UserError, match="no such image"):
        image_files(tmp_path / "c.png")


def test_without_fill_the_frame_stays(tmp_path):
    """A small square near the left edge of a wide frame: as small and as far left in the square one."""
    picture = np.full((40, 80, 3), 255, np.uint8)
    picture[10:20, 8:18] = (200, 30, 30)
    Image.fromarray(picture).save(tmp_path / "wide.png")
    image = load_image(tmp_path / "wide.png", 80, ImageLoading(fill=None))
    rows, columns = (np.flatnonzero((image.amin(0) < 0.5).any(axis).numpy()) for axis in (1, 0))
    assert rows[0] == pytest.approx(30, abs=1) and rows[-1] == pytest.approx(39, abs=1)
    assert columns[0] == pytest.approx(8, abs=1) and columns[-1] == pytest.approx(17, abs=1)


def test_what_is_no_image_file_is_said_in_its_own_words(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    picture().save(tmp_path / "a.png")
    assert image_files(Path("~/a.png")) == [tmp_path / "a.png"]
    for path, says in (
        (tmp_path / "pipe.png", "neither a file nor a folder"),
        (Path("https://example.org/a.png"), "download it first"),
    ):
        with pytest.raises(UserError, match=says):
            image_files(path)


def test_only_the_documented_formats_are_opened(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n")
    with pytest.raises(UserError, match="not an image that can be read"):
        load_image(tmp_path / "a.png", 32)
