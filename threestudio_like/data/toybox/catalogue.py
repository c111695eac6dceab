"""The Toybox world: categories, colours, features, captions and the held-out split."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from threestudio_like.data.toybox import animals, things
from threestudio_like.data.toybox.assembly import Assembly, Toy

COLORS = {
    "red": (0.83, 0.10, 0.10),
    "orange": (0.96, 0.48, 0.08),
    "yellow": (0.97, 0.83, 0.12),
    "green": (0.15, 0.60, 0.20),
    "blue": (0.12, 0.30, 0.82),
    "purple": (0.50, 0.16, 0.68),
    "pink": (0.97, 0.52, 0.70),
    "brown": (0.42, 0.24, 0.12),
    "white": (0.93, 0.93, 0.92),
    "black": (0.14, 0.14, 0.15),
    "wooden": (0.80, 0.62, 0.38),
}
COLOR_JITTER = 0.05
WOOD_GRAIN = 0.45


@dataclass(frozen=True)
class Category:
    """A kind of toy: the function that builds one, the features it may have, and whether its front can be told."""

    build: Callable[[Assembly, Callable[[float, float], float], str | None], None]
    features: tuple[str, ...]
    has_front: bool = True


CATEGORIES = {
    "chair": Category(things.chair, ("with a tall back", "with a slatted back", "with armrests")),
    "sofa": Category(things.sofa, ("with cushions",)),
    "table": Category(things.table, ("with a round top", "with a shelf"), has_front=False),
    "bed": Category(things.bed, ("with a high headboard", "with a canopy")),
    "lamp": Category(things.lamp, ("with a round shade",), has_front=False),
    "car": Category(things.car, ("with a roof rack", "with a spoiler")),
    "truck": Category(things.truck, ("with an open bed", "with a tank")),
    "train": Category(things.train, ("with a bell",)),
    "aeroplane": Category(things.aeroplane, ("with high wings", "with two wings a side", "with jet engines")),
    "boat": Category(things.boat, ("with a sail", "with a tall funnel")),
    "house": Category(things.house, ("with a chimney", "with a porch")),
    "mug": Category(things.mug, ("with a low cup", "full of coffee")),
    "teapot": Category(things.teapot, ("with a tall body",)),
    "mushroom": Category(things.mushroom, ("with a tall cap", "without spots"), has_front=False),
    "tree": Category(things.tree, ("with a round crown", "with a star"), has_front=False),
    "rocket": Category(things.rocket, ("with windows", "with boosters"), has_front=False),
    "dog": Category(animals.dog, ("with long ears", "with a long tail")),
    "cat": Category(animals.cat, ("with a raised tail", "with a collar")),
    "duck": Category(animals.duck, ("with a hat", "with a long bill")),
    "penguin": Category(animals.penguin, ("with open wings", "with a scarf")),
    "fish": Category(animals.fish, ("with a tall fin", "with stripes")),
    "rabbit": Category(animals.rabbit, ("with floppy ears", "with a carrot")),
    "elephant": Category(animals.elephant, ("with a raised trunk", "with tusks")),
    "turtle": Category(animals.turtle, ("with brown skin", "with spots")),
    "snowman": Category(animals.snowman, ("with a scarf", "without a hat")),
    "robot": Category(animals.robot, ("with an antenna", "with a backpack")),
}

OVERHEAD_FROM = np.deg2rad(60.0)
ABOVE_FROM = np.deg2rad(18.0)
AROUND = (
    "front view",
    "front left view",
    "left side view",
    "back left view",
    "back view",
    "back right view",
    "right side view",
    "front right view",
)
HEIGHTS = ("at eye level", "from above")
VIEWS = ("front view", "back view", "left side view", "right side view", "overhead view")


def is_held_out(color: str, category: str) -> bool:
    """Tells whether a pair is never shown in training: one colour x category pair in five, spread evenly over both."""
    return (list(COLORS).index(color) + 2 * list(CATEGORIES).index(category)) % 5 == 0


def pairs(held_out: bool | None = None) -> list[tuple[str, str]]:
    """Lists all (colour, category) pairs, or only the held-out (True) or the training ones (False)."""
    every = [(color, category) for category in CATEGORIES for color in COLORS]
    return every if held_out is None else [pair for pair in every if is_held_out(*pair) == held_out]


def make_toy(category: str, color: str, rng: np.random.Generator, feature: str | None = None) -> Toy:
    """Builds a new individual of the category: random proportions, its colour jittered, with the feature asked for."""
    tint = np.clip(np.array(COLORS[color]) + rng.uniform(-COLOR_JITTER, COLOR_JITTER, 3), 0.03, 0.97)
    assembly = Assembly(tint, WOOD_GRAIN if color == "wooden" else 0.0)
    CATEGORIES[category].build(assembly, rng.uniform, feature)
    return Toy(assembly.finish(), category, color, feature)


def random_toy(rng: np.random.Generator, held_out: bool | None = False) -> Toy:
    """Draws a toy of the split; two in three have one of their category's features."""
    choices = pairs(held_out)
    color, category = choices[rng.integers(len(choices))]
    features = CATEGORIES[category].features
    feature = features[rng.integers(len(features))] if rng.random() < 2 / 3 else None
    return make_toy(category, color, rng, feature)


def article(word: str) -> str:
    """Returns `a` or `an`."""
    return "an" if word[0] in "aeiou" else "a"


def caption(category: str, color: str | None = None, feature: str | None = None, view: str | None = None) -> str:
    """Writes a caption: `a red dog with long ears, front view`; without a colour, `a dog`."""
    noun = category if color is None else f"{color} {category}"
    text = f"{article(noun)} {noun}"
    if feature is not None:
        text += f" {feature}"
    return text if view is None else f"{text}, {view}"


def view_words(azimuth: float, elevation: float, exact: bool = False) -> str:
    """Names the view from an azimuth and elevation (radians): azimuth 0 sees the front, +90 degrees the toy's left
    side.

    It is one of four sides or, with `exact`, one of eight and a height.
    """
    if elevation > OVERHEAD_FROM:
        return "overhead view"
    if not exact:
        return AROUND[::2][int(np.round(azimuth / (np.pi / 2))) % 4]
    return f"{AROUND[int(np.round(azimuth / (np.pi / 4))) % 8]} {HEIGHTS[int(elevation > ABOVE_FROM)]}"
