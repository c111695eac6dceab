"""The tiny model folders of the priors' tests serve here too."""

from tests.priors.conftest import models, one_thread  # noqa: F401
