"""Model folders made once a session, and a text cache of each test's own."""

import pytest
import torch

from tests.priors import folders

MAKERS = {
    "toybox": folders.toybox,
    "agp": folders.toybox_agp,
    "agp_sd": folders.stable_diffusion_agp,
    "sd15": folders.stable_diffusion_15,
    "sd21": folders.stable_diffusion_21,
    "sd21_v": lambda place: folders.stable_diffusion_21(place, prediction="v_prediction"),
    "if": folders.deepfloyd,
    "multiview": folders.multiview,
    "zero123plus": folders.zero123plus,
}


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Models this tiny lose more by waiting for a second thread than it does for them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def text_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "text-cache"))
    return tmp_path / "text-cache"


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """`models(name)`: a folder for reading only."""
    root, made = tmp_path_factory.mktemp("models"), {}

    def model(name: str):
        if name not in made:
            made[name] = MAKERS[name](root / name)
        return made[name]

    return model
