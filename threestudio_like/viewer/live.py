"""Shows a run while it trains: between its steps, in the thread that trains, within a share of its time."""

import contextlib
import logging
import time
from collections.abc import Iterator

from threestudio_like.engine.monitor import to_bytes
from threestudio_like.engine.observer import Observer
from threestudio_like.engine.run import Run
from threestudio_like.engine.run_folder import touches_in
from threestudio_like.engine.system import Adjustable, StepResult, System
from threestudio_like.errors import UserError
from threestudio_like.utils import stopping
from threestudio_like.utils.run_log import keep_traceback
from threestudio_like.viewer.address import Address
from threestudio_like.viewer.budget import Budget, Chore, Unbounded
from threestudio_like.viewer.images import letterboxed, presentation, viewable
from threestudio_like.viewer.losses import Losses
from threestudio_like.viewer.page import Page
from threestudio_like.viewer.painter import Painter
from threestudio_like.viewer.panel import Charts, GuidancePreviews, Look, Numbers, Status, plain
from threestudio_like.viewer.saving import save_mesh

log = logging.getLogger(__name__)
PAUSE, GO_ON = "Pause", "Go on"


class LiveViewer(Observer):
    """A page about one run, over all its stages."""

    def __init__(self, page: Page, run: Run):
        self.page, self.run, self.painter = page, run, Painter(page)
        gui = page.server.gui
        self.status, self.note = Status(page), Status(page)
        self._pause, self._save = gui.add_button(PAUSE), gui.add_button("Save mesh")
        self.look, self.numbers = Look(page), Numbers(page, self.change)
        self.previews, self.charts = GuidancePreviews(page), Charts(page)
        self._pause.on_click(lambda event: page.ask(self.pause_or_go_on))
        self._save.on_click(lambda event: page.ask(self.save))
        self.budget, self.paused, self.failed = Budget(), False, False
        self.system: System | None = None
        self.stage, self.done, self.left = "", 0, time.perf_counter()
        self.losses = Losses()
        self.chores: list[Chore] = []
        self.saying = Chore(self.say, 0.2)
        self.previewed = -1
        self.status.say(self.title, "getting ready")

    @property
    def title(self) -> str:
        """The run's prompt, or its recipe's name."""
        return f"**{plain(self.run.recipe.run.prompt or self.run.recipe.name)}**"

    def begin(self, stage: str, system: System, done: int) -> None:
        if self.failed:
            return
        with self.looking():
            self.stage, self.system, self.done = stage, system, done
            self.losses, self.previewed = Losses(), -1
            self.painter.forget()
            shown = viewable(system)
            self.look.begin(len(shown.objects) if shown else 0)
            self._save.visible = shown is not None
            if shown is not None:
                self.page.stand_at_front(presentation(shown))
            self.numbers.begin(system.adjustables(), done)
            self.previews.begin()
            self.charts.begin()
            self.chores = [
                Chore(lambda: self.numbers.update(self.done), 1.0),
                Chore(lambda: self.charts.update(self.losses), 1.0),
                Chore(lambda: self.previews.update(system.guidance_previews()), 2.0),
                *([] if shown else [Chore(self.preview, 1.0)]),
            ]
            self.say()
        self.left = time.perf_counter()

    def step(self, done: int, result: StepResult) -> None:
        if self.failed:
            return
        self.budget.earn(time.perf_counter() - self.left)
        with self.looking():
            self.done = done
            self.losses.add(done, result.losses)
            self.tend(self.budget)
            while self.paused and not stopping.requested():
                self.page.wait(0.1)
                self.tend(Unbounded())
        self.left = time.perf_counter()

    def end(self) -> None:
        self.system, self.chores, self.paused = None, [], False
        if self.failed:
            return
        with self.looking():
            self.charts.update(self.losses)
            self.numbers.begin([], 0)
            self._pause.label = PAUSE
            self.status.say(self.title, f"stage {plain(self.stage)} is over after step {self.done}")

    def tend(self, budget: Budget) -> None:
        """Does what was asked, and shows what is new, where somebody looks."""
        self.page.carry_out()
        poses = self.page.poses()
        if not poses:
            return
        if (shown := viewable(self.system)) is not None:
            self.painter.paint(shown, self.done, self.look.mode, self.look.place, budget)
        for chore in self.chores:
            chore.tend(budget)
        self.saying.tend(Unbounded())  # it takes next to nothing

    def say(self) -> None:
        """Says how far the run is."""
        assert self.system is not None, "a stage runs"
        touches = touches_in(self.run.metrics)
        by_hand = (
            f"changed by hand {len(touches)} times, so not reproducible; last: {plain(touches[-1])}" if touches else ""
        )
        state = "paused" if self.paused else "training"
        far = f"{state}, stage {plain(self.stage)}, step {self.done} of {self.system.config.steps}"
        self.status.say(self.title, far, by_hand)

    def preview(self) -> None:
        """Shows the picture of a system whose result cannot be turned."""
        assert self.system is not None, "a stage runs"
        if self.previewed == self.done:
            return
        picture, self.previewed = self.system.preview(), self.done
        if picture is None:
            return
        for visitor, pose in self.page.poses().items():
            self.page.show(visitor, letterboxed(to_bytes(picture), pose))

    def pause_or_go_on(self) -> None:
        """Halts the run after this step, or lets it go on."""
        self.paused = not self.paused
        self._pause.label = GO_ON if self.paused else PAUSE
        log.info("%s after step %d of '%s'", "paused" if self.paused else "going on", self.done, self.stage)
        self.say()

    def change(self, one: Adjustable, value: float) -> None:
        """Changes a number of the system, which the run notes."""
        before = one.at(self.done)
        one.change(value)
        self.run.touch(f"stage '{self.stage}', after step {self.done}: {one.key} from {before:g} to {value:g}")
        self.say()

    def save(self) -> None:
        """Saves the mesh of the object as it is, and says where it is."""
        if (shown := viewable(self.system)) is not None:
            name = f"{self.stage}-{self.done:06d}"
            self.note.say(plain(save_mesh(shown, self.look.place, self.run.folder, name)))

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Lets no mistake of the viewer's end the training that it looks at: the viewer ends alone, and says so."""
        try:
            yield
        except Exception as error:
            self.failed, self.paused = True, False
            log.warning("the viewer ends, the run goes on: %s: %s", type(error).__name__, keep_traceback(error))
            self.page.close()


@contextlib.contextmanager
def watched(run: Run, address: Address) -> Iterator[LiveViewer]:
    """Serves a page about a run that is about to be trained, until it ends. Raises UserError where that cannot be."""
    if run.recipe.run.devices > 1:
        raise UserError("--view: a run that several processes share cannot be watched; use devices=1")
    page = Page(address, run.recipe.name)
    try:
        log.info("watch it at %s", page.url)
        yield LiveViewer(page, run)
    finally:
        page.close()
