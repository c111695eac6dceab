"""Which request a command line makes, and which it cannot make."""

from pathlib import Path

import pytest

from threestudio_like.cli.arguments import print_help, read_arguments
from threestudio_like.cli.requests import CompareRequest, GenerateRequest, RunRequest, SweepRequest
from threestudio_like.cli.resolve import resolve
from threestudio_like.cli.without_recipe import ConvertRequest, DemoRequest, GalleryRequest, ViewRequest
from threestudio_like.config.loading import load
from threestudio_like.config.recipe import Recipe
from threestudio_like.config.run_config import RunConfig
from threestudio_like.engine.record import write_recipe
from threestudio_like.errors import UserError
from threestudio_like.viewer.address import Address


def request(*argv: str):
    return resolve(read_arguments(list(argv), "launch.py"))


def test_a_recipe_is_run():
    made = request("seed=3", "--config", "dreamfusion", "--resume", "--stage", "main")
    assert isinstance(made, RunRequest) and (made.name, made.action, made.stage) == ("dreamfusion", "resume", "main")
    assert made.plain["seed"] == 3


@pytest.mark.parametrize(
    "given, address",
    [
        (["--view"], Address()),
        (["--view", "8081"], Address("127.0.0.1", 8081)),
        (["--view", "0.0.0.0:8081"], Address("0.0.0.0", 8081)),
        (["--resume", "--view", "8081"], Address("127.0.0.1", 8081)),
        (["--view", "--resume"], Address()),
    ],
)
def test_a_run_is_watched(given, address):
    made = request("--config", "dreamfusion", *given, "seed=3")
    assert isinstance(made, RunRequest) and made.view == address and made.plain["seed"] == 3
    assert made.action == ("resume" if "--resume" in given else "train")
    assert request("--config", "dreamfusion").view is None


def test_what_is_finished_is_shown():
    assert request("--view", "outputs/run") == ViewRequest(Path("outputs/run"), Address())
    assert request("--view", "a.glb", "8081") == ViewRequest(Path("a.glb"), Address("127.0.0.1", 8081))


def test_a_sweep_keeps_its_axes_apart():
    made = request("--config", "dreamfusion", "--workers", "2", "steps=5", "--sweep", "seed=0,1")
    assert isinstance(made, SweepRequest) and made.axes == ("seed=0,1",) and made.keys == ("steps=5",)
    assert made.crew.workers == 2


def test_a_comparison_takes_cluster_keys():
    made = request("--config", "comparisons/quick", "--cluster", "slurm", "cluster.gpus=1")
    assert isinstance(made, CompareRequest) and made.cluster_keys == ("cluster.gpus=1",)


def test_what_generate_asks_for_is_told_from_the_recipes_keys():
    made = request("--config", "geco", "--generate", "image=a=b.png", "n=3", "seed=1")
    assert isinstance(made, GenerateRequest) and (made.images, made.n, made.plain["seed"]) == (("a=b.png",), 3, 1)
    for n in ("n=", "n=0", "n=two"):
        with pytest.raises(UserError, match="at least 1"):
            request("--config", "geco", "--generate", "image=a.png", n)


def test_several_images_are_several():
    made = request("--config", "geco", "--generate", "image=a.png", "image=b", "image=c.png")
    assert isinstance(made, GenerateRequest) and made.images == ("a.png", "b", "c.png")


def test_a_file_is_converted_into_a_folder():
    made = request("--convert", "weights/large.ckpt", "grid=64", "model=a/b")
    assert isinstance(made, ConvertRequest) and made.keys == {"grid": 64, "model": "a/b"}
    assert (str(made.file), str(made.out)) == ("weights/large.ckpt", "outputs/converted/large")
    assert str(request("--convert", "large.ckpt", "out=${here}/x").out) == "${here}/x"


@pytest.mark.parametrize(
    "keys, says",
    [
        (["vars.sead=1"], r"vars\.sead: nothing in dreamfusion uses it"),
        (["vars=5"], "vars: expected a map"),
    ],
)
def test_what_would_have_no_effect_is_refused(keys, says):
    with pytest.raises(UserError, match=says):
        request("--config", "dreamfusion", *keys)
    request("--config", "dreamfusion", "vars.sead=1", "seed=${vars.sead}")


def test_a_key_that_is_given_twice_is_told(caplog):
    assert request("--config", "dreamfusion", "seed=1", "steps=3", "steps=3", "seed=2").plain["seed"] == 2
    assert caplog.messages == ["seed: given twice, as '1' and as '2'; the last counts"]


@pytest.mark.parametrize("key", ["texture_size=8", "mesh_resolution=8", "mesh_threshold=1", "preview_size=8"])
def test_geco_refuses_what_it_would_ignore(key):
    for path in (f"generation.show.{key}", "generation.threads=1"):
        with pytest.raises(UserError, match="there is no such key any more: "):
            request("--config", "geco", path)


@pytest.mark.parametrize("key", ["stages=5", "stages={a: 5}", "imports=5", "imports=[[a]]", "scene=5", "nope=1"])
def test_help_refuses_what_a_run_would(key):
    with pytest.raises(UserError):
        print_help(read_arguments(["--config", "dreamfusion", "--help", key], "python launch.py"))


def test_a_key_after_resume_is_a_key():
    made = request("--config", "dreamfusion", "--resume", "seed=3", "steps=5")
    assert isinstance(made, RunRequest) and made.action == "resume" and made.plain["seed"] == 3


