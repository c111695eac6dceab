"""What is installed and published: the licence is named wherever the code or the weights are taken from."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CARDS = sorted((ROOT / "priors/weights").glob("*/README.md"))


def test_the_licence_is_whole_and_named():
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence and "END OF TERMS AND CONDITIONS" in licence
    assert 'license="Apache-2.0"' in (ROOT / "setup.py").read_text(encoding="utf-8")
    assert "[LICENSE](LICENSE)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
def test_every_model_card_names_the_licence(card):
    assert card.read_text(encoding="utf-8").startswith("---\nlicense: apache-2.0\n---\n")
