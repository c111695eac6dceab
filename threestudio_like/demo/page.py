"""Lays the page out: an image or a text on the left, and on the right how far it is, what grows, and the mesh."""

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as iio

from threestudio_like.demo import saying
from threestudio_like.demo.line import Line, Ticket
from threestudio_like.demo.methods import FEWEST, PROPOSED, Method
from threestudio_like.demo.orders import MEGABYTES, Order, cut_out
from threestudio_like.demo.work import Made, Workshop

EVERY = 0.5
"""Seconds between two looks at how far the work is."""
PROMPTS = (("a red chair", 0), ("a wooden boat", 0), ("a yellow duck with a hat", 1), ("a blue car", 2))
"""Examples, each with the place of its method."""
STYLE = """
.told p { margin: 0 0 .5rem } .told .wrong { color: var(--error-text-color) } .told .warning { opacity: .8 }
.told progress { width: 100%; height: 1rem; accent-color: var(--color-accent) }
"""
WEBGL = "<script>delete Navigator.prototype.gpu</script>"
"""Lets the 3D view draw by WebGL at once: a browser with WebGPU but without an adapter would log errors first."""


class Page:
    """The page's parts, and what happens when a visitor presses something; `blocks` is what gradio serves."""

    def __init__(self, line: Line, shop: Workshop, methods: Sequence[Method], pictures: Sequence[Path], place: Path):
        """`methods` begins with the one that makes meshes of images; files for visitors are put into `place`."""
        import gradio

        self.line, self.shop, self.place = line, shop, place
        self.methods = {method.name: method for method in methods}
        self.by_image = methods[0]
        with gradio.Blocks(title="threestudio_like", analytics_enabled=False, delete_cache=(600, 3600)) as self.blocks:
            gradio.Markdown("# A mesh of an image or a text")
            with gradio.Row():
                with gradio.Column():
                    with gradio.Tab("Image"):
                        self.lay_out_image(pictures)
                    with gradio.Tab("Text"):
                        self.lay_out_text()
                    self.seed = gradio.Number(0, label="Seed: another number, another object", precision=0, minimum=0)
                with gradio.Column():
                    self.lay_out_result()
            self.connect()

    def lay_out_image(self, pictures: Sequence[Path]) -> None:
        """Lays out what is needed for a mesh of an image."""
        import gradio

        self.upload = gradio.File(
            label=f"One object before a plain or transparent background, at most {MEGABYTES} MB", height=140
        )
        self.cut = gradio.Image(label="Its cut-out, as it is used", interactive=False, height=260, buttons=[])
        self.make_of_image = gradio.Button("Make a mesh of the image", variant="primary")
        thumbnail = gradio.Image(render=False)
        samples = [[str(picture)] for picture in pictures]
        self.pictures = gradio.Dataset(
            label="Examples", components=[thumbnail], samples=samples, type="index", visible=bool(samples)
        )
        self.places = [str(picture) for picture in pictures]

    def lay_out_text(self) -> None:
        """Lays out what is needed for a mesh of a text."""
        import gradio

        names = list(self.methods)
        self.prompt = gradio.Textbox(label="Prompt: a colour and a toy", placeholder="a red chair", lines=1)
        self.method = gradio.Radio(names, value=names[0], label="Method")
        self.about = gradio.HTML(self.described(names[0], 100 * PROPOSED), elem_classes="told")
        self.percent = gradio.Slider(
            100 * FEWEST,
            100,
            100 * PROPOSED,
            step=5,
            label="Steps, in % of the recipe's",
            visible=not self.methods[names[0]].in_one_pass,
        )
        self.make_of_text = gradio.Button("Make a mesh of the text", variant="primary")
        self.samples = [[prompt, names[place]] for prompt, place in PROMPTS if place < len(names)]
        texts = [gradio.Textbox(render=False), gradio.Textbox(render=False)]
        self.prompts = gradio.Dataset(label="Examples", components=texts, samples=self.samples, type="index")

    def lay_out_result(self) -> None:
        """Lays out what is shown of the work."""
        import gradio

        self.status = gradio.HTML(saying.said("Nothing is being made for you yet."), elem_classes="told")
        self.stop = gradio.Button("Stop", interactive=False)
        self.preview = gradio.Image(label="What there is so far", interactive=False, height=180, buttons=[])
        self.view = gradio.Model3D(label="The mesh: drag to turn it", interactive=False, height=420)
        self.mesh = gradio.State(None)
        self.download = gradio.DownloadButton("Download the GLB", interactive=False)

    def connect(self) -> None:
        """Says what follows when something is pressed. Our own line counts, so that gradio's lets everyone in."""
        import gradio

        def of_image(upload: str | None, seed: float | int | None, request: gradio.Request) -> Iterator[dict]:
            order = Order(self.by_image, image=Path(upload) if upload else None, seed=whole(seed))
            yield from self.follow(order, str(request.session_hash))

        def of_text(
            prompt: str, name: str, percent: float | int, seed: float | int | None, request: gradio.Request
        ) -> Iterator[dict]:
            order = Order(self.methods[name], prompt, share=percent / 100, seed=whole(seed))
            yield from self.follow(order, str(request.session_hash))

        def stop(request: gradio.Request) -> None:
            self.line.stop(str(request.session_hash))

        own: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
        shown = {"outputs": [self.status, self.stop, self.preview, self.view, self.download, self.mesh], **own}
        image, text = [self.upload, self.seed], [self.prompt, self.method, self.percent, self.seed]
        self.upload.change(self.show_cut_out, self.upload, [self.cut, self.status], **own)
        followed = [self.make_of_image.click(of_image, image, **shown)]
        followed += [pressed(of_text, text, **shown) for pressed in (self.make_of_text.click, self.prompt.submit)]
        chosen = self.pictures.click(lambda place: self.places[place], self.pictures, self.upload, **own)
        followed.append(chosen.then(of_image, image, **shown))
        chosen = self.prompts.click(lambda place: self.samples[place], self.prompts, [self.prompt, self.method], **own)
        followed.append(chosen.then(of_text, text, **shown))
        for ended in followed:  # the view takes a mesh once: a generator's last value comes twice
            ended.then(lambda mesh: mesh, self.mesh, self.view, **own)
        for changed in (self.method.change, self.percent.change):
            changed(self.describe, [self.method, self.percent], [self.about, self.percent], **own)
        self.stop.click(stop, **own)

    def follow(self, order: Order, visitor: str) -> Iterator[dict]:
        """Puts an order into the line, and shows what becomes of it until it has ended.

        It is asked for the next look for as long as the visitor is there, which is how the line knows.
        """
        import gradio

        try:
            order.check()
            ticket = self.line.join(visitor, order, self.shop.expected(order))
        except Exception as error:  # whatever it is, the next visitor is served
            yield {self.status: saying.refused(error)}
            return
        emptied = {
            self.preview: None,
            self.view: None,
            self.mesh: None,
            self.download: gradio.update(value=None, interactive=False),
        }
        yield emptied | {self.stop: gradio.update(interactive=True)}
        picture = None
        while not ticket.ended:
            ticket.asked = time.monotonic()
            before = self.line.before(ticket)
            news: dict[Any, Any] = {self.status: saying.waiting(before) if before else saying.at_work(ticket)}
            if ticket.progress.picture is not picture:
                news[self.preview] = picture = ticket.progress.picture
            yield news
            time.sleep(EVERY)
        yield {self.status: saying.ended(ticket), self.stop: gradio.update(interactive=False)} | self.result(ticket)

    def result(self, ticket: Ticket) -> dict:
        """Shows the mesh and the picture that an order left, and offers the mesh for download."""
        import gradio

        made: Made | None = ticket.result
        if made is None or made.mesh is None:
            return {}
        mesh = self.place / f"{made.folder.name}.glb"
        shutil.copyfile(made.mesh, mesh)
        picture = {} if made.picture is None else {self.preview: iio.imread(made.picture)}
        return {self.mesh: str(mesh), self.download: gradio.update(value=str(mesh), interactive=True)} | picture

    def show_cut_out(self, upload: str | None) -> dict:
        """Shows what of an uploaded image is used, or why it is not."""
        if upload is None:
            return {self.cut: None}
        try:
            return {self.cut: cut_out(Path(upload)), self.status: saying.said("This cut-out is what is used.")}
        except Exception as error:  # a hostile picture may fail in any way
            return {self.cut: None, self.status: saying.refused(error)}

    def describe(self, name: str, percent: float | int) -> dict:
        """Says what a method does, and offers fewer steps where it takes any."""
        import gradio

        return {
            self.about: self.described(name, percent),
            self.percent: gradio.update(visible=not self.methods[name].in_one_pass),
        }

    def described(self, name: str, percent: float | int) -> str:
        """Says what a method does, and how long it takes here."""
        method = self.methods[name]
        return saying.described(method, percent / 100, self.shop.expected(Order(method, share=percent / 100)))


def whole(number: float | int | None) -> int:
    """Returns a whole number that was typed; 0 where none was."""
    return 0 if number is None else int(number)
