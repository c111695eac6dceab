"""Messages: other libraries' errors on one line."""

from threestudio_like.errors import LONGEST, brief


def test_an_error_becomes_one_line_with_its_beginning_and_its_end():
    assert brief(ValueError("no\n  such\tthing ")) == "no such thing" and brief(ValueError()) == "ValueError"
    long = brief("it failed: " + "x" * 500 + " because of a typo")
    assert long.startswith("it failed: ") and long.endswith(" because of a typo") and len(long) <= LONGEST + 3
