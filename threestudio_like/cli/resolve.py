"""Resolves what was typed into the one request that it makes, and refuses options that mean nothing for it."""

from pathlib import Path

from threestudio_like.cli import without_recipe
from threestudio_like.cli.arguments import Arguments
from threestudio_like.cli.requests import CompareRequest, GenerateRequest, RunRequest, SweepRequest
from threestudio_like.config.loading import Loaded, find_recipe, is_comparison, load
from threestudio_like.config.renamed import translated
from threestudio_like.errors import UserError
from threestudio_like.experiments.axes import axes
from threestudio_like.utils.paths import expanded
from threestudio_like.viewer.address import Address

Request = RunRequest | SweepRequest | CompareRequest | GenerateRequest | without_recipe.Request


def resolve(given: Arguments) -> Request:
    """Loads what is named, and says which request is made. Raises UserError where an option means nothing for it."""
    swept, shared = axes(given.sweep)
    cluster, keys = divide((*given.keys, *shared), "cluster.")
    if given.action == "generate":
        asked, keys = divide(keys, "image=", "n=")
    if given.view is not None and given.config is None and given.folder is None and given.named is None:
        return finished(given, keys, cluster)
    view = address(given)
    if given.named is not None:
        refuse_options(given, False, cluster)
        return without_recipe.OPTIONS[given.action].request.of(given.action, given.named, keys)
    if given.folder is not None:
        refuse_options(given, False, cluster)
        name = given.folder.resolve().parent.name
        return RunRequest(stored(given.folder, keys), name, given.action, given.stage, view)
    assert given.config is not None, "read_arguments asks for a recipe or a folder"
    plain, path = load(given.config, keys), find_recipe(given.config)
    comparison = is_comparison(plain)
    refuse_options(given, comparison, cluster)
    if comparison and view is not None:
        raise UserError("--view is for one run that is trained, not for a comparison")
    if comparison:
        return CompareRequest(plain, path, given.crew, cluster)
    if given.sweep:
        return SweepRequest(plain, given.config, path.stem, tuple(swept), keys, given.crew, cluster)
    if given.action == "generate":
        return GenerateRequest.of(plain, path.stem, asked)
    return RunRequest(plain, path.stem, given.action, given.stage, view)


def address(given: Arguments) -> Address | None:
    """Reads where a page shows the run; None where none is asked for. Raises UserError."""
    if given.view is None:
        return None
    if given.action not in ("train", "resume") or given.sweep:
        other = "--sweep" if given.sweep else f"--{given.action}"
        raise UserError(f"--view is for one run that is trained, not for {other}")
    if len(given.view) > 1:
        raise UserError(f"--view: one [HOST:]PORT is enough, got {' '.join(given.view)}")
    return Address.read(given.view[0]) if given.view else Address()


def finished(given: Arguments, keys: tuple[str, ...], cluster: tuple[str, ...]) -> without_recipe.ViewRequest:
    """Reads which finished thing is shown, and where. Raises UserError."""
    assert given.view is not None, "it is asked for"
    refuse_options(given, False, cluster)
    if not 1 <= len(given.view) <= 2:
        raise UserError("--view: give --config of a run to train, or one run's folder, mesh or folder of runs to show")
    if keys or given.stage is not None:
        told = keys[0] if keys else "--stage"
        raise UserError(f"--view: {told} means nothing for what is finished; leave it out")
    path, *place = given.view
    return without_recipe.ViewRequest(expanded(path), Address.read(place[0]) if place else Address())


def stored(folder: Path, keys: tuple[str, ...]) -> Loaded:
    """Loads the recipe in a run's folder, with these keys over it. Raises UserError where there is none."""
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder}: there is no run here; give the folder that the launcher printed")
    loaded = load(str(folder / "config.yaml"), (*keys, f"out={folder}"))
    today = Loaded(translated(loaded))
    today.changes = loaded.changes
    return today


def divide(keys: tuple[str, ...], *prefixes: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divides keys into those that begin with one of the prefixes, and the others."""
    own = tuple(key for key in keys if key.startswith(prefixes))
    return own, tuple(key for key in keys if not key.startswith(prefixes))


def refuse_options(given: Arguments, comparison: bool, cluster: tuple[str, ...]) -> None:
    """Raises UserError for an option that means nothing for what is run."""
    crew, action = given.crew, [] if given.action in ("train", "check") else [given.action]
    for_one = [*action, *["sweep"] * bool(given.sweep), *["stage"] * (given.stage is not None)]
    for_many = [
        name
        for name, asked in (
            ("table", crew.table),
            ("cluster", crew.cluster),
            ("retries", crew.retries),
            ("workers", crew.workers != 1),
        )
        if asked
    ]
    if comparison and for_one:
        raise UserError(
            f"--{for_one[0]} is for a recipe; a comparison goes on where it was when its command is given again"
        )
    if given.stage is not None and (given.sweep or given.action in ("generate", "check", *without_recipe.OPTIONS)):
        other = "a sweep" if given.sweep else f"--{given.action}"
        raise UserError(f"--stage is for one run that is trained, evaluated or exported, not for {other}")
    if not given.sweep and not comparison and for_many:
        raise UserError(f"--{for_many[0]} goes with --sweep or a comparison; a single run has none")
    if crew.workers < 1 or crew.retries < 0:
        name, least = ("workers", 1) if crew.workers < 1 else ("retries", 0)
        raise UserError(f"--{name}: must be at least {least}, got {getattr(crew, name)}")
    if cluster and crew.cluster is None:
        raise UserError("cluster.: these keys go with --cluster slurm")
