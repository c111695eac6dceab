"""Photographs the demo's page: `python -m benchmarks.demo FILE.png`.

The page is served for it, and in a headless Chromium (apt-get install chromium) its first example picture is clicked.
Printed are the seconds until the mesh is there, for the first click and for another. It needs the extra `demo`.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.browser import browser
from threestudio_like.demo.server import served
from threestudio_like.viewer.address import Address

CLICK = "document.querySelector('.gallery-item, .gallery button, button.gallery-item').click()"
DONE = "document.body.innerText.includes('Done: the run is in')"
SETTLED = 6.0
"""Seconds after which the 3D view has drawn its mesh."""


def photograph(path: Path) -> list[float]:
    """Writes the picture; returns the seconds of each click."""
    seconds = []
    path, own = path.resolve(), Path("outputs/demo")
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        served(own, Address("127.0.0.1", 0)) as url,
    ):
        for _ in range(2):
            with browser() as page:
                page.size(1200, 920)
                page.go(url)
                page.wait(lambda page=page: "Examples" in page.text(), "the page")
                page.wait("document.querySelector('.gallery-item, .gallery button') !== null", "the examples")
                began = time.perf_counter()
                page.run(CLICK)
                page.wait(DONE, "the mesh", 500)
                seconds.append(time.perf_counter() - began)
                page.wait("document.querySelector('canvas') !== null", "the 3D view")
                time.sleep(SETTLED)
                Image.fromarray(page.picture()).quantize(256, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    print(" and ".join(f"{seconds:.1f} s" for seconds in photograph(parser.parse_args().file)))


if __name__ == "__main__":
    main()
