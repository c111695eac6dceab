"""Where and how the page is served, and what keeps it from being served."""

import os
import socket
import sys
import tempfile
from urllib.request import urlopen

import pytest

from tests.demo import boxes
from threestudio_like.demo.server import example_pictures, free_port, library, served, temporary_files
from threestudio_like.errors import UserError
from threestudio_like.viewer.address import Address


def test_gradio_that_is_missing_is_a_sentence_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with (
        pytest.raises(UserError, match=r'--demo: gradio is not installed; pip install -e "\.\[demo\]"'),
        served(tmp_path, Address()),
    ):
        pass
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_files_of_visitors_are_gone_afterwards(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    with temporary_files() as place:
        (place / "upload.png").write_bytes(b"1")
        assert os.environ["GRADIO_TEMP_DIR"] == str(place) and place.is_relative_to(tempfile.gettempdir())
    assert not place.exists() and os.environ["GRADIO_TEMP_DIR"] == "before"


def test_examples_are_pictures_that_can_be_cut_out(tmp_path):
    from threestudio_like.demo.orders import cut_out

    found = example_pictures(tmp_path)
    assert found and all(cut_out(picture).min() < 200 for picture in found)


def test_a_free_port_is_free():
    Address("127.0.0.1", free_port("127.0.0.1")).check_free()


def test_a_taken_port_is_a_sentence(tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed: the extra `demo`")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = Address("127.0.0.1", taken.getsockname()[1])
        with (
            pytest.raises(UserError, match=f"--demo: port {place.port} of 127.0.0.1 is taken"),
            served(tmp_path, place),
        ):
            pass


def test_the_page_is_served_while_it_lasts(tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed: the extra `demo`")
    library()
    with served(tmp_path / "runs", Address("127.0.0.1", 0), [boxes.method(tmp_path)]) as url:
        page = urlopen(url, timeout=30).read().decode()
        assert "threestudio_like" in page and "googleapis" not in page and "cdnjs" not in page
    with pytest.raises(OSError):
        urlopen(url, timeout=5)
    assert not (tmp_path / "runs").exists()
