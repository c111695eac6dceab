"""What a comparison measures beyond a run's own figures: the judge's opinion of the turntables that the runs left."""

from functools import cache, lru_cache
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from threestudio_like.cameras import orbit
from threestudio_like.data.toybox.catalogue import CATEGORIES, make_toy
from threestudio_like.data.toybox.photographs import pack
from threestudio_like.data.toybox.render import Light, render_toys
from threestudio_like.errors import UserError
from threestudio_like.evaluate.clip import Judge, load_judge
from threestudio_like.evaluate.features import Gaussian, frechet_between
from threestudio_like.evaluate.images import saturation
from threestudio_like.evaluate.scorer import Scorer, words_of
from threestudio_like.evaluate.toybox import toy_of
from threestudio_like.experiments.analysis import VIEWS, Measured, left_by, numbers, turntable
from threestudio_like.experiments.comparison import Cell, Comparison, ComparisonConfig
from threestudio_like.experiments.statistics import OfSets
from threestudio_like.utils.seeding import seed_for

INDIVIDUALS = 4
"""True toys of each prompt that stand for the truth."""
JUDGED = {"r_precision", "r_precision_geometry", "similarity", "diversity", "frechet"}
"""The metrics that take a judge."""
READ = {"r_precision", "r_precision_geometry", "similarity"}
"""Of these, those that compare with captions."""
ALIKE = 0.9999
"""The similarity of two captions that a judge reads as one."""
PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def prepare(comparison: Comparison) -> Judge | None:
    """The judge, where one is asked. Raises UserError, before anything has run, where it, the reference or the truth cannot be
    had, or the judge cannot read a caption."""
    config, wanted = comparison.config, asked(comparison)
    if "saturation_error" in wanted and config.reference != "toybox":
        raise UserError(f"{comparison.name}: the metric 'saturation_error' needs the truth: `reference: toybox`")
    if "frechet" in wanted and config.reference is None:
        raise UserError(f"{comparison.name}: the metric 'frechet' needs a `reference:`, a folder of images or 'toybox'")
    if "frechet" in wanted and config.reference != "toybox":
        pictures(config.reference)
    if not JUDGED & wanted:
        return None
    judge = load_judge(config.judge, "cuda" if torch.cuda.is_available() else "cpu")
    if wanted & READ:
        legible(judge, captions_of(config))
    return judge


def legible(judge: Judge, captions: list[str]) -> None:
    """Raises UserError for a caption of which the judge knows no toy, and for two that are one to it."""
    if isinstance(judge, Scorer):
        for caption in captions:
            if not set(words_of(caption)) & set(CATEGORIES):
                raise UserError(
                    f"judge: the Toybox's knows no toy in '{caption}'; name another, such as "
                    "judge=openai/clip-vit-large-patch14"
                )
    text = judge.text(captions)
    alike = (text @ text.T).triu(1) > ALIKE
    if alike.any():
        one, other = alike.nonzero()[0].tolist()
        raise UserError(
            f"judge: '{captions[one]}' and '{captions[other]}' are one caption to it; it cannot choose between them"
        )


def asked(comparison: Comparison) -> set[str]:
    """The metrics of its table and claims."""
    return {*comparison.config.metrics, *(claim.metric for claim in comparison.config.claims)}


def captions_of(config: ComparisonConfig) -> list[str]:
    """What R-Precision chooses from."""
    return [*dict.fromkeys((*config.prompts, *config.distractors))]


def measure(comparison: Comparison) -> Measured:
    """Every number of the runs that are done. Raises what `prepare` raises."""
    config, wanted, judge = comparison.config, asked(comparison), prepare(comparison)
    of_runs = {str(cell.job.folder): numbers(cell) for cell in comparison.cells}
    if "saturation_error" in wanted:
        compare_saturation(comparison, of_runs)
    if judge is None:
        return Measured(comparison, of_runs)
    seen, notes = {}, []
    for cell in comparison.cells:
        if cell.job.status != "done":
            continue
        try:
            seen[str(cell.job.folder)] = turntables(cell)
        except (OSError, ValueError):
            notes.append(f"{cell.job.folder} has no readable turntable.png; what the judge would say of it is missing.")
    captions, features = captions_of(config), {}
    for cell in comparison.cells:
        views = seen.get(str(cell.job.folder))
        if views is None:
            continue
        of_runs[str(cell.job.folder)] |= opinion(judge, views, captions, captions.index(cell.prompt))
        features[cell] = [judge.features(color).cpu() for color, _ in views]
    for folder, value in apart(features).items():
        of_runs[folder]["diversity"] = value
    of_sets = {}
    if "frechet" in wanted:
        of_sets["frechet"] = distances(features, truth_of(judge, config), shared=config.reference != "toybox")
    return Measured(comparison, of_runs, of_sets, tuple(notes))


