"""Runs the launcher's command lines in this process, and looks for what must never come of one.

That is a traceback, a hang, a write outside the run's folder, a connection, a program that is started, a status that
is not true. `benchmarks/fuzz.py` and `benchmarks/hostile.py` say which command lines.
"""

import argparse
import contextlib
import functools
import io
import json
import logging
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch

import launch

LIMIT, PATIENCE = 60, 300
"""Seconds that a command line may compute, and that it may take where other processes compute beside it."""
MEMORY = 12 << 30
"""Bytes of address space, so that what asks for more is refused it."""
CODES = {0: "accepted", 1: "failed", 2: "refused", 75: "refused"}
STATUSES = ("done", "failed", "interrupted", "some failed")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = {"os.mkdir": (0,), "os.remove": (0,), "os.rmdir": (0,), "os.truncate": (0,), "os.rename": (0, 1)} | {
    "os.link": (1,),
    "os.symlink": (1,),
}
"""Python's audit events that change files, and which of their arguments name them."""
INFINITE = (".box.low", ".box.high", ".density")
"""Buffers in which an infinity is meant: the extent of nothing, a density that is not known yet."""
PROGRAMS = ("git", "ffmpeg", "uname", "lscpu", "nvidia-smi", "fc-list")
"""Programs that a run may start, by the beginnings of their names."""


class TimeUpError(BaseException):
    """A command line took longer than it may."""


@dataclass(frozen=True)
class Outcome:
    """The end of a command line."""

    ended: str
    """One of `CODES`' words, `hang`, `long` where it went on saying how long it takes, or `escaped`."""
    said: str
    """All that it printed."""
    wrong: tuple[str, ...]
    """Sentences on things that must not be."""

    @property
    def folder(self) -> str | None:
        """The folder in which `--check` says that it would run."""
        found = re.search(r"would run in (.*)", self.said)
        return found and found[1]


class Said(io.StringIO):
    """Keeps what is printed, and when the last of it was."""

    last = 0.0

    def write(self, text: str) -> int:
        """Takes what is printed."""
        self.last = time.monotonic()
        return super().write(text)


