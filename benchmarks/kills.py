"""Kills a comparison (kill -9) at ten random moments: its table is the undisturbed one's, no run lost, none done twice.

python benchmarks/kills.py [--kills 10] [--longest 40] [--seed 0] [--workers 2] [key=value ...]
"""

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPARISON = (
    "comparisons/ablation-shading.yaml",
    "prompts=[a yellow duck, a red chair]",
    "seeds=[0, 1]",
    "keys={steps: 40, checkpoint_every: 10}",
)
CLOCKS = ("folder", "seconds", "memory")
"""Columns in whose names these are differ between two runs of one seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--longest", type=float, default=40.0, help="seconds from a start to the kill, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/kills"))
    parser.add_argument("keys", nargs="*", help="of the comparison, which is " + " ".join(COMPARISON))
    args = parser.parse_args()
    if (args.out / "killed").exists():
        parser.error(f"{args.out / 'killed'} is there already; move it away")
    whole, killed = (
        [
            sys.executable,
            str(ROOT / "launch.py"),
            "--config",
            *COMPARISON,
            *args.keys,
            "--workers",
            str(args.workers),
            f"out={args.out / name / 'report'}",
        ]
        for name in ("whole", "killed")
    )
    subprocess.run(whole, check=True)
    finished = disturb(killed, args.out / "killed", args.kills, args.longest, random.Random(args.seed))
    subprocess.run(killed, check=True)
    again = [run for run, moment in finished.items() if (run / "metrics.json").stat().st_mtime_ns != moment]
    tables = [table(args.out / name / "report/results.csv") for name in ("whole", "killed")]
    differing = [[name for name in one if one[name] != other[name]] for one, other in zip(*tables, strict=True)]
    print(
        f"{len(tables[0])} runs undisturbed, {len(tables[1])} after {args.kills} kills; {len(again)} done again: "
        f"{', '.join(map(str, again)) or 'none'}"
    )
    print(
        f"rows that differ: {sum(map(bool, differing))}; "
        f"columns: {sorted(set().union(*differing)) or 'none'}, of {len(tables[0][0])}"
    )
    sys.exit(bool(again or len(tables[0]) != len(tables[1]) or any(differing)))


def disturb(command: list[str], folder: Path, kills: int, longest: float, moments: random.Random) -> dict[Path, int]:
    """Starts the comparison and kills it, again and again: in turn all its processes and only their parent.
    Returns the runs that were done before the last kill, and when."""
    finished: dict[Path, int] = {}
    for kill in range(kills):
        alone = kill % 2 == 1
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(moments.uniform(2, longest))
        if process.poll() is not None:
            sys.exit(f"the comparison ended by itself before kill {kill + 1}: give it more to do, or another --seed")
        os.kill(process.pid, signal.SIGKILL) if alone else os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        finished = {run.parent: run.stat().st_mtime_ns for run in done(folder)} | finished
        print(
            f"kill {kill + 1} ({'the launcher alone' if alone else 'everything'}): {len(finished)} runs done",
            flush=True,
        )
    return finished


def done(folder: Path) -> list[Path]:
    """Lists the metrics of the runs that are done."""
    return [
        path for path in folder.glob("runs/*/*/metrics.json") if json.loads(path.read_text()).get("status") == "done"
    ]


def table(path: Path) -> list[dict[str, str]]:
    """Reads a row a run, without what a clock, a meter or the folder says."""
    with path.open(encoding="utf-8") as file:
        return [
            {name: value for name, value in row.items() if not any(word in name for word in CLOCKS)}
            for row in csv.DictReader(file)
        ]


if __name__ == "__main__":
    main()
