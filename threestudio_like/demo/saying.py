"""Says in the page how far an order is, and what came of it, in HTML that holds nothing of a visitor's but text."""

import html
from collections.abc import Sequence

from threestudio_like.demo.line import Ticket, seconds_before
from threestudio_like.demo.methods import Method
from threestudio_like.engine.sentences import sentence
from threestudio_like.errors import StoppedError
from threestudio_like.utils.progress import duration


def said(text: str, share: float | None = None, warnings: Sequence[str] = (), wrong: bool = False) -> str:
    """Formats a sentence, a bar where there is a share (0..1), and warnings below it; all is escaped."""
    bar = "" if share is None else f'<progress max="1" value="{share:.3f}"></progress>'
    notes = "".join(f"<p class='warning'>{html.escape(warning)}</p>" for warning in warnings)
    return f"<p class='{'wrong' if wrong else 'said'}' role='status'>{html.escape(text)}</p>{bar}{notes}"


def waiting(before: Sequence[Ticket]) -> str:
    """Says how many come first, and how long that takes."""
    seconds = seconds_before(list(before))
    soon = (
        "how long that takes is not known yet" if seconds is None else f"it is your turn in about {duration(seconds)}"
    )
    others = "one mesh is" if len(before) == 1 else f"{len(before)} meshes are"
    return said(f"You are number {len(before) + 1} in the line: {others} made before yours; {soon}.", 0.0)


def at_work(ticket: Ticket) -> str:
    """Says how far an order is that is carried out now."""
    now, left = ticket.progress, ticket.left
    rest = "" if left is None else f"; about {duration(left)} left"
    return said(f"{now.says[0].upper()}{now.says[1:]}{rest}.", now.share or 0.0, public(ticket, ticket.warnings))


def ended(ticket: Ticket) -> str:
    """Says what came of an order."""
    warnings = public(ticket, ticket.warnings)
    if isinstance(ticket.error, StoppedError) or (ticket.error is None and ticket.result is None):
        return said("Stopped. The line is free for the next one.", None, warnings)
    if ticket.error is not None:
        (told,) = public(ticket, [sentence(ticket.error)[0]])
        return said(f"{told[:1].upper()}{told[1:]}.", None, warnings, wrong=True)
    if ticket.result.mesh is None:
        return said(f"No mesh came of it; the run is in {ticket.result.folder}.", None, warnings, wrong=True)
    return said(f"Done: the run is in {ticket.result.folder}.", None, warnings)


def public(ticket: Ticket, texts: Sequence[str]) -> list[str]:
    """Names the uploaded file in each text as the visitor does."""
    return [ticket.order.public(text) for text in texts]


def refused(error: Exception) -> str:
    """Says why something cannot be made."""
    told, _ = sentence(error)
    return said(f"{told[:1].upper()}{told[1:]}.", wrong=True)


def described(method: Method, share: float, seconds: float | None) -> str:
    """Says what a method does, in how many steps, and how long it takes."""
    steps = "" if method.in_one_pass else f", {round(share * method.steps)} of the recipe's {method.steps} steps"
    time = "" if seconds is None else f"; about {duration(seconds)} on this machine"
    return said(f"{method.name}: {method.about}{steps}{time}.")
