"""Serves the page by gradio until it is interrupted; neither asks anything of another host."""

import contextlib
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from threestudio_like.demo.line import Line
from threestudio_like.demo.methods import METHODS, Method
from threestudio_like.demo.orders import MEGABYTES
from threestudio_like.demo.page import STYLE, WEBGL, Page
from threestudio_like.demo.work import Workshop
from threestudio_like.engine.expectation import slowness
from threestudio_like.errors import UserError
from threestudio_like.utils import stopping
from threestudio_like.utils.paths import ROOT
from threestudio_like.viewer.address import Address

log = logging.getLogger(__name__)
PICTURES = ("a-red-car.png", "a-yellow-tree.png", "a-blue-mushroom.png", "an-orange-teapot.png", "purple-chair.png")
"""Examples in docs/images; where only a wheel is installed there are none."""
SILENT = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
"""Environment variables that keep gradio from telling others of us; it reads them when it is imported."""


def library() -> Any:
    """Imports gradio. Raises UserError where it is not installed."""
    os.environ.update(SILENT)
    try:
        import gradio
    except ImportError:
        raise UserError('--demo: gradio is not installed; pip install -e ".[demo]"') from None
    return gradio


def serve(folder: Path, address: Address, methods: Sequence[Method] = METHODS) -> None:
    """Serves the page until it is interrupted; the runs' folders go below `folder`.

    Raises UserError where gradio is missing, nothing can be served at the address, or a recipe cannot be read.
    """
    with served(folder, address, methods) as url:
        log.info("open %s; Ctrl-C ends it", url)
        with contextlib.suppress(KeyboardInterrupt):
            while not stopping.requested():
                time.sleep(0.2)
    log.info("the page is closed")


@contextlib.contextmanager
def served(folder: Path, address: Address, methods: Sequence[Method] = METHODS) -> Iterator[str]:
    """Serves the page while it lasts, and yields its URL; a run that is at work is stopped at the end, and saved."""
    gradio = library()
    address.check_free("--demo")
    for method in methods:
        assert method.steps >= 0, "a recipe that cannot be read is told now"
    with temporary_files() as place:
        shop = Workshop(folder, None if torch.cuda.is_available() else slowness())
        line = Line(shop.work)
        page = Page(line, shop, methods, example_pictures(place), place)
        fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
        here = address if address.port else replace(address, port=free_port(address.host))
        try:
            page.blocks.launch(
                server_name=f"[{here.host}]" if ":" in here.host else here.host,
                server_port=here.port,
                theme=gradio.themes.Default(**fonts),
                css=STYLE,
                head=WEBGL,
                max_file_size=f"{MEGABYTES}mb",
                footer_links=[],
                run_history=False,
                share=False,
                ssr_mode=False,
                enable_monitoring=False,
                prevent_thread_lock=True,
                quiet=True,
            )
            yield here.url
        except OSError as error:  # taken since it was checked
            raise UserError(f"--demo: port {here.port} of {here.host} cannot be used ({error}); give another") from None
        finally:
            line.close()
            page.blocks.close(verbose=False)


@contextlib.contextmanager
def temporary_files() -> Iterator[Path]:
    """Keeps what visitors upload, and what is sent to them, in a folder that is gone afterwards."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="threestudio-like-demo-", ignore_cleanup_errors=True) as place:
        os.environ["GRADIO_TEMP_DIR"] = place
        try:
            yield Path(place)
        finally:
            os.environ.pop("GRADIO_TEMP_DIR")
            if before is not None:
                os.environ["GRADIO_TEMP_DIR"] = before


def example_pictures(place: Path) -> list[Path]:
    """Copies the examples to where the page may take them from."""
    found = [ROOT / "docs/images" / name for name in PICTURES]
    return [Path(shutil.copy(picture, place)) for picture in found if picture.is_file()]


def free_port(host: str) -> int:
    """Finds a port of a host that is free."""
    family, kind, _, _, place = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as tried:
        tried.bind(place)
        return tried.getsockname()[1]