class Watch:
    """Notes what this process changes on the disk, starts and connects to, while it is open."""

    def __init__(self) -> None:
        self.open = False
        self.changed: list[str] = []
        self.others: list[str] = []
        sys.addaudithook(self.note)

    def note(self, event: str, given: tuple) -> None:
        """Takes one of Python's audit events."""
        if not self.open:
            return
        if event == "open" and isinstance(given[0], str | bytes) and given[2] & WRITING:
            self.changed.append(os.fsdecode(given[0]))
        elif event in CHANGES:
            self.changed += [os.path.abspath(os.fsdecode(given[i])) for i in CHANGES[event] if given[i] is not None]
        elif event in ("socket.connect", "socket.getaddrinfo"):
            self.others.append(f"connects to {given[1] if event == 'socket.connect' else given[0]}")
        elif event in ("os.system", "os.exec", "subprocess.Popen"):
            name = Path(os.fsdecode(given[0] or given[1][0])).name
            self.others += [] if name.startswith(PROGRAMS) else [f"starts {name}"]

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Notes what happens inside."""
        self.changed, self.others, self.open = [], [], True
        try:
            yield
        finally:
            self.open = False


@functools.cache
def watch() -> Watch:
    """Returns the process's one watch: what listens to its events can never be taken away again."""
    return Watch()


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    """Raises TimeUpError in what takes too long."""

    def stop(*_: object) -> None:
        raise TimeUpError("".join(traceback.format_stack(limit=6)))

    timers = {signal.ITIMER_PROF: (signal.SIGPROF, LIMIT), signal.ITIMER_REAL: (signal.SIGALRM, PATIENCE)}
    before = {number: signal.signal(number, stop) for number, _ in timers.values()}
    for timer, (_, seconds) in timers.items():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer, (number, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


@contextlib.contextmanager
def fresh_log() -> Iterator[None]:
    """Lets what is logged inside be said as in a process of its own."""
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        yield
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers = before


def limit_memory() -> None:
    """Bounds this process's memory."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def run(argv: list[str], own: Path | None) -> Outcome:
    """Carries out a command line that may write in the folder `own`, or nowhere, and says what came of it."""
    before = read(own)
    said, ended, wrong, code = Said(), "escaped", [], None
    try:
        with (
            watch().opened(),
            fresh_log(),
            time_limit(),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            code = launch.main(argv)
        ended = CODES.get(code, f"exit code {code}")
    except TimeUpError as error:
        ended, wrong = "hang", [f"hang: {error}"]
    except BaseException as error:
        wrong = [f"escaped: {''.join(traceback.format_exception(error)[-3:])}"]
    if code == 130:  # whoever carries out the campaign has stopped it
        raise KeyboardInterrupt
    text = said.getvalue()
    if ended == "hang" and re.search(r"\d+ (s|min|h) left", text) and time.monotonic() - said.last < LIMIT:
        ended, wrong = "long", []
    wrong += [f"ends with {code!r}"] if code is not None and code not in CODES else []
    wrong += told_badly(text, ended) + [f"writes {path}" for path in sorted(set(watch().changed)) if outside(path, own)]
    wrong += sorted(set(watch().others))
    if own is not None and ended not in ("hang", "long"):
        wrong += untrue(own, code, before)
    return Outcome(ended, text, tuple(wrong))


def told_badly(text: str, ended: str) -> list[str]:
    """Lists what is wrong with what was said: a traceback, or a refusal that is no sentence."""
    wrong = []
    for path in map(Path, re.findall(r"its traceback is in (\S*[^\s;)])", text)):
        told = path.read_text(encoding="utf-8", errors="replace") if path.exists() else text
        frames = re.findall(r'File ".*?((?:threestudio_like|priors|systems)/\S+)", line (\d+), in (\w+)', told)
        wrong.append(f"unexpected: {told.strip().splitlines()[-1]}, at {':'.join(frames[-1]) if frames else path}")
        if path.name.startswith("threestudio-like-"):
            path.unlink(missing_ok=True)
    if not wrong and (
        "Traceback (most" in text or re.search(r"unexpected \w+: ", text) or "a background thread ended" in text
    ):
        wrong.append(f"traceback: {text[-800:]}")
    lines = [line for line in text.splitlines() if line.strip()]
    last = lines[-1:] if ended == "refused" else lines  # where some have failed the folder's name comes last
    if ended in ("refused", "failed") and not any(line.startswith(("error: ", "failed: ")) for line in last):
        wrong.append(f"no sentence: {lines[-1:]}")
    return wrong


def outside(path: str, own: Path | None) -> bool:
    """Tells whether a file is none that a run in the folder `own` may write: in it, its lock, or an earlier run's.

    Caches are allowed.
    """
    real = Path(os.path.realpath(path))
    caches = [Path(os.path.realpath(os.environ[name])) for name in ("TSL_CACHE", "HOME")]
    allowed = [Path("/dev"), Path("/proc"), *caches]
    if "__pycache__" in real.parts or any(real.is_relative_to(place) for place in allowed):
        return False
    if Path(path).name.startswith("threestudio-like-"):  # a traceback, which is told otherwise
        return False
    if own is None:
        return True
    mine = own.resolve()
    beside = real.parent == mine.parent and re.fullmatch(
        rf"\.{re.escape(mine.name)}\.(lock|mark)|{re.escape(mine.name)}\.\d+", real.name
    )
    aside = any(re.fullmatch(rf"{re.escape(mine.name)}\.\d+", part.name) for part in real.parents)
    return not (real.is_relative_to(mine) or mine.is_relative_to(real) or beside or aside)


def arguments(about: str, cases: int) -> argparse.ArgumentParser:
    """Returns a parser of what every campaign is asked for: how many cases, and their seed."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=cases)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def carry_out(campaign: Callable[[Path], Any], cases: int, seed: int) -> NoReturn:
    """Carries a campaign out in a temporary folder, prints what it found, and exits with 1 where anything is wrong."""
    torch.set_num_threads(1)
    limit_memory()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(Path(folder))
    print(f"{cases} cases of seed {seed} in {time.monotonic() - began:.0f} s: {found}")
    sys.exit(bool(found.wrong))


def read(folder: Path | None) -> bytes:
    """Reads the metrics in a run's folder; nothing where there are none."""
    path = Path() if folder is None else folder / "metrics.json"
    return path.read_bytes() if path.is_file() else b""


def untrue(folder: Path, code: int | None, before: bytes) -> list[str]:
    """Lists what the metrics of the run in a folder, which held `before`, say that is not so."""
    found = read(folder)
    if found == before and code != 0:
        return []
    try:
        status = json.loads(found, parse_constant=lambda name: 1 / 0)["status"]
    except (ValueError, ZeroDivisionError, TypeError, KeyError) as error:
        return [f"status: none can be read in metrics.json ({error!r})"]
    wrong = [f"status: {status!r} after exit code {code}"] if (status == "done") != (code == 0) else []
    for path in folder.glob("checkpoints/*.pt") if status == "done" else ():
        tensors = torch.load(path, weights_only=True)["system"]
        bad = [
            name
            for name, value in tensors.items()
            if not torch.isfinite(value).all() and (value.isnan().any() or not name.endswith(INFINITE))
        ]
        wrong += [f"status: done, and {path.name} has a {bad[0]} that is not finite"] if bad else []
    return wrong
