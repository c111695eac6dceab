"""Reads what `benchmarks/memory.py` counted of the parts of large models."""

import functools
import json
import math
from pathlib import Path
from typing import Any

from threestudio_like.config.schedule import Schedule

COUNTED = Path(__file__).with_name("counted.json")
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
TRAINED = 16
"""Bytes of a trained number: itself, its gradient and Adam's two moments."""
TYPICAL_SAMPLES = 36
"""Samples that a ray has at the start of a usual scene, where no `max_samples` bounds them."""


@functools.cache
def counted() -> dict[str, Any]:
    """Reads what was counted, in bytes.

    Of models in half precision `[fixed, each]` for so many images; of drawings for each sample, pixel, vertex or cube;
    of perceptual losses for each pixel.
    """
    return json.loads(COUNTED.read_text())


def at(line: list[int], count: int) -> int:
    """Returns the bytes that `count` images take."""
    return line[0] + count * line[1]


def largest(schedule: Schedule) -> int:
    """Returns the largest value that a schedule has."""
    return math.ceil(max(schedule.values))
