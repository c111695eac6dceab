"""Folders as finished runs leave them, made up: comparisons are tested without running anything."""

import json

import imageio.v3 as iio
import numpy as np
from omegaconf import OmegaConf

from threestudio_like.config.loading import load, to_the_letter
from threestudio_like.experiments.comparison import Cell
from threestudio_like.experiments.sweep import record

REVISION = "0" * 40


def finish(cell: Cell, figures: dict[str, float], views: np.ndarray | None = None, revision: str = REVISION) -> None:
    """The folder of a run that is done. `views` `[8, S, S, 3]` bytes are its turntable, the shape below in grey."""
    folder = cell.job.folder
    folder.mkdir(parents=True)
    plain = dict(load(cell.job.config, [key for key in cell.job.keys if not key.startswith("prompt=")]))
    plain |= {"prompt": to_the_letter(cell.prompt), "git_revision": revision}
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(plain)), encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps({"status": "done", "device": "cpu"} | figures))
    if views is not None:
        row = np.concatenate(views, axis=1)
        grey = row.mean(-1, keepdims=True).repeat(3, axis=-1).astype(np.uint8)
        iio.imwrite(folder / "turntable.png", np.concatenate([row, grey]))


def fail(cell: Cell, reason: str) -> None:
    """The folder of a run that has failed."""
    record(cell.job, reason)
