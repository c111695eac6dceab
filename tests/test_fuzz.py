"""A small share of the campaign of `benchmarks/fuzz.py`: whatever a user mistypes is told in a sentence."""

import random
import socket

import pytest

from benchmarks import fuzz, mutations, warm

pytestmark = pytest.mark.usefixtures("one_thread", "unchecked")


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """The campaign has folders of its own; what it sets is taken back."""
    for name in ("TSL_CACHE", "HOME", "TSL_KERNELS"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.mark.parametrize("cases", [4, pytest.param(12, marks=pytest.mark.slow)])
def test_no_mistake_is_a_traceback(tmp_path, cases):
    found = fuzz.campaign(cases, cases, tmp_path, ["playground2d"])
    assert not found.wrong
    assert sum(number for end, number in found.counts.items() if not end.startswith("run")) == cases


def test_a_seed_draws_the_same_cases_again_and_leaves_the_recipe_alone():
    tree = {"a": 1, "b": {"c": ["x", 2.5]}, "stages": {"main": {"steps": 3}}}
    drawn = [[mutations.mutated(random.Random(seed), tree) for seed in range(200)] for _ in range(2)]
    texts = [[(case.recipe(), case.keys, case.options, case.files) for case in cases] for cases in drawn]
    assert texts[0] == texts[1] and len({text for text, *_ in texts[0]}) > 50
    assert tree == {"a": 1, "b": {"c": ["x", 2.5]}, "stages": {"main": {"steps": 3}}}


def write(name: str, text: str = "") -> None:
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)


@pytest.mark.parametrize(
    "act, code, says",
    [
        (lambda: 1 / 0, 0, "escaped: "),
        (lambda: print("error: unexpected KeyError: 'a'"), 1, "traceback: "),
        (lambda: print("what a pity"), 2, "no sentence: "),
        (lambda: None, 7, "ends with 7"),
        (lambda: write("beside.txt"), 0, "writes beside.txt"),
        (lambda: write("run/metrics.json", '{"status": "done"}'), 0, None),
        (lambda: write("run/metrics.json", '{"status": "running"}'), 0, "status: 'running' after exit code 0"),
        (lambda: write("run/metrics.json", '{"status": NaN}'), 0, "status: none can be read"),
        (lambda: socket.getaddrinfo("localhost", 9), 0, "connects to localhost"),
    ],
)
def test_what_must_not_be_is_noticed(tmp_path, monkeypatch, act, code, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(warm.launch, "main", lambda argv: (act(), code)[1])
    wrong = warm.run([], tmp_path / "run").wrong
    assert any(says in sentence for sentence in wrong) if says else not wrong


def test_a_hang_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(warm, "LIMIT", 0.2)
    monkeypatch.setattr(warm.launch, "main", lambda argv: [None for _ in iter(int, 1)])
    assert (hang := warm.run([], tmp_path)).ended == "hang" and hang.wrong


def test_what_says_how_long_it_takes_is_no_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(warm, "LIMIT", 0.2)
    say = "making 60000 photographs: 8 of 118, 4.1 s each, 7 min left"
    monkeypatch.setattr(warm.launch, "main", lambda argv: [print(say) for _ in iter(int, 1)])
    assert (long := warm.run([], tmp_path)).ended == "long" and not long.wrong
    monkeypatch.setattr(warm.launch, "main", lambda argv: (print(say), [None for _ in iter(int, 1)]))
    assert warm.run([], tmp_path).ended == "hang"  # it said so once, and no more
