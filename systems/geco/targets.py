"""Prepares what GECO is distilled from: condition images, and the views that the teacher makes of them, cached."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

import threestudio_like.data
from priors.backbones.multiview import MultiviewBackbone
from priors.toybox.views import VIEWS, untile
from threestudio_like.config.ranges import Count, NonNegative, Part, Pixels, Seed, Whole
from threestudio_like.data.cache import Chunks, cached_memmap, sources
from threestudio_like.data.framing import Framing, reframe
from threestudio_like.data.image_files import image_files
from threestudio_like.data.images import ImageLoading, load_image
from threestudio_like.data.toybox.multiview import MultiviewSet
from threestudio_like.engine.monitor import to_bytes
from threestudio_like.errors import UserError
from threestudio_like.utils.progress import progress
from threestudio_like.utils.seeding import generator as make_generator

log = logging.getLogger(__name__)
TOGETHER = 16  # objects that the teacher draws at once
REFRAMED_AT_ONCE = 256


@dataclass(frozen=True)
class ImageFolder:
    """Condition images from a folder, cut out, centred and on white, `size` pixels along each axis."""

    path: str
    """The folder."""
    size: Pixels = 256
    """Side length in pixels."""
    loading: ImageLoading = field(default_factory=ImageLoading)
    """How objects are cut out."""


@dataclass(frozen=True)
class TargetSampling:
    """The teacher's samples that the stages learn from.

    `count` pairs of an image and a noise, each of them the start of `steps` steps of DDIM under guidance by `scale`,
    all above the share `denoising_end` of the timesteps, and then the mean of `draws` looks. Where `count` exceeds the
    number of images, images are taken again with other noises.
    """

    steps: Count = 75
    """Steps of deterministic DDIM."""
    scale: NonNegative = 4.0
    """Strength of classifier-free guidance."""
    count: Count = 512
    """Pairs of an image and a noise; if more than there are images, images repeat with new noise."""
    seed: Seed = 0
    """Seed of the noises."""
    denoising_end: Part = 1.0
    """The share of the timesteps above which all steps lie."""
    draws: Whole = 0
    """Fresh noises that the views are the mean of at last, against grain (`priors.sampling.ddim`)."""

    def __call__(
        self, prior: MultiviewBackbone, images: Float[Tensor, "B 3 H W"], z: Float[Tensor, "B C h w"]
    ) -> Float[Tensor, "B 6 3 S S"]:
        """Samples the views of images in 0..1 from the noise z; the draws' noises are one for all calls."""
        random = make_generator(prior.device, "draws", self.seed)
        condition = prior.condition(images.to(prior.device))
        x = prior.sample(condition, self.scale, self.steps, random, z, self.denoising_end, self.draws)
        return untile(prior.decode(x))


@dataclass(frozen=True)
class ConditionImages:
    """N images, bytes."""

    image: UInt8[np.ndarray, "N H W 3"]

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, chosen: Int[np.ndarray, "B"]) -> Float[Tensor, "B 3 H W"]:
        """In 0..1."""
        return torch.from_numpy(self.image[chosen]).permute(0, 3, 1, 2).float() / 255

    @staticmethod
    def of(toys: MultiviewSet, framing: Framing, folder: ImageFolder | None) -> "ConditionImages":
        """Loads the training images of the toys, framed so, or those of the folder.

        Files that cannot be read are named and left out. Raises UserError where none can be.
        """
        if folder is None:
            image = toys.images("train").image
            fill = framing.draw(len(image), make_generator("cpu", "framing", toys.seed))
            parts = np.array_split(np.arange(len(image)), -(-len(image) // REFRAMED_AT_ONCE))

            def framed(part):
                return to_bytes(reframe(toys.images("train").images(part), fill[part]).permute(0, 2, 3, 1))

            return ConditionImages(np.concatenate([framed(part) for part in parts]))
        files = image_files(Path(folder.path))
        key = repr([asdict(folder), *((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)])
        key += sources(Path(threestudio_like.data.__file__).parent, "images.py")
        return ConditionImages(
            cached_memmap("conditions", key, (folder.size, folder.size, 3), lambda: loaded(files, folder))
        )


def loaded(files: list[Path], folder: ImageFolder) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Loads one image after the other, as bytes. Raises UserError where none can be used."""
    bad = []
    for file in progress(files, "reading images"):
        try:
            yield to_bytes(load_image(file, folder.size, folder.loading).permute(1, 2, 0))
        except UserError as error:
            bad.append(str(error))
            log.warning("skipped: %s", error)
    if len(bad) == len(files):
        raise UserError(
            bad[0]
            if len(bad) == 1
            else f"{folder.path}: none of its {len(files)} images can be used; the first: {bad[0]}"
        )


@torch.no_grad()
def teacher_views(
    prior: MultiviewBackbone, images: ConditionImages, config: TargetSampling, rank: int = 0, processes: int = 1
) -> Chunks:
    """Returns the teacher's samples `[N, 6, S, S, 3]` as bytes, which lie on the disk in chunks.

    Ranks start at different chunks and share the cache.
    """
    weights = [digest(path) for kind in ("*.safetensors", "*.json") for path in sorted(prior.folder.rglob(kind))]
    parts = [np.arange(start, min(start + TOGETHER, config.count)) for start in range(0, config.count, TOGETHER)]
    shape, made = (VIEWS, prior.view_size, prior.view_size, 3), [np.empty(0, np.uint8)] * len(parts)

    def views(chosen: np.ndarray) -> UInt8[np.ndarray, "B 6 S S 3"]:
        log.info(
            "the teacher makes views %d to %d of %d, in %d steps",
            chosen[0] + 1,
            chosen[-1] + 1,
            config.count,
            config.steps,
        )
        z = torch.cat([prior.noise_for(config.seed, i) for i in chosen])
        return to_bytes(config(prior, images[chosen % len(images)], z).permute(0, 1, 3, 4, 2))

    order = [i for first in range(processes) for i in range((rank + first) % processes, len(parts), processes)]
    for i in progress(order, f"the teacher's views, {TOGETHER} objects at a time"):
        seen = hashlib.sha256(images.image[parts[i] % len(images)].tobytes()).hexdigest()
        key = repr(
            (
                weights,
                vars(prior.config) | {"model": "", "precision": str(prior.dtype)},
                config.steps,
                config.scale,
                config.denoising_end,
                config.draws,
                config.seed,
                parts[i].tolist(),
                seen,
            )
        )
        made[i] = cached_memmap("teacher_views", key, shape, lambda part=parts[i]: views(part))
    return Chunks(made)


def digest(path: Path) -> str:
    """Hashes a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
