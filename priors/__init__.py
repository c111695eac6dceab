"""What is known beforehand: diffusion models, how they are asked, and how they teach a scene (score distillation)."""


def register_all() -> None:
    """Imports every backbone, guidance and perceptual distance, so that recipes can name it."""
    from priors import (  # noqa: F401
        csd, geometric, ism, latent, multiview, perceptual, pixel, sdi, sds, student, vsd, zero123plus)
