"""The methods. Each file reads like the method section of its paper."""


def register_all() -> None:
    """Imports every system, so that recipes can name it."""
    from systems import dreamfusion, fantasia3d, geometric_training, prior_training, scorer_training  # noqa: F401
