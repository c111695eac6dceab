"""Measures on one GPU what the recipes for large models promise: `python -m benchmarks.gpu`, in under 25 minutes.

It runs the tests that need CUDA, times the kernels beside their references and the packages that are installed, runs
DreamFusion on the Toybox, and takes steps of every recipe for large models at full size on random weights, which it
writes to `--folder` first (30 GB). Goals stand beside what was measured. Nothing is downloaded.

Results are kept in `--out` as they come, so that the command goes on where it was stopped; `--part 3` takes one part
alone, of at most 8 minutes. `--device cpu --tiny` tries the command itself, on models of a few kilobytes.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import gpu_report, gpu_rows
from threestudio_like.utils.files import read_json, write_json
from threestudio_like.utils.paths import ROOT

PART_SECONDS, ALL_SECONDS = 8 * 60, 25 * 60
NO_CUDA = "torch finds no CUDA device, so that nothing is measured; on a machine with one, give this command again"


@dataclass(frozen=True)
class Measuring:
    """The way all is measured."""

    device: str
    tiny: bool
    folder: Path
    """Where the models are, and stay."""
    out: Path

    @property
    def results(self) -> Path:
        """The file of what was measured so far."""
        return self.out / "results.json"

    def known(self) -> dict:
        """Reads what was measured so far, by row."""
        return read_json(self.results) if self.results.exists() else {}

    def row(self, name: str, seconds: float) -> dict:
        """Measures a row in a process of its own; what goes wrong is told in its result."""
        written = self.out / "row.json"
        written.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks.gpu", "--device", self.device, "--folder", str(self.folder)]
        command += ["--out", str(self.out), "--row", name, *["--tiny"] * self.tiny]
        with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as process:
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                return {"failed": f"stopped after {seconds:.0f} s"}
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)  # with all that it started
        return read_json(written) if written.exists() else {"failed": f"ended with {code}"}


def main(argv: list[str]) -> int:
    """Returns 2 without a GPU, 1 where a row failed or is left."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", type=int, choices=range(1, len(gpu_rows.PARTS) + 1), help="this part alone")
    parser.add_argument("--only", default="", help="the beginning of the names of the rows that are measured")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="models of a few kilobytes")
    parser.add_argument("--folder", type=Path, default=Path("outputs/gpu/models"))
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu"))
    parser.add_argument("--row", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.device == "cuda" and not torch.cuda.is_available():
        print(NO_CUDA, file=sys.stderr)
        return 2
    measuring = Measuring(given.device, given.tiny, given.folder.resolve(), given.out.resolve())
    measuring.out.mkdir(parents=True, exist_ok=True)
    if given.row:
        write_json(measuring.out / "row.json", gpu_rows.measure(given.row, measuring))
        return 0
    parts = gpu_rows.PARTS if given.part is None else [gpu_rows.PARTS[given.part - 1]]
    return go_on(measuring, [[name for name in part if name.startswith(given.only)] for part in parts])


def go_on(measuring: Measuring, parts: list[list[str]]) -> int:
    """Measures the rows that are missing, as long as there is time, and prints the table; returns the exit code."""
    end = time.monotonic() + ALL_SECONDS
    left = []
    for part in parts:
        part_end = min(end, time.monotonic() + PART_SECONDS)
        for name in part:
            if "failed" not in measuring.known().get(name, {"failed": ""}):
                continue
            seconds = part_end - time.monotonic()
            if seconds <= 0:
                left.append(name)
                continue
            print(f"{name}", flush=True)
            result = measuring.row(name, seconds)
            write_json(measuring.results, measuring.known() | {name: result})
    table = gpu_report.table(measuring.known())
    (measuring.out / "results.md").write_text(table)
    print(table)
    if left:
        print(f"no time was left for {', '.join(left)}; give the command again")
    return int(bool(left) or any("failed" in result for result in measuring.known().values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
