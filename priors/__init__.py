"""What is known beforehand: diffusion models, how they are asked, and how they teach a scene (score distillation)."""


def register_all() -> None:
    """Imports every backbone and guidance, so that recipes can name it."""
    from priors import csd, geometric, ism, latent, multiview, pixel, sdi, sds, student, vsd, zero123plus  # noqa: F401
