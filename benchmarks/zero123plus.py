"""Times Zero123++ at its published sizes, with random weights: `python benchmarks/zero123plus.py [--folder F]
[--tiny]`.

Writes a model folder of the published layout (4 GB in half precision; kept where `--folder` names a place), loads it as
`configs/backbones/zero123plus.yaml` does, and times what turns one image into six views: its tokens, one step and 75 of
them under both kinds of attention, and the decoder. `--tiny` does the same with a model of a few kilobytes.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from priors.backbones.zero123plus import Zero123Plus
from tests.priors import model_folders
from threestudio_like.utils.seeding import generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--steps", type=int, default=75)
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary) / "model"
        if not (folder / "model_index.json").exists():
            model_folders.zero123plus(folder, None if given.tiny else model_folders.ZERO123PLUS)
        for attention in ("noised", "clean"):
            size = 32 if given.tiny else 320
            config = Zero123Plus.Config(str(folder), precision="fp16", attention=attention, view_size=size)
            measure(Zero123Plus(device, config), given.steps)


@torch.no_grad()
def measure(prior: Zero123Plus, steps: int) -> None:
    """Prints a line a part."""
    device = prior.device
    image = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0)).to(device)
    random = generator(device, "benchmark")
    condition = prior.condition(image)
    z = prior.noise(1, random)
    parts = {
        "tokens": lambda: prior.condition(image).text,
        "one step, scale 1": lambda: prior.one_step(z, condition),
        "one step, scale 4": lambda: prior.one_step(z, condition, 4.0),
        f"{steps} steps, scale 4": lambda: prior.sample(condition, 4.0, steps, random),
        "decoder": lambda: prior.decode(z),
    }
    print(f"attention to the {prior.config.attention} image; {device}, {prior.dtype}, views of {prior.view_size}")
    for name, part in parts.items():
        if "steps" not in name:
            part()  # the first call is slower
        seconds, result = timed(part)
        print(f"  {name:20s} {seconds:8.3f} s{'' if result.isfinite().all() else ', not finite'}", flush=True)
    if device.type == "cuda":
        print(f"  peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


def timed(part) -> tuple[float, torch.Tensor]:
    """Times one call, and returns its seconds and its result."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    begin = time.perf_counter()
    result = part()
    wait()
    return time.perf_counter() - begin, result


if __name__ == "__main__":
    main()
