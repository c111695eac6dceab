"""Puts small faults in, one at a time, and looks whether the nearest tests notice: of twenty at most one may pass.

python -m benchmarks.mutants [--only NAME ...] [--under FOLDER ...] [--workers 1] [--fast] [--seconds 300]

The faults stand in `benchmarks/mutants.yaml`. Each is put into a copy of the tree, and never into the tree itself,
where the tests named beside it are run until the first fails: the fast ones, and then the slow ones, unless `--fast`
leaves those out. A test that fails is asked again without the fault, which it must pass. The exit code is 1 where more
than one fault in twenty survives, and 2 where the list does not fit the tree or a test fails without a fault.
"""

import argparse
import multiprocessing
import os
import queue
import re
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_suffix(".yaml")
COPIED = (
    "threestudio_like",
    "priors",
    "systems",
    "tests",
    "configs",
    "benchmarks",
    "docs",
    "launch.py",
    "pyproject.toml",
)
FAST, SLOW = "not slow and not cuda", "slow and not cuda"
ALLOWED = 0.05
"""The share of the faults that may survive."""
LIBRARIES = (
    *("torch", "numba", "scipy.ndimage", "scipy.stats", "skimage.measure", "trimesh", "imageio.v3", "omegaconf"),
    *("diffusers.models.unets.unet_2d_condition", "diffusers.models.autoencoders.autoencoder_kl", "lightning_fabric"),
    *(
        "transformers.models.clip.modeling_clip",
        "transformers.models.vit.modeling_vit",
        "peft",
        "jaxtyping",
        "beartype",
    ),
)
"""Imported once, in the process that those which run tests are forked from."""
processes = multiprocessing.get_context("forkserver")


class UnfitError(Exception):
    """The list does not fit the tree, or a test fails without a fault; the message says which."""


@dataclass(frozen=True)
class Mutant:
    """A small fault: in `file` the text `old` is replaced by `new`, which one of `tests` must notice."""

    name: str
    file: str
    breaks: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, root: Path = ROOT) -> str:
        """Returns the file's text with the fault. Raises UnfitError where `old` is not there once."""
        text = (root / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise UnfitError(f"{self.name}: its old text is {text.count(self.old)} times in {self.file}, not once")
        return text.replace(self.old, self.new)

    def check(self) -> None:
        """Raises UnfitError where the fault does not apply, or leaves no Python."""
        try:
            compile(self.applied(), self.file, "exec")
        except SyntaxError as error:
            raise UnfitError(f"{self.name}: {self.file} is no Python with it ({error.msg})") from None


def read_mutants(path: Path = LIST) -> list[Mutant]:
    """Reads the list."""
    files = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    return [
        Mutant(**one | {"file": file, "tests": tuple(one.get("tests") or of.get("tests") or nearest(file))})
        for file, of in files.items()
        for one in of["mutants"]
    ]


def nearest(file: str) -> tuple[str, ...]:
    """Finds the test file of a source file's name and place; where there is none, those that import it."""
    rooms = Path(file).with_suffix("").parts
    *folder, name = rooms[1:] if rooms[0] == "threestudio_like" else rooms
    own = Path("tests", *folder, f"test_{name}.py")
    if (ROOT / own).is_file():
        return (str(own),)
    named = re.compile(rf"\b{re.escape('.'.join(rooms).removesuffix('.__init__'))}\b")
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    return tuple(str(path.relative_to(ROOT)) for path in paths if named.search(path.read_text(encoding="utf-8")))


class FirstFailure:
    """A plug-in of pytest that remembers the first test that failed, or the first file that could not be read."""

    name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Looks at a test's end."""
        if report.failed:
            self.name = self.name or report.nodeid

    pytest_collectreport = pytest_runtest_logreport


def run_tests(tree: Path, tests: tuple[str, ...], tiers: tuple[str, ...], compiled: bool, answer: Connection) -> None:
    """Runs tests on a copy of the tree, in this process, and sends the name of the first that fails, or nothing.

    Where the fault is in a compiled function, `compiled`, all that may inline it is compiled anew.
    """
    import numba

    sys.path[:] = [str(tree), *(place for place in sys.path if Path(place).resolve() != ROOT)]
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]
    os.chdir(tree)
    said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1), os.dup2(said, 2)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as own:
        os.environ["TSL_CACHE"] = f"{own}/cache"  # what a fault has made must not be read without it
        numba.config.CACHE_DIR = f"{own}/kernels" if compiled else numba.config.CACHE_DIR
        first = FirstFailure()
        for tier in tiers:
            options = ("-x", "-q", "-o", "addopts=", "-p", "no:cacheprovider", "--basetemp", f"{own}/tests", "-m", tier)
            code = pytest.main([*options, *tests], [first])
            if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
                answer.send(first.name or f"pytest's exit code {int(code)}")
                return
    answer.send("")


