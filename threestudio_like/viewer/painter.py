"""Decides how finely each visitor's image is drawn: coarse while the camera moves, finer once it is still."""

import time
from dataclasses import dataclass

from threestudio_like.renderers.ccm import TightBox
from threestudio_like.viewer.budget import Budget
from threestudio_like.viewer.images import Pose, Viewable, draw
from threestudio_like.viewer.page import Page

SIZES = (64, 128, 256, 512)
"""Pixels of an image's shorter side, from coarse to fine."""
QUICK, SLOWEST = 0.1, 3.0
"""Seconds that an image may take while the camera moves, and when it is still."""
STILL = 0.3
"""Seconds after which a camera that has not moved is still; a page that has just opened takes its place first."""
REFRESH = 0.25
"""Seconds between two images of an object that changes, at least."""
GUESS = 0.03
"""Seconds of the coarsest image, before any was drawn."""


@dataclass(frozen=True)
class Sight:
    """The side, the mode and the object that a visitor looks at."""

    pose: Pose
    mode: str
    place: int


@dataclass(frozen=True)
class Frame:
    """The last image that a visitor was sent: what it shows, at which step, how finely, and when it was drawn."""

    sight: Sight
    step: int
    size: int
    """Its place in `SIZES`."""
    drawn: float


class Painter:
    """Draws an object for all visitors of a page, one image after the other."""

    def __init__(self, page: Page):
        self.page = page
        self.frames: dict[int, Frame] = {}
        self.looking: dict[int, tuple[Sight, float]] = {}
        """What each visitor looks at, and since when."""
        self.seconds: dict[tuple[str, int], float] = {}
        """What the last image took, by mode and size."""
        self.boxes: dict[int, TightBox] = {}

    def forget(self) -> None:
        """Begins anew: another object is shown."""
        self.frames, self.seconds, self.boxes = {}, {}, {}

    def paint(self, system: Viewable, step: int, mode: str, place: int, budget: Budget) -> None:
        """Draws for each visitor the image that is next, if any is, as far as the budget allows."""
        poses = self.page.poses()
        self.frames = {visitor: frame for visitor, frame in self.frames.items() if visitor in poses}
        self.looking = {visitor: seen for visitor, seen in self.looking.items() if visitor in poses}
        for visitor, pose in poses.items():
            sight, now = Sight(pose, mode, place), time.monotonic()
            if visitor not in self.looking or self.looking[visitor][0] != sight:
                self.looking[visitor] = sight, now
            size = self.next_size(visitor, sight, step, now)
            if size is None or not budget.allows(self.expected(mode, size)):
                continue
            began, box = time.perf_counter(), self.boxes.setdefault(place, TightBox())
            first = not any(known == mode for known, _ in self.seconds)
            with budget.spending(first):
                self.page.show(visitor, draw(system, place, mode, pose, SIZES[size], box))
            self.seconds[mode, size] = GUESS if first else time.perf_counter() - began
            self.frames[visitor] = Frame(sight, step, size, time.monotonic())

    def next_size(self, visitor: int, sight: Sight, step: int, now: float) -> int | None:
        """Chooses the size of the visitor's next image; None where the last one will do."""
        frame, still = self.frames.get(visitor), now - self.looking[visitor][1] > STILL
        if frame is None and not still:
            return None
        if frame is None or frame.sight != sight:
            quick = [size for size in range(len(SIZES)) if self.expected(sight.mode, size) <= QUICK]
            return max(quick, default=0)
        finer, whole = frame.size + 1, min(sight.pose.height, sight.pose.width)
        if still and finer < len(SIZES) and SIZES[frame.size] < whole and self.expected(sight.mode, finer) <= SLOWEST:
            return finer
        return frame.size if frame.step != step and now - frame.drawn > REFRESH else None

    def expected(self, mode: str, size: int) -> float:
        """Estimates the seconds of an image: those of the last, or of a smaller one by the number of pixels."""
        for known in range(size, -1, -1):
            if (mode, known) in self.seconds:
                return self.seconds[mode, known] * (SIZES[size] / SIZES[known]) ** 2
        return GUESS * (SIZES[size] / SIZES[0]) ** 2
