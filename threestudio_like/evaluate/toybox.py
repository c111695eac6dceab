"""Scores images with the Toybox scorer: nearest caption, and predicted view side."""

from collections.abc import Callable

import torch
from torch import Tensor

from threestudio_like.data.toybox.catalogue import CATEGORIES, COLORS, VIEWS, caption, is_held_out
from threestudio_like.evaluate.scorer import Scorer, words_of

COLOR_CAPTIONS = [caption(category, color) for category in CATEGORIES for color in COLORS]
CATEGORY_CAPTIONS = [caption(category) for category in CATEGORIES]
SIDES = {"front view": 0, "left side view": 1, "back view": 2, "right side view": 3}


def pair_index(category: str, color: str) -> int:
    """Finds the place of a colour x category pair in COLOR_CAPTIONS."""
    return list(CATEGORIES).index(category) * len(COLORS) + list(COLORS).index(color)


def toy_of(prompt: str) -> tuple[str, str] | None:
    """Finds the category and colour that a prompt names, where it names one of each."""
    words = words_of(prompt)
    color, category = ([word for word in words if word in known] for known in (COLORS, CATEGORIES))
    return (category[0], color[0]) if len(color) == len(category) == 1 else None


def seen_side(scorer: Scorer, images: Tensor) -> Tensor:
    """Predicts quarter turns `[B]`, 0 the front and 1 the left side: the quarter with the most probability."""
    probability = scorer.azimuth(images).softmax(dim=-1)
    bins = probability.shape[-1]
    quarters = torch.zeros(len(images), 4, device=images.device)
    for half in (-0.25, 0.25):  # a bin that straddles two quarters counts half for each
        quarter = ((torch.arange(bins, device=images.device) + half) * 4 / bins).round().long() % 4
        quarters.index_add_(1, quarter, 0.5 * probability)
    return quarters.argmax(dim=-1)


@torch.no_grad()
def score_samples(
    sample: Callable[[list[str], int], Tensor], scorer: Scorer, every_color: bool = False
) -> dict[str, float]:
    """Measures how often a text-to-image model's samples are what was asked for, in 0..1.

    `sample(texts, seed)` gives `[N, 3, H, W]` in 0..1. One seen and one held-out colour of every category (or every
    colour) from four sides; the sides count for categories with a front: all four, and left against right alone.
    """
    right_pairs, right_categories, unseen_pairs, asked_sides, seen_sides = [], [], [], [], []
    for seed, (category, kind) in enumerate(CATEGORIES.items()):
        two = [[c for c in COLORS if is_held_out(c, category) == held_out][seed % 2] for held_out in (False, True)]
        prompts = [(color, view) for color in (COLORS if every_color else two) for view in VIEWS[:4]]
        images = sample([caption(category, color, view=view) for color, view in prompts], seed)
        found = (scorer.image(images) @ scorer.text(COLOR_CAPTIONS).T).argmax(dim=-1).cpu()
        wanted = torch.tensor([pair_index(category, color) for color, _ in prompts])
        right_pairs.append(found == wanted)
        right_categories.append(found // len(COLORS) == wanted // len(COLORS))
        unseen_pairs.append(torch.tensor([is_held_out(color, category) for color, _ in prompts]))
        if kind.has_front:
            asked_sides.append(torch.tensor([SIDES[view] for _, view in prompts]))
            seen_sides.append(seen_side(scorer, images).cpu())
    right, unseen = torch.cat(right_pairs), torch.cat(unseen_pairs)
    asked, seen = torch.cat(asked_sides), torch.cat(seen_sides)
    right_side, sideways = asked.eq(seen), (asked % 2).eq(1) & (seen % 2).eq(1)

    def share(values):
        return values.float().mean().item()

    return {
        "samples_caption_accuracy": share(right),
        "samples_caption_accuracy_held_out_pairs": share(right[unseen]),
        "samples_category_accuracy": share(torch.cat(right_categories)),
        "samples_side_accuracy": share(right_side),
        "samples_left_right_accuracy": share(right_side[sideways]),
        "samples_seen_sideways": share(sideways[asked % 2 > 0]),
    }