def attempt(tree: Path, tests: tuple[str, ...], tiers: tuple[str, ...], compiled: bool, seconds: float) -> str:
    """Runs tests in a process of their own; returns the first that fails, or what else was amiss, or nothing."""
    here, there = processes.Pipe(duplex=False)
    process = processes.Process(target=run_tests, args=(tree, tests, tiers, compiled, there))
    process.start()
    there.close()
    try:
        return here.recv() if here.poll(seconds) else f"no end within {seconds:.0f} seconds"
    except EOFError:
        return "the process that ran the tests ended"
    finally:
        process.kill()
        process.join()


class Laboratory:
    """Copies of the tree, in which faults are tried."""

    def __init__(self, folder: Path, workers: int, tiers: tuple[str, ...], seconds: float):
        self.tiers, self.seconds = tiers, seconds
        self.trees: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self.sound: dict[str, bool] = {}
        """Tests that were asked without a fault, and whether they passed."""
        for i in range(workers):
            for name in COPIED:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
                (folder / str(i)).mkdir(exist_ok=True)
                copy(ROOT / name, folder / str(i) / name)
            self.trees.put(folder / str(i))

    def noticed(self, mutant: Mutant) -> str:
        """Returns what notices a fault; nothing where it survives. Raises UnfitError."""
        tree = self.trees.get()
        path, kept = tree / mutant.file, ROOT / mutant.file
        try:
            path.write_text(mutant.applied(), encoding="utf-8")
            found = attempt(tree, mutant.tests, self.tiers, "import numba" in path.read_text(), self.seconds)
            shutil.copy2(kept, path)
            test = found.partition("::")[1] and found
            if test and test not in self.sound:
                self.sound[test] = not attempt(tree, (test,), (f"({FAST}) or ({SLOW})",), False, self.seconds)
            if test and not self.sound[test]:
                raise UnfitError(f"{test} fails without a fault too; mend it first")
            return found
        finally:
            shutil.copy2(kept, path)
            self.trees.put(tree)


def main(argv: list[str] | None = None) -> int:
    """Tries the faults, and prints which survive; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="faults of these names")
    parser.add_argument("--under", nargs="+", default=[""], metavar="FOLDER", help="faults in files that begin so")
    parser.add_argument("--workers", type=int, default=1, help="faults tried at once")
    parser.add_argument("--fast", action="store_true", help="leave slow tests out")
    parser.add_argument("--seconds", type=float, default=300.0, help="a fault's tests may take so long")
    args = parser.parse_args(argv)
    chosen = [one for one in read_mutants() if one.file.startswith(tuple(args.under))]
    chosen = [one for one in chosen if not args.only or one.name in args.only]
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    processes.set_forkserver_preload(list(LIBRARIES))
    survivors = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.workers) as pool:
        tiers = (FAST,) if args.fast else (FAST, SLOW)
        laboratory = Laboratory(Path(folder), args.workers, tiers, args.seconds)

        def tried(mutant: Mutant) -> tuple[Mutant, str, float]:
            began = time.monotonic()
            return mutant, laboratory.noticed(mutant), time.monotonic() - began

        try:
            for one in chosen:
                one.check()
            for mutant, found, seconds in pool.map(tried, chosen):
                print(f"{mutant.name}: {found or f'SURVIVES: {mutant.breaks}'} ({seconds:.0f} s)", flush=True)
                survivors += [] if found else [mutant]
        except UnfitError as error:
            pool.shutdown(cancel_futures=True)
            print(f"error: {error}", file=sys.stderr)
            return 2
    print(f"{len(survivors)} of {len(chosen)} survive: {', '.join(one.name for one in survivors) or 'none'}")
    return int(len(survivors) > ALLOWED * len(chosen))


if __name__ == "__main__":
    sys.exit(main())
