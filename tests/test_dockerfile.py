"""The Dockerfile, which is not built here: what it copies is there, what it installs is pinned, both images start."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).resolve().parents[1]
KNOWN = set("ARG CMD COMMENT COPY ENTRYPOINT ENV FROM RUN USER WORKDIR".split())
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())


@pytest.fixture(scope="module")
def steps() -> list[dict]:
    return DockerfileParser(str(ROOT / "Dockerfile")).structure


def of(steps: list[dict], kind: str) -> list[str]:
    return [step["value"] for step in steps if step["instruction"] == kind]


def stages(steps: list[dict]) -> dict[str, list[dict]]:
    """The steps of each stage by its name, those of the stages that it builds on before its own."""
    found, name = {}, None
    for step in steps:
        if step["instruction"] == "FROM":
            base, _, name = step["value"].split()
            found[name] = list(found.get(base, []))
        elif name is not None:
            found[name].append(step)
    return found


def test_every_instruction_is_known_and_every_base_has_a_version(steps):
    assert {step["instruction"] for step in steps} <= KNOWN
    named = set()
    for value in of(steps, "FROM"):
        base, word, name = value.split()
        assert word == "AS" and (base in named or re.fullmatch(r"[\w./-]+:\d[\w.-]+", base)), value
        named.add(name)
    assert {"cpu", "cuda"} <= named


def test_the_base_has_a_python_that_the_package_takes(steps):
    least = re.search(r'python_requires=">=(\d+)\.(\d+)"', (ROOT / "setup.py").read_text()).groups()
    version = re.match(r"python:(\d+)\.(\d+)", of(steps, "FROM")[0]).groups()
    assert tuple(map(int, version)) >= tuple(map(int, least))


def test_what_is_copied_is_there_and_is_not_ignored(steps):
    ignored = (ROOT / ".dockerignore").read_text().split()
    copied = [source for value in of(steps, "COPY") for source in value.split()[:-1]]
    for source in copied:
        assert (ROOT / source).exists(), source
        assert not any(fnmatch(source, pattern) for pattern in ignored), source
    readers = {"setup.py", "pyproject.toml", "constraints.txt", "threestudio_like", "priors", "systems", "configs"}
    assert readers <= set(copied)


def test_whatever_is_installed_is_pinned_as_constraints_say(steps):
    installs = [value for value in of(steps, "RUN") if "pip install" in value]
    assert len(installs) == 4
    for value in installs:
        for name, version in re.findall(r"([\w-]+)==([\w.]+)", value):
            assert PINS[name] == version, f"{name}: {version}, but constraints.txt has {PINS[name]}"
        assert "-c constraints.txt" in value or re.search(r"\w==[\d.]+", value), value


@pytest.mark.parametrize("stage", ["cpu", "cuda"])
def test_an_image_starts_the_launcher_as_no_superuser(steps, stage):
    own = stages(steps)[stage]
    last = {step["instruction"]: step["value"] for step in own}
    assert json.loads(last["ENTRYPOINT"]) == ["threestudio-like"] and json.loads(last["CMD"]) == ["--help"]
    assert f"{json.loads(last['ENTRYPOINT'])[0]} = threestudio_like.cli:main" in (ROOT / "setup.py").read_text()
    assert last["USER"] != "root" and f"useradd --create-home {last['USER']}" in " ".join(of(own, "RUN"))
    order = [step["instruction"] for step in own]
    assert order.index("USER") > max(i for i, kind in enumerate(order) if kind == "RUN")


def test_torch_is_installed_before_what_would_fetch_another(steps):
    for stage, index in (("cpu", '--index-url "$TORCH_INDEX"'), ("cuda", "")):
        installs = [value for value in of(stages(steps)[stage], "RUN") if "pip install" in value]
        assert "torch==" in installs[0] and index in installs[0] and "-e ." in installs[1]
        assert ("TORCH_INDEX" in of(stages(steps)[stage], "ARG")) == bool(index)
