"""What the page says, of which nothing is a visitor's HTML."""

from pathlib import Path

import pytest

from threestudio_like.demo.line import Progress, Ticket
from threestudio_like.demo.methods import METHODS
from threestudio_like.demo.orders import Order
from threestudio_like.demo.saying import at_work, ended, said, waiting
from threestudio_like.demo.work import Made
from threestudio_like.errors import StoppedError, UserError

IMAGE = Path("/tmp/uploads/1234/<b>.png")


def ticket(**more) -> Ticket:
    return Ticket("me", Order(METHODS[0], image=IMAGE), 12.0, **more)


def test_nothing_of_a_visitors_is_html():
    assert said("<script>", 0.5, ["<img src=x onerror=y>"]) == (
        "<p class='said' role='status'>&lt;script&gt;</p><progress max=\"1\" value=\"0.500\"></progress>"
        "<p class='warning'>&lt;img src=x onerror=y&gt;</p>"
    )


@pytest.mark.parametrize(
    "before, says",
    [
        ([ticket()], "number 2 in the line: one mesh is made before yours; it is your turn in about 12 s."),
        ([ticket(), ticket()], "number 3 in the line: 2 meshes are made before yours; it is your turn in about 24 s."),
        ([Ticket("me", None, None)], "number 2 in the line: one mesh is made before yours; how long that takes is not"),
    ],
)
def test_who_waits_is_told_how_long(before, says):
    assert says in waiting(before)


def test_who_is_served_is_told_how_far():
    told = at_work(ticket(progress=Progress("step 3 of 9", 0.25, 30.0), warnings=[f"{IMAGE}: strange"]))
    assert "Step 3 of 9; about 30 s left." in told and 'value="0.250"' in told
    assert "&lt;b&gt;.png: strange" in told and "/tmp" not in told


@pytest.mark.parametrize(
    "what, says",
    [
        ({"error": UserError(f"{IMAGE}: no object")}, "&lt;b&gt;.png: no object."),
        ({"error": StoppedError("stopped after step 3")}, "Stopped. The line is free"),
        ({}, "Stopped. The line is free"),
        ({"error": MemoryError()}, "Out of memory"),
        ({"result": Made(Path("outputs/demo/a"), None, None)}, "No mesh came of it; the run is in outputs/demo/a."),
        ({"result": Made(Path("outputs/demo/a"), Path("m.glb"), None)}, "Done: the run is in outputs/demo/a."),
    ],
    ids=["mistake", "stopped", "before it began", "memory", "no mesh", "done"],
)
def test_how_it_ended_is_a_sentence(what, says):
    told = ended(ticket(ended=True, **what))
    assert says in told and "/tmp/uploads" not in told and "Traceback" not in told


def test_what_nobody_expected_is_a_sentence_too():
    told = ended(ticket(error=ZeroDivisionError("division by zero")))
    assert "Unexpected ZeroDivisionError: division by zero; its traceback is in " in told
    Path(told.partition("traceback is in ")[2].partition(".</p>")[0]).unlink()
