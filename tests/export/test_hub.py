"""Runs and trained models go to the hub and come back whole: by a folder, and by a stand-in of the hub's client."""

import json
import shutil
from pathlib import Path
from unittest.mock import create_autospec

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard

import priors
from tests.engine.test_run import run
from tests.priors.test_pretrained import hub as hub_cache
from tests.priors.test_pretrained import in_hub_cache
from threestudio_like import Run
from threestudio_like.cli.arguments import read_arguments
from threestudio_like.cli.resolve import resolve
from threestudio_like.cli.without_recipe import ShareRequest
from threestudio_like.errors import UserError
from threestudio_like.export.hub import pull, push

assert hub_cache  # a fixture


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished run with a picture, hidden files, and what must stay here."""
    made = run(tmp_path_factory.mktemp("fit"), prompt="a <b>red</b> duck | cat")
    made.train()
    (made.folder / "turntable.png").write_bytes(b"picture")
    (made.folder / ".secret").write_text("mine")
    (made.folder / "checkpoints" / "previous").mkdir(exist_ok=True)
    (made.folder / "checkpoints" / "previous" / "main.pt").write_bytes(b"older")
    return made.folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_run_goes_to_a_folder_and_comes_back(finished, tmp_path):
    there = Path(push(finished, str(tmp_path / "hub" / "duck")))
    assert names(there) == {"README.md", "config.yaml", "metrics.json", "turntable.png", "checkpoints/main.pt"}
    back = pull(str(there), tmp_path / "back")
    assert names(back) == names(there)
    opened, first = Run.open(back), Run.open(finished)
    assert torch.equal(opened.system.point, first.system.point)
    assert opened.metrics["error"] == first.metrics["error"]


def test_the_card_is_the_hubs_and_says_what_was_done(finished, tmp_path):
    text = (Path(push(finished, str(tmp_path / "duck"), licence="apache-2.0")) / "README.md").read_text()
    card = ModelCard(text)
    assert card.data.library_name == "threestudio_like" and card.data.pipeline_tag == "text-to-3d"
    assert card.data.license == "apache-2.0" and "3d" in card.data.tags
    figures = json.loads((finished / "metrics.json").read_text())
    recipe = yaml.safe_load((finished / "config.yaml").read_text())
    assert f"| error | {figures['error']:.4g} |" in text and recipe["git_revision"] in text.replace("\\", "")
    assert "(turntable.png)" in text and "fit\\_for\\_tests" in text
    assert "<b>" not in text and "&lt;b&gt;red&lt;/b&gt; duck \\| cat" in text
    assert f'Run.open("{tmp_path / "duck"}")' in text


def test_a_prior_goes_and_is_loaded_by_its_name_on_the_hub(models, tmp_path, hub_cache):
    there = Path(push(models("toybox"), str(tmp_path / "prior")))
    card = ModelCard((there / "README.md").read_text())
    assert card.data.pipeline_tag == "text-to-image" and f'priors.load("{there}")' in card.text
    in_hub_cache(hub_cache, there, "owner/prior")
    texts = ["a red chair"]
    assert torch.equal(priors.load("owner/prior").embed(texts), priors.load(str(models("toybox"))).embed(texts))


def test_a_run_is_opened_by_its_name_on_the_hub(finished, tmp_path, hub_cache):
    in_hub_cache(hub_cache, push(finished, str(tmp_path / "duck")), "owner/duck")
    assert torch.equal(Run.open("owner/duck").system.point, Run.open(finished).system.point)


def test_a_card_that_is_there_is_kept(models, tmp_path):
    own = shutil.copytree(models("toybox"), tmp_path / "own")
    (own / "README.md").write_text("# Mine\n")
    assert (Path(push(own, str(tmp_path / "there"))) / "README.md").read_text() == "# Mine\n"


@pytest.mark.parametrize("private", [True, False])
def test_what_is_uploaded_is_what_a_folder_gets(finished, tmp_path, monkeypatch, private):
    api = create_autospec(HfApi, instance=True, endpoint="https://hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    assert push(finished, "owner/duck", private) == "https://hub/owner/duck"
    api.create_repo.assert_called_once_with("owner/duck", private=private, exist_ok=True)
    (name, operations), _ = api.create_commit.call_args
    assert name == "owner/duck" and all(isinstance(one, CommitOperationAdd) for one in operations)
    assert {one.path_in_repo for one in operations} == names(Path(push(finished, str(tmp_path / "there"))))


def test_a_hub_that_refuses_is_a_sentence(finished, monkeypatch):
    api = create_autospec(HfApi, instance=True)
    api.create_repo.side_effect = OSError("401 Unauthorized")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    with pytest.raises(UserError, match=r"owner/duck cannot be written \(401 Unauthorized\); log in"):
        push(finished, "owner/duck")


def test_what_cannot_be_shared_is_refused(finished, tmp_path, hub_cache):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    unfinished = shutil.copytree(finished, tmp_path / "unfinished")
    (unfinished / "metrics.json").write_text('{"status": "failed"}')
    for attempt, says in (
        (lambda: push(finished, str(tmp_path / "full")), "it is there already"),
        (lambda: push(tmp_path / "full", str(tmp_path / "x")), "neither a finished run nor"),
        (lambda: push(unfinished, str(tmp_path / "x")), "this run is failed"),
        (lambda: push(tmp_path / "nowhere", str(tmp_path / "x")), "no such folder"),
        (lambda: pull("owner/none", tmp_path / "x"), "owner/none"),
        (lambda: pull(str(tmp_path / "nowhere"), tmp_path / "x"), "neither a folder nor a name on the hub"),
    ):
        with pytest.raises(UserError, match=says):
            attempt()
    assert not (tmp_path / "x").exists()


def request(*argv):
    return resolve(read_arguments(list(argv), "launch.py"))


def test_the_command_line_says_what_goes_where(finished, tmp_path, capsys):
    made = request("--push", str(finished), f"to={tmp_path / 'there'}", "license=mit", "private=false")
    assert isinstance(made, ShareRequest) and made.licence == "mit" and not made.private
    assert made.carry_out() == 0
    assert request("--pull", str(tmp_path / "there"), f"to={tmp_path / 'back'}").carry_out() == 0
    assert capsys.readouterr().out == f"{tmp_path / 'there'}\n{tmp_path / 'back'}\n"
    assert (tmp_path / "back" / "checkpoints" / "main.pt").is_file()


@pytest.mark.parametrize(
    "argv, says",
    [
        (["--push", "x"], "to=OWNER/NAME or to=FOLDER"),
        (["--pull", "a/b"], "say where to, as to=FOLDER"),
        (["--push", "x", "lisence=mit"], "unknown key 'lisence'; known: license, private, to"),
        (["--pull", "a/b", "to=x", "private=true"], "unknown key 'private'"),
        (["--push", "x", "to=y", "private=maybe"], "private is true or false"),
        (["--push", "x", "to=y", "--config", "geco"], "it needs no recipe; leave --config out"),
        (["--push", "x", "to=y", "--stage", "main"], "--stage is for one run"),
        (["--push"], "expected one argument"),
    ],
)
def test_what_means_nothing_is_refused(argv, says):
    with pytest.raises(UserError, match=says):
        request(*argv)
