"""The methods. Each file reads like the method section of its paper."""


def register_all() -> None:
    """Imports every system, so that recipes can name it."""
    from systems import dreamfusion, fantasia3d, playground, prolificdreamer  # noqa: F401
    from systems.geco import stages  # noqa: F401
    from systems.training import geometric, multiview, reconstructor, scorer, text_to_image  # noqa: F401
