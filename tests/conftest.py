"""Settings that must stand before torch is imported, and fixtures that many rooms share."""

import gc
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch and numba have a thread pool each, and idle ones would spin
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tests import runtime_types

runtime_types.install()  # before the first import of ours

import jaxtyping
import pytest
import torch


def pytest_collection_finish():
    """Lets the garbage collector leave alone what the imports have made, which stays."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """`models(name)`: a tiny model folder, made once a session, for reading only."""
    from tests.priors import model_folders

    root, made = tmp_path_factory.mktemp("models"), {}

    def model(name: str):
        if name not in made:
            made[name] = model_folders.MAKERS[name](root / name)
        return made[name]

    return model


@pytest.fixture(autouse=True)
def seeded():
    """One seed gives one result, whatever tests ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def one_thread():
    """Models this tiny lose more by waiting for a second thread than it does for them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def unchecked():
    """Lets a test give what annotations forbid, where a function's own refusal is what it asks for."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
