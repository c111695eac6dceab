"""The shared core: recipes, cameras, scenes, renderers, kernels, the training loop, export, evaluation and experiments."""


def register_all() -> None:
    """Imports every part of the core that recipes can name."""
    from threestudio_like import cameras  # noqa: F401
    from threestudio_like.data import meshes  # noqa: F401
    from threestudio_like.data.toybox import ccm  # noqa: F401
    from threestudio_like.evaluate import perceptual  # noqa: F401
    from threestudio_like.renderers import mesh, volume  # noqa: F401
    from threestudio_like.scenes import background, field, flexicubes, tetmesh  # noqa: F401
