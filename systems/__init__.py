"""The methods. Each file reads like the method section of its paper."""


def register_all() -> None:
    """Imports every system, so that recipes can name it."""
    from systems import (  # noqa: F401
        dreamfusion, fantasia3d, geco, geometric_training, multiview_training, playground, prior_training,
        prolificdreamer, reconstructor_training, scorer_training)
