"""Weights say which pairs were held out of their training, and are refused where the world's split is another."""

import pytest

from threestudio_like.data.toybox import split
from threestudio_like.data.toybox.split import FILE, KEY, check_split, fingerprint, sign
from threestudio_like.errors import UserError
from threestudio_like.utils.files import write_json
from threestudio_like.utils.paths import WEIGHTS

TRAINED = ("toybox", "agp", "multiview", "reconstructor", "geco/generator")
"""The shipped weights that have not seen the held-out pairs; the scorer, which judges, has seen all."""


@pytest.mark.parametrize("name", TRAINED)
def test_shipped_weights_were_trained_on_the_split_that_the_code_has(name):
    assert (WEIGHTS / name / FILE).is_file()
    check_split(WEIGHTS / name)


def test_another_split_is_refused_in_a_sentence(tmp_path, monkeypatch):
    sign(tmp_path)
    check_split(tmp_path)
    monkeypatch.setattr(split, "pairs", lambda held_out: [("red", "dog")])
    with pytest.raises(UserError, match="were trained on another split of the toys"):
        check_split(tmp_path)
    sign(tmp_path)
    check_split(tmp_path)


def test_weights_from_elsewhere_have_no_fingerprint(tmp_path):
    check_split(tmp_path)
    check_split(tmp_path / "nowhere")
    check_split(None)
    write_json(tmp_path / FILE, {KEY: "0" * 64})
    with pytest.raises(UserError, match="another split"):
        check_split(tmp_path)
    assert len(fingerprint()) == 64