@pytest.mark.parametrize("action", ["resume", "test", "export"])
def test_a_run_is_taken_up_by_its_folder(tmp_path, action):
    folder = tmp_path / "fit/a=b"
    folder.mkdir(parents=True)
    plain = load("dreamfusion", ["prompt=a ${red} dog"])
    write_recipe(Recipe("dreamfusion", RunConfig(), {}, plain | {"git_revision": "0"}), folder / "config.yaml")
    made = request(f"--{action}", str(folder), "steps=7")
    assert isinstance(made, RunRequest) and (made.action, made.name, made.plain["steps"]) == (action, "fit", 7)
    assert made.plain["prompt"] == "a ${red} dog" and made.plain["out"] == str(folder)
    again = request("--config", str(folder / "config.yaml"))
    assert isinstance(again, RunRequest) and "git_revision" not in again.plain


@pytest.mark.parametrize(
    "keys, page",
    [
        ([], "outputs/gallery.html"),
        (["out=shown/all.html"], "shown/all.html"),
        (["out=shown"], "shown/gallery.html"),
    ],
)
def test_a_gallery_lies_in_its_folder_or_where_it_is_told(keys, page):
    assert request("--gallery", "outputs", *keys) == GalleryRequest(Path("outputs"), Path(page))


@pytest.mark.parametrize(
    "given, folder, address",
    [
        ([], "outputs/demo", Address()),
        (["8081"], "outputs/demo", Address("127.0.0.1", 8081)),
        (["0.0.0.0:8081", "out=shown"], "shown", Address("0.0.0.0", 8081)),
        (["out=shown"], "shown", Address()),
    ],
)
def test_a_demo_has_an_address_and_a_folder(given, folder, address):
    assert request("--demo", *given) == DemoRequest(Path(folder), address)


@pytest.mark.parametrize(
    "argv, says",
    [
        (["--demo", "seed=1"], "--demo: 'seed=1' means nothing for it"),
        (["--demo", "here"], "--demo: 'here' is not an address; give a port"),
        (["--demo", "--config", "geco"], "it needs no recipe; leave --config out"),
        (["--demo", "--workers", "2"], "--workers goes with --sweep"),
        (["--demo", "--view"], "--view is for one run that is trained, not for --demo"),
        (["--resume", "/nowhere/run"], "/nowhere/run: there is no run here"),
        (["--config", "dreamfusion", "--export", "outputs/run"], "the folder has its own recipe; leave --config out"),
        (["--resume"], "--config: name a recipe"),
        (["--chekc", "--config", "dreamfusion"], "unknown option '--chekc'; did you mean '--check'?"),
        (["--config", "dreamfusion", "--check", "--resume"], "not allowed with argument"),
        (["--workers", "two", "--config", "dreamfusion"], "invalid int value: 'two'"),
        (["steps=3"], "--config: name a recipe"),
        (["--config", "dreamfusion", "--sweep", "seed=0,1", "--stage", "main"], "--stage is for one run"),
        (["--config", "geco", "--generate", "image=a.png", "--stage", "views"], "--stage is for one run"),
        (["--config", "geco", "--generate", "image="], "image: say which"),
        (["--config", "dreamfusion", "--sweep", "seed=0,1", "--retries", "-1"], "--retries: must be at least 0"),
        (["--config", "dreamfusion", "--sweep", "seed=0,1", "--workers", "0"], "--workers: must be at least 1"),
        (["--convert", "a.ckpt", "--config", "geco"], "--convert a.ckpt: it needs no recipe; leave --config out"),
        (["--convert", "a.ckpt", "b.ckpt"], "'b.ckpt' is not an override of the form key.path=value"),
        (["--convert", "a.ckpt", "--stage", "main"], "--stage is for one run"),
        (["--convert", "a.ckpt", "--workers", "2"], "--workers goes with --sweep or a comparison"),
        (["--config", "comparisons/quick", "--generate"], "--generate is for a recipe"),
        (["--gallery"], "expected one argument"),
        (["--gallery", "outputs", "--config", "dreamfusion"], "--gallery outputs: it needs no recipe"),
        (["--gallery", "outputs", "steps=3"], "--gallery: 'steps=3' means nothing for it"),
        (["--gallery", "outputs", "--stage", "main"], "--stage is for one run"),
        (["--gallery", "outputs", "--retries", "1"], "--retries goes with --sweep"),
        (["--gallery", "outputs", "--resume"], "not allowed with argument"),
        (["--config", "comparisons/quick", "--view"], "--view is for one run that is trained, not for a comparison"),
        (
            ["--config", "dreamfusion", "--view", "--sweep", "seed=0,1"],
            "--view is for one run that is trained, not for --s",
        ),
        (["--config", "dreamfusion", "--view", "--test"], "--view is for one run that is trained, not for --test"),
        (["--config", "dreamfusion", "--view", "outputs/run"], "--view: 'outputs/run' is not an address"),
        (["--config", "dreamfusion", "--view", "80", "81"], "--view: one .HOST:.PORT is enough, got 80 81"),
        (["--view"], "--view: give --config of a run to train"),
        (["--view", "a", "b", "c"], "--view: give --config of a run to train"),
        (["--view", "outputs/run", "host"], "--view: 'host' is not an address"),
        (["--view", "outputs/run", "steps=3"], "--view: steps=3 means nothing for what is finished"),
        (["--view", "outputs/run", "--stage", "main"], "--view: --stage means nothing for what is finished"),
    ],
)
def test_a_mistaken_option_is_refused(argv, says):
    with pytest.raises(UserError, match=says.replace("?", r"\?")):
        request(*argv)
