"""What is known beforehand: diffusion models, how they are asked, and how they teach a scene (score distillation)."""


def register_all() -> None:
    """Imports every backbone and guidance, so that recipes can name it."""
    from priors.backbones import geometric, latent, multiview, pixel, zero123plus  # noqa: F401
    from priors.guidance import csd, fake_score, ism, sdi, sds, vsd  # noqa: F401
