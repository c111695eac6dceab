"""Writes the model card of a run or of a trained model: what it is, how it is used and was made, what was measured."""

import re
from pathlib import Path
from typing import Any

from threestudio_like.config.recipe import read_stored
from threestudio_like.config.scalars import is_finite
from threestudio_like.engine.run_folder import METRICS, RECIPE, is_run, read_map

CARD = "README.md"
LIBRARY = "threestudio_like"
PICTURES = ("turntable.png", "samples.png", "views.png")
SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")


def card(folder: Path, name: str, files: list[str], licence: str | None) -> str:
    """Returns the card of a folder with these files, by the name that it is to have on the hub."""
    trained_by = folder if is_run(folder) else folder.parent if is_run(folder.parent) else None
    recipe = read_stored(trained_by / RECIPE) if trained_by is not None else {}
    metrics = read_map(trained_by / METRICS) if trained_by is not None else {}
    run = trained_by == folder
    title = str(recipe.get("prompt") or "") if run else ""
    pictures = [picture for picture in PICTURES if picture in files]
    parts = [
        header(folder, run, licence),
        f"# {escaped(title or name.rstrip('/').rpartition('/')[2])}",
        f"{'A finished run' if run else 'A trained model'} of {LIBRARY}.",
        *(f"![{escaped(title or name)}]({picture})" for picture in pictures[:1]),
        "## Use\n\n" + usage(folder, run, name),
        *([f"## How it was made\n\n{table(made(recipe, metrics, revision_in(trained_by)))}"] if recipe else []),
        *([f"## What was measured\n\n{table(figures)}"] if (figures := measured(metrics)) else []),
    ]
    return "\n\n".join(parts) + "\n"


def header(folder: Path, run: bool, licence: str | None) -> str:
    """Returns the card's metadata, which the hub reads."""
    from huggingface_hub import ModelCardData

    draws = (folder / "model_index.json").is_file() and not (folder / "image_encoder").is_dir()
    data = ModelCardData(
        license=licence,
        library_name=LIBRARY,
        pipeline_tag="text-to-3d" if run else "text-to-image" if draws else "image-to-3d",
        tags=["3d", "score-distillation"],
    )
    return f"---\n{data.to_yaml()}\n---"


def usage(folder: Path, run: bool, name: str) -> str:
    """Returns the lines that load it."""
    if run:
        lines = f'from threestudio_like import Run\n\nrun = Run.open("{name}")\nmesh = run.scene.mesh()'
        return f"```python\n{lines}\n```\n\nor, to go on with it, `python launch.py --pull {name} to=FOLDER`."
    if (folder / "model_index.json").is_file():
        lines = f'import priors\n\nprior = priors.load("{name}")'
        return f"```python\n{lines}\n```\n\nor, in a recipe, `backbone.model={name}`."
    return f"`python launch.py --pull {name} to=FOLDER`, then name the folder in a recipe."


def made(recipe: dict[str, Any], metrics: dict[str, Any], revision: str | None) -> dict[str, str]:
    """Lists how it was made."""
    stages = recipe.get("stages") or {"main": recipe}
    systems = dict.fromkeys(str((stage or {}).get("system", recipe.get("system"))) for stage in stages.values())
    facts = {
        "method": ", ".join(systems),
        "prompt": recipe.get("prompt"),
        "seed": recipe.get("seed", 0),
        "steps": metrics.get("steps"),
        "seconds of training": metrics.get("train_seconds"),
        "device": metrics.get("device"),
        "revision": revision,
    }
    return {key: str(value) for key, value in facts.items() if value not in (None, "")}


def revision_in(run: Path | None) -> str | None:
    """Reads the git revision of a run's recipe; None where it has none."""
    text = (run / RECIPE).read_text(encoding="utf-8") if run is not None else ""
    found = re.search(r"(?m)^git_revision: ([0-9a-f]+\+?)$", text)
    return found[1] if found else None


def measured(metrics: dict[str, Any]) -> dict[str, str]:
    """Lists the figures of a run that are finite numbers."""
    told_above = {"steps", "train_seconds"}
    numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float) and key not in told_above}
    return {key: f"{value:.4g}" for key, value in numbers.items() if is_finite(value)}


def table(rows: dict[str, str]) -> str:
    """Writes a table of two columns."""
    return "\n".join(["| | |", "|---|---|", *(f"| {escaped(key)} | {escaped(value)} |" for key, value in rows.items())])


def escaped(text: str) -> str:
    """Returns a text that stands in Markdown as it was typed, in one line."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(r"\\\1", plain)
