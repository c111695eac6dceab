"""Scores turntables against captions: R-Precision and the CLIP score."""

import torch
from jaxtyping import Float
from torch import Tensor

from threestudio_like.data.toybox.catalogue import CATEGORIES
from threestudio_like.errors import UserError
from threestudio_like.evaluate.clip import ImageTextScorer
from threestudio_like.evaluate.metrics import Need, metric
from threestudio_like.evaluate.result import Result
from threestudio_like.evaluate.scorer import Scorer, words_of

ALIKE = 0.9999
"""The similarity of two captions that a scorer reads as one."""
NEEDS: tuple[Need, ...] = ("views", "scorer", "captions")


@metric(
    "r_precision",
    "R-Prec. colour, %",
    "higher",
    "Whether the scorer finds the prompt among the comparison's prompts and distractors, on the turntable's 8 "
    "colour views (CLIP R-Precision, Park et al. 2021). 0 or 1; by chance, one in their number.",
    needs=NEEDS,
    percent=True,
)
def r_precision(result: Result) -> float:
    """Computes the share of a run's objects whose nearest caption is the prompt, by their colour views."""
    return nearest_share(result.color_scores, result.caption)


@metric(
    "r_precision_geometry",
    "R-Prec. geometry, %",
    "higher",
    "The same on the turntable's 8 textureless views (DreamFusion, table 1). 0 or 1.",
    needs=NEEDS,
    percent=True,
)
def r_precision_geometry(result: Result) -> float:
    """Computes the share of a run's objects whose nearest caption is the prompt, by their textureless views."""
    return nearest_share(result.shape_scores, result.caption)


@metric(
    "similarity",
    "Similarity",
    "higher",
    "The mean cosine of the scorer's embeddings of the 8 colour views and of the prompt (CLIP score, Hessel et "
    "al. 2021, unscaled), in -1..1.",
    needs=NEEDS,
    digits=3,
)
def clip_score(result: Result) -> float:
    """Computes the mean cosine between colour views and prompt."""
    return result.color_scores[:, result.caption].mean().item()


def nearest_share(scores: Float[Tensor, "P N"], right: int) -> float:
    """Computes the share of rows whose largest entry is the one at `right`, in 0..1."""
    return (scores.argmax(-1) == right).float().mean().item()


def check_captions(scorer: ImageTextScorer, captions: list[str]) -> None:
    """Raises UserError for a caption in which the scorer knows no toy, and for two that are one to it."""
    if isinstance(scorer, Scorer):
        for caption in captions:
            if not set(words_of(caption)) & set(CATEGORIES):
                raise UserError(
                    f"scorer: the Toybox's knows no toy in '{caption}'; name another, such as "
                    "scorer=openai/clip-vit-large-patch14"
                )
    text = scorer.text(captions)
    alike = torch.triu(text @ text.T, diagonal=1) > ALIKE
    if alike.any():
        one, other = alike.nonzero()[0].tolist()
        raise UserError(
            f"scorer: '{captions[one]}' and '{captions[other]}' are one caption to it; it cannot choose between them"
        )
