"""Measures what the viewer costs a run: `python -m benchmarks.viewer [--config NAME] [--rounds 6] [key=value ...]`.

One run is trained, in turn without a viewer, with one that nobody looks at, and with a page open in a headless Chromium
(apt-get install chromium) whose mouse drags the object all the time. So whatever else the machine does hits all alike.
Printed are the seconds of a step, of the clock and of the training thread's own CPU time, and their ratios to those
without a viewer, as medians over the rounds. The browser draws on the CPU; with `--apart` on a core of its own, as if
it were another machine (take `threads=1` on two cores). With `--photograph URL FILE` it only takes a picture of a page
that is served, after it was left alone for a while.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.browser import Page, browser
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import parse_recipe
from threestudio_like.engine.observer import Observer
from threestudio_like.engine.run import Run
from threestudio_like.engine.system import StepResult, System
from threestudio_like.errors import StoppedError
from threestudio_like.viewer.address import Address
from threestudio_like.viewer.live import LiveViewer, watched

WAYS = ("no viewer", "nobody looks", "a page that is dragged")
Seconds = tuple[float, float]
"""Of the clock, and of the training thread's CPU time."""


class InTurn(Observer):
    """Trains blocks of steps in each way in turn, and keeps the seconds of each block's step."""

    def __init__(self, run: Run, page: Page, rounds: int, steps: int, warm_up: int):
        self.run, self.page = run, page
        self.order = [way for i in range(rounds) for way in (WAYS[i % 3 :] + WAYS[: i % 3])]
        self.steps, self.warm_up = steps, warm_up
        self.found: dict[str, list[Seconds]] = {way: [] for way in WAYS}
        self.viewer: LiveViewer | None = None
        self.open = ExitStack()
        self.block, self.taken = -1, 0

    def begin(self, stage: str, system: System, done: int) -> None:
        self.stage, self.system = stage, system

    def step(self, done: int, result: StepResult) -> None:
        if self.viewer is not None:
            self.viewer.step(done, result)
        self.taken += 1
        if self.block < 0:
            if self.taken >= self.warm_up:
                self.turn(done)
        elif self.taken >= self.steps:
            wall, cpu = time.perf_counter() - self.since[0], time.thread_time() - self.since[1]
            self.found[self.order[self.block]].append((wall / self.steps, cpu / self.steps))
            print(
                f"{self.order[self.block]}: {wall / self.steps:.3f} s, {cpu / self.steps:.3f} s of CPU", file=sys.stderr
            )
            self.turn(done)

    def turn(self, done: int) -> None:
        """Ends a block, and begins the next."""
        self.open.close()
        self.viewer = None
        self.block += 1
        if self.block >= len(self.order):
            raise StoppedError("measured")
        way = self.order[self.block]
        if way != WAYS[0]:
            self.viewer = self.open.enter_context(watched(self.run, Address("127.0.0.1", 0)))
            self.viewer.begin(self.stage, self.system, done)
        if way == WAYS[2]:
            self.open.enter_context(dragged(self.page, self.viewer))
        self.taken, self.since = 0, (time.perf_counter(), time.thread_time())

    def end(self) -> None:
        self.open.close()


@contextlib.contextmanager
def dragged(page: Page, viewer: LiveViewer):
    """Opens the viewer's page, and drags its object to and fro in a thread."""
    page.go(viewer.page.url)
    page.wait(viewer.page.poses, "the page's camera")
    stop = threading.Event()

    def drag() -> None:
        while not stop.is_set():
            for by in (60, -60):
                page.drag(300, 300, 300 + by, 300)

    thread = threading.Thread(target=drag)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        page.go("about:blank")


def measure(
    config: str, keys: list[str], rounds: int, steps: int, warm_up: int, folder: Path, apart: bool
) -> dict[str, list[Seconds]]:
    """Returns the seconds of a step by the way it was looked at, a pair a round."""
    always = ["preview_every=0", "checkpoint_every=1000000", "checkpoint_seconds=1000000", f"out={folder / 'run'}"]
    run = Run(parse_recipe(load(config, [*keys, f"steps={warm_up + 3 * rounds * steps + 1}", *always]), config))
    run.start(False)
    with browser() as page:
        if apart:
            keep_apart()
        page.size(800, 600)
        observer = InTurn(run, page, rounds, steps, warm_up)
        with contextlib.suppress(StoppedError):
            run.train(observer=observer)
    return observer.found


def keep_apart() -> None:
    """Gives the browser the last core, and the run the others: a browser without a GPU draws on the CPU."""
    run = psutil.Process()
    *others, last = os.sched_getaffinity(0)
    for process, cores in ((run, others), *((child, [last]) for child in run.children(recursive=True))):
        for thread in process.threads():  # a thread's own, which those that it starts inherit
            os.sched_setaffinity(thread.id, cores)


def table(found: dict[str, list[Seconds]]) -> str:
    """Formats the medians, and the medians of the ratios to the first way in the same round."""
    lines = ["| way | s a step | CPU s a step | ratio | ratio of CPU |", "|---|---:|---:|---:|---:|"]
    for way, blocks in found.items():
        seconds = [statistics.median(block[i] for block in blocks) for i in (0, 1)]
        pairs = list(zip(blocks, found[WAYS[0]], strict=True))
        ratios = [statistics.median(one[i] / alone[i] for one, alone in pairs) for i in (0, 1)]
        lines.append(f"| {way} | {seconds[0]:.3f} | {seconds[1]:.3f} | {ratios[0]:.3f} | {ratios[1]:.3f} |")
    return "\n".join(lines)


def photograph(url: str, path: Path, seconds: float) -> None:
    """Writes a picture of the page at an address, once it was left alone for so many seconds."""
    with browser() as page:
        page.size(1200, 760)
        page.go(url)
        page.wait(lambda: "step" in page.text(), "the panel")
        page.run("document.querySelectorAll('[class*=Notification-root]').forEach(note => note.remove())")
        time.sleep(seconds)
        page.run("document.querySelectorAll('[class*=Notification-root]').forEach(note => note.remove())")
        Image.fromarray(page.picture()).quantize(128).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="dreamfusion.yaml")
    parser.add_argument("--rounds", type=int, default=6, help="blocks of each way")
    parser.add_argument("--steps", type=int, default=20, help="steps of a block")
    parser.add_argument("--warm-up", type=int, default=100, help="steps before the first block")
    parser.add_argument("--apart", action="store_true", help="gives the browser a core of its own")
    parser.add_argument("--photograph", nargs=2, metavar=("URL", "FILE"))
    parser.add_argument("--wait", type=float, default=20.0, help="seconds before the photograph")
    parser.add_argument("keys", nargs="*")
    given = parser.parse_intermixed_args()
    if given.photograph:
        photograph(given.photograph[0], Path(given.photograph[1]), given.wait)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.config, given.keys, given.rounds, given.steps, given.warm_up, Path(folder), given.apart)
    print(table(found))


if __name__ == "__main__":
    main()
