"""The page's panels: what there is to look at, the buttons and numbers of a run, and its curves."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from threestudio_like.engine.system import Adjustable, GuidancePreview
from threestudio_like.viewer.images import MODES, side_by_side
from threestudio_like.viewer.losses import Losses
from threestudio_like.viewer.page import Page

BLUE = "#3465c0"


class Look:
    """Lets visitors choose how they look at the object, and at which of several."""

    def __init__(self, page: Page):
        self.page = page
        self.folder = page.server.gui.add_folder("Look")
        with self.folder:
            self._mode = page.server.gui.add_dropdown("Show", tuple(MODES), initial_value="colour")
            self._place = page.server.gui.add_dropdown("Object", ("1",), visible=False)
        self._mode.on_update(lambda event: page.ask(lambda: None))  # wakes the painter
        self._place.on_update(lambda event: page.ask(lambda: None))

    def begin(self, objects: int) -> None:
        """Offers so many objects; none where there is nothing to turn."""
        self.folder.visible = objects > 0
        self._place.options = tuple(str(number + 1) for number in range(max(objects, 1)))
        self._place.visible = objects > 1

    @property
    def mode(self) -> str:
        """The mode that is chosen, of `MODES`."""
        return self._mode.value

    @property
    def place(self) -> int:
        """The place of the object that is chosen."""
        return int(self._place.value) - 1


class Status:
    """A few lines of text."""

    def __init__(self, page: Page):
        self._shown = page.server.gui.add_markdown("")
        self._text = ""

    def say(self, *lines: str) -> None:
        """Shows these lines, which may come from a user and hold any letters."""
        text = "\n\n".join(line for line in lines if line)
        if text != self._text:
            self._text = self._shown.content = text


def plain(text: str) -> str:
    """Returns a text that Markdown shows letter by letter."""
    return "".join(
        f"\\{letter}" if letter in r"\`*_{}[]()<>#+-.!|~$&:" else letter for letter in " ".join(text.split())
    )


class Numbers:
    """Lets a visitor change the numbers of a running system; what is typed counts when it is applied."""

    def __init__(self, page: Page, change: Callable[[Adjustable, float], None]):
        self.page, self.change = page, change
        self.folder = page.server.gui.add_folder("Guidance", visible=False)
        with self.folder:
            self._apply = page.server.gui.add_button("Apply", order=1e6)
        self._apply.on_click(lambda event: page.ask(self.apply))
        self._inputs: list[tuple[Adjustable, Any, float]] = []

    def begin(self, adjustables: Sequence[Adjustable], step: int) -> None:
        """Offers a stage's numbers in place of those of the stage before."""
        for _, field, _ in self._inputs:
            field.remove()
        self.folder.visible = bool(adjustables)
        self._inputs = []
        with self.folder:
            for one in adjustables:
                value = float(one.at(step))
                label = one.key.removeprefix("guidance.")
                field = self.page.server.gui.add_number(
                    label, value, min=0.0, step=0.01, hint=f"the recipe's {one.key}"
                )
                self._inputs.append((one, field, value))

    def update(self, step: int) -> None:
        """Shows the values of this step, but for those that somebody has typed over."""
        for i, (one, field, shown) in enumerate(self._inputs):
            now = float(one.at(step))
            if field.value == shown and now != shown:
                field.value = now
                self._inputs[i] = one, field, now

    def apply(self) -> None:
        """Changes what was typed over; what is no number from 0 up is put back."""
        for i, (one, field, shown) in enumerate(self._inputs):
            value = float(field.value)
            if value == shown:
                continue
            if not (math.isfinite(value) and value >= 0):
                field.value = shown
                continue
            self._inputs[i] = one, field, value
            self.change(one, value)


class GuidancePreviews:
    """Shows what each prior saw in the last step, and what the step pulls it to."""

    def __init__(self, page: Page):
        self.page = page
        self.folder = page.server.gui.add_folder("What the prior saw (above) and wants (below)", visible=False)
        self._images: dict[str, Any] = {}

    def begin(self) -> None:
        """Forgets the stage before."""
        for image in self._images.values():
            image.remove()
        self._images, self.folder.visible = {}, False

    def update(self, previews: Mapping[str, GuidancePreview]) -> None:
        """Shows these, by the guidance's name."""
        self.folder.visible = bool(self._images or previews)
        for name, preview in previews.items():
            picture = side_by_side([preview.image, preview.target])
            if name in self._images:
                self._images[name].image = picture
            else:
                with self.folder:
                    self._images[name] = self.page.server.gui.add_image(picture, label=name)


class Charts:
    """Shows a stage's losses as curves."""

    def __init__(self, page: Page):
        self.page = page
        self.folder = page.server.gui.add_folder("Losses", visible=False)
        self._charts: dict[str, Any] = {}

    def begin(self) -> None:
        """Forgets the stage before."""
        for chart in self._charts.values():
            chart.remove()
        self._charts, self.folder.visible = {}, False

    def update(self, losses: Losses) -> None:
        """Draws the curves that have two points or more."""
        for name, curve in losses.curves.items():
            steps, values = curve.values()
            if len(steps) < 2 or not np.isfinite(values).all():
                continue
            if name in self._charts:
                self._charts[name].data = (steps, values)
                continue
            self.folder.visible = True
            with self.folder:
                self._charts[name] = self.page.server.gui.add_uplot(
                    (steps, values),
                    ({"label": "step"}, {"label": name, "stroke": BLUE, "width": 2}),
                    title=name,
                    scales={"x": {"time": False}},
                    legend={"show": False},
                    height=180,
                )
