"""Disturbs runs of every kind at random moments: each must end where the undisturbed one ends, and say nothing untrue.

python -m benchmarks.kills [--kills 150] [--seed 0] [--kinds playground dreamfusion ...] [--out FOLDER]

A kind is a command of the launcher at tiny sizes. It is run once undisturbed; then, until all its kills are spent, it
is started, disturbed, and taken up again, to the end. The disturbances are SIGKILL, SIGTERM, SIGHUP and SIGINT, a full
disk (RLIMIT_FSIZE, set while it runs), a folder that becomes read-only, a bit that flips in a checkpoint, and a second
launcher of the same command. Compared with the undisturbed run are the bytes of pictures and meshes, every tensor of
the checkpoints, and every figure that is no clock's. The exit code is 1 where anything is not as it must be.
"""

import argparse
import ctypes
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch

from threestudio_like.engine.run_folder import METRICS, read_map, status_of

ROOT = Path(__file__).resolve().parent.parent
GRID = "{n_levels: 2, n_features_per_level: 2, log2_hashmap_size: 8, base_resolution: 4, max_resolution: 8}"
SHOWN = ("evaluation.strip_size=16", "evaluation.video_frames=4", "evaluation.video_size=16", "evaluation.scorer=null")
SCENE = (*SHOWN, "cameras.size=16", f"scene.encoding={GRID}", "scene.hidden=8")
VOLUME = (*SCENE, "evaluation.mesh_resolution=16", "renderer.resolution=8", "renderer.render_step_size=0.2")
MESH = (*SCENE, "renderer.supersample=1", "scene.resolution=8", "evaluation.texture_size=16")
FEW = "generation.show={strip_size: 16, video_frames: 4, video_size: 16}"
EVERY = ("checkpoint_every=3", "preview_every=0", "device=cpu", "threads=1")
KINDS = {
    "playground": ("--config", "playground2d", "images=2", "size=32", "steps=60", *EVERY),
    "dreamfusion": ("--config", "dreamfusion", "steps=40", *VOLUME, *EVERY),
    "vsd": ("--config", "playground2d", "guidance=${vars.vsd}", "images=2", "size=32", "steps=30", *EVERY),
    "fantasia3d": (
        *("--config", "fantasia3d", *MESH, *EVERY),
        *(f"stages.{stage}.steps=12" for stage in ("coarse", "fine", "appearance")),
    ),
    "generate": ("--config", "geco", "--generate", "image=docs/images/purple-chair.png", "n=6", "device=cpu", FEW),
    "sweep": (
        *("--config", "playground2d", "--workers", "2", "images=2", "size=32", *EVERY),
        *("--sweep", "seed=0,1,2", "steps=30"),
    ),
}
AGAIN = ("generate", "sweep")
"""The kinds whose command goes on when it is given again; the others go on by `--resume FOLDER`."""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
DISTURBANCES = (*(one.name for one in SIGNALS), "full disk", "read-only", "bit flip", "two launchers")
STARTING = 0.5
"""Seconds in which Python itself starts, and a signal ends it as any program."""
CLOCKS = ("seconds", "memory", "files", "out", "image", "asked", "git_revision")
DROP_FROM_BOUNDING_SET, DAC_OVERRIDE = 24, 1
"""Of Linux's prctl.h and capability.h."""


@dataclass
class Findings:
    """Counts the disturbances of a kind, and gathers what was not as it must be."""

    kind: str
    counts: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def must(self, holds: bool, sentence: str) -> None:
        """Notes the sentence where something does not hold."""
        if not holds:
            self.wrong.append(f"{self.kind}: {sentence}")
            print(self.wrong[-1], flush=True)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        return f"{self.kind}: {sum(self.counts.values())} ({counts}); {len(self.wrong)} wrong"


def obey_permissions() -> None:
    """Makes root obey the permissions of folders, as any user must, from the next program on."""
    ctypes.CDLL(None).prctl(DROP_FROM_BOUNDING_SET, DAC_OVERRIDE)


def start(command: tuple[str, ...]) -> subprocess.Popen:
    """Starts the launcher."""
    return subprocess.Popen(
        [sys.executable, "launch.py", *command],
        cwd=ROOT,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=obey_permissions,
    )


def finish(command: tuple[str, ...], found: Findings) -> None:
    """Runs a command to its end, which must be a good one."""
    process = start(command)
    said = process.communicate(timeout=900)[1]
    found.must(process.returncode == 0, f"ends with {process.returncode}: {said.strip().splitlines()[-1:]}")


def disturb(
    command: tuple[str, ...], how: str, moment: float, folder: Path, found: Findings, rng: random.Random
) -> None:
    """Starts a command, disturbs it after `moment` seconds, and looks at what it says and leaves."""
    process, other = start(command), None
    time.sleep(moment)
    running = process.poll() is None
    if how in signal.Signals.__members__ or how == "bit flip":
        process.send_signal(signal.SIGKILL if how == "bit flip" else signal.Signals[how])
    elif how == "full disk" and running:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2000, 2000))
    elif how == "read-only" and folder.exists():
        set_writable(folder, False)
    elif how == "two launchers":
        other = start(command)
    said = process.communicate(timeout=900)[1]
    set_writable(folder, True)
    code = process.returncode
    allowed = {0, 130} if how in ("SIGTERM", "SIGHUP", "SIGINT") else {0, -9} if how in ("SIGKILL", "bit flip") else {0}
    allowed |= {1, 2} if how in ("full disk", "read-only") else {75} if how == "two launchers" else set()
    allowed |= {-signal.Signals[how]} if how in signal.Signals.__members__ and moment < STARTING else set()
    last = said.strip().splitlines()[-1:]
    found.must(code in allowed, f"{how} after {moment:.2f} s: exit code {code}, {last}")
    found.must("Traceback" not in said, f"{how} after {moment:.2f} s: a traceback, {last}")
    if other is not None:
        second = other.communicate(timeout=900)[1].strip().splitlines()[-1:]
        found.must(other.returncode in (0, 75), f"the second launcher: exit code {other.returncode}, {second}")
        found.must(0 in (code, other.returncode), f"neither launcher ran: {last}, {second}")  # whichever came first
    wait_for_workers(folder)
    if how == "bit flip":
        flip_a_bit(folder, rng)
    for path in folder.rglob("metrics.json"):
        status = status_of(path.parent, json.loads(path.read_text(), parse_constant=refuse))  # as readers have it
        found.must(status != "running", f"{how} after {moment:.2f} s: {path} says it is running")
        found.must(status != "done" or finished(path), f"{how} after {moment:.2f} s: {path} says done, and is not")