def truth_of(judge: Judge, config: ComparisonConfig) -> dict[str, Float[Tensor, "N D"]]:
    """The features that the runs' are compared with, by prompt: its true toys', or, everywhere, a folder's. Raises UserError."""
    if config.reference == "toybox":
        named = {prompt: toy for prompt in config.prompts if (toy := toy_of(prompt))}
        if not named:
            raise UserError("reference: no prompt names one of the Toybox's toys and colours; give a folder of images")

        def true(toy):
            return torch.cat([true_views(*toy, individual)[0] for individual in range(INDIVIDUALS)])

        return {prompt: judge.features(true(toy)).cpu() for prompt, toy in named.items()}
    features = torch.cat([judge.features(image).cpu() for image in pictures(config.reference)])
    return dict.fromkeys(config.prompts, features)


def distances(features: dict[Cell, list[Tensor]], truth: dict[str, Float[Tensor, "N D"]], shared: bool) -> OfSets:
    """The Frechet distance of any of the runs to the truth of their prompts, as often as each is among them; `shared`: all
    prompts have the same."""
    known = {
        (cell.method, cell.prompt, cell.seed): torch.cat(parts)
        for cell, parts in features.items()
        if cell.prompt in truth
    }
    runs: dict[str, list[tuple[str, int]]] = {}
    for method, *key in known:
        runs.setdefault(method, []).append(tuple(key))

    @lru_cache(1024)  # the same prompts are drawn for every method
    def true(prompts: tuple[str, ...]) -> Gaussian:
        return Gaussian.fit(torch.cat([truth[prompt] for prompt in prompts]))

    @cache  # every pair of methods draws the same prompts
    def frechet(chosen: tuple[tuple[str, str, int], ...]) -> float:
        prompts = tuple(prompt for _, prompt, _ in chosen[: 1 if shared else None])
        return frechet_between(Gaussian.fit(torch.cat([known[run] for run in chosen])), true(prompts))

    return OfSets(frechet, runs)


def compare_saturation(comparison: Comparison, of_runs: dict[str, dict[str, float]]) -> None:
    """Adds to each run how far its saturation is from that of its prompt's true toys."""
    truth = {}
    for prompt in comparison.config.prompts:
        if (toy := toy_of(prompt)) is not None:
            truth[prompt] = np.mean([saturation(*true_views(*toy, i)).mean().item() for i in range(INDIVIDUALS)])
    for cell in comparison.cells:
        figures = of_runs[str(cell.job.folder)]
        if "saturation" in figures and cell.prompt in truth:
            figures["saturation_error"] = abs(figures["saturation"] - truth[cell.prompt])


def turntables(cell: Cell) -> list[tuple[Float[Tensor, "8 3 S S"], Float[Tensor, "8 3 S S"]]]:
    """The views of each particle of a run, colour and textureless, in 0..1. Raises OSError or ValueError."""

    def views(place):
        return torch.from_numpy(turntable(place).copy()).permute(0, 1, 4, 2, 3) / 255

    return [tuple(views(place)) for place in left_by(cell)]


def opinion(judge: Judge, views: list, captions: list[str], right: int) -> dict[str, float]:
    """Which caption fits a run's views best, and how well its own does; means over its particles."""
    text = judge.text(captions)

    def fit(images):
        return (judge.image(images) @ text.T).mean(0)

    color, shape = (torch.stack([fit(particle[row]) for particle in views]) for row in (0, 1))

    def hit(found):
        return (found.argmax(-1) == right).float().mean().item()

    return {"r_precision": hit(color), "r_precision_geometry": hit(shape), "similarity": color[:, right].mean().item()}


def apart(features: dict[Cell, list[Tensor]]) -> dict[str, float]:
    """Each run's mean distance to the method's other results for its prompt; their mean is that of all pairs."""
    found = {}
    for cell, own in features.items():
        own = torch.stack([part.mean(0) for part in own])
        others = [
            part.mean(0)
            for other, parts in features.items()
            if other is not cell and (other.method, other.prompt) == (cell.method, cell.prompt)
            for part in parts
        ]
        distances = [torch.pdist(own).repeat(2)] + ([torch.cdist(own, torch.stack(others)).flatten()] if others else [])
        if (all_of_them := torch.cat(distances)).numel():
            found[str(cell.job.folder)] = all_of_them.mean().item()
    return found


def pictures(folder: str) -> list[Float[Tensor, "1 3 H W"]]:
    """A folder's images. Raises UserError."""
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in PICTURES)
    if len(files) < 2:
        raise UserError(f"reference: '{folder}' is no folder with at least two images, nor 'toybox'")
    return [torch.from_numpy(iio.imread(path, mode="RGB").copy()).permute(2, 0, 1)[None] / 255 for path in files]


def true_views(
    category: str, color: str, individual: int, size: int = 64
) -> tuple[Float[Tensor, "8 3 S S"], Float[Tensor, "8 1 S S"]]:
    """A true toy on a turntable as the runs': 15 degrees above, unlit, before light grey; and its opacity."""
    toy = make_toy(category, color, np.random.default_rng(seed_for("reference", individual)))
    view = render_toys(pack([toy] * VIEWS), orbit(VIEWS, 15.0, 2.7, 41.0, size), Light.flat(VIEWS), 2)
    return (view.rgb + (1 - view.opacity) * 0.85).permute(0, 3, 1, 2), view.opacity.permute(0, 3, 1, 2)