def refuse(constant: str) -> None:
    """Raises ValueError for NaN and infinity, which JSON does not know."""
    raise ValueError(f"{constant} is no JSON")


def finished(metrics: Path) -> bool:
    """Tells whether a folder that says so holds what a run leaves last."""
    return any(metrics.parent.glob("*.png")) or any(metrics.parent.glob("*/mesh.glb"))


def set_writable(folder: Path, writable: bool) -> None:
    """Makes every folder in a folder writable, or not."""
    for place in [folder, *folder.rglob("*")] if folder.exists() else []:
        if place.is_dir():
            place.chmod(0o755 if writable else 0o555)


def wait_for_workers(folder: Path) -> None:
    """Waits until no process has the folder in its command line: a sweep's runs end soon after it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        if not any(str(folder).encode() in line and b"launch.py" in line for line in lines):
            return
        time.sleep(0.1)


def flip_a_bit(folder: Path, rng: random.Random) -> None:
    """Flips a bit in one of the newest checkpoints that have another before them.

    Not in that of a sweep's run which is done: no command reads it again.
    """
    paths = [
        path
        for path in sorted(folder.rglob("checkpoints/*.pt"))
        if (path.parent / "previous" / path.name).exists()
        and (path.parents[1] == folder or read_map(path.parents[1] / METRICS).get("status") != "done")
    ]
    if paths:
        path = rng.choice(paths)
        flipped = bytearray(path.read_bytes())
        place = rng.randrange(8 * len(flipped))
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)


def compare(whole: Path, disturbed: Path, found: Findings) -> None:
    """Compares what both runs left: tensors, pictures, meshes, figures."""
    names = [
        {path.relative_to(folder) for path in folder.rglob("*") if compared(path)} for folder in (whole, disturbed)
    ]
    found.must(names[0] == names[1], f"other files: {sorted(map(str, names[0] ^ names[1]))}")
    for name in sorted(names[0] & names[1]):
        found.must(same(whole / name, disturbed / name), f"{name} differs")


def compared(path: Path) -> bool:
    """Tells whether a file is a result, and not a log or what is kept beside."""
    beside = {"previous", "damaged", "tensorboard"} & set(path.parts) or path.name.startswith(".")
    return (
        path.is_file() and not beside and path.suffix in (".pt", ".png", ".glb", ".json") and path.name != "sweep.json"
    )


def same(one: Path, other: Path) -> bool:
    """Tells whether two files hold the same, clocks aside."""
    if one.suffix == ".pt":
        left, right = (torch.load(path, weights_only=True) for path in (one, other))
        return left["step"] == right["step"] and all(
            torch.equal(left["system"][k], right["system"][k]) for k in left["system"]
        )
    if one.suffix == ".json":
        left, right = (without_clocks(json.loads(path.read_text())) for path in (one, other))
        return left == right
    return one.read_bytes() == other.read_bytes()


def without_clocks(node: object) -> object:
    """Leaves out of a run's figures what a clock, a meter or the folder says."""
    if isinstance(node, dict):
        return {k: without_clocks(v) for k, v in node.items() if not any(word in k for word in CLOCKS)}
    return node


def campaign(kind: str, kills: int, out: Path, rng: random.Random, how: tuple[str, ...] = DISTURBANCES) -> Findings:
    """Disturbs a kind of run so often. Two to four disturbances befall one run; then it is finished, and one begins."""
    found, whole = Findings(kind), out / kind / "whole"
    shutil.rmtree(out / kind, ignore_errors=True)
    (out / kind).mkdir(parents=True)
    began = time.monotonic()
    finish((*KINDS[kind], f"out={whole}"), found)
    longest = 1.2 * (time.monotonic() - began)
    one, left = 0, kills
    while left > 0:
        folder = out / kind / f"disturbed-{one}"
        command = fresh = (*KINDS[kind], f"out={folder}")
        for _ in range(min(left, rng.randint(2, 4))):
            name = how[sum(found.counts.values()) % len(how)]
            moment = rng.uniform(0, STARTING if name == "two launchers" else longest)  # so that both are at it
            disturb(command, name, moment, folder, found, rng)
            found.counts[name] += 1
            left -= 1
            begun = kind not in AGAIN and (folder / "config.yaml").exists()
            command = ("--resume", str(folder)) if begun else fresh
        finish(command, found)
        compare(whole, folder, found)
        found.must(not folder.with_name(f"{folder.name}.1").exists() or kind == "generate", "a run was begun anew")
        one += 1
    return found


def main() -> None:
    """Carries the campaign out over all kinds, and prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=150, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/kills"))
    args = parser.parse_args()
    rng, wrong = random.Random(args.seed), 0
    for i, kind in enumerate(args.kinds):
        share = args.kills // len(args.kinds) + (i < args.kills % len(args.kinds))
        found = campaign(kind, share, args.out.resolve(), rng)
        wrong += len(found.wrong)
        print(found, flush=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
