"""Every recipe in configs/ parses, builds and runs two steps through the launcher, at tiny sizes, without exception."""

import json

import pytest
import trimesh

import launch
from systems.training.text_to_image import vocabulary
from tests.systems.geco.test_generate import picture
from tests.systems.geco.test_stages import tiny_reconstructor
from threestudio_like.config.loading import CONFIGS
from threestudio_like.evaluate.scorer import Scorer, ScorerSize

pytestmark = pytest.mark.usefixtures("one_thread")


def write_meshes(folder):
    """Two boxes with captions."""
    folder.mkdir()
    for name in ("one.glb", "two.ply"):
        trimesh.creation.box((1, 2, 3)).export(folder / name)
    (folder / "captions.json").write_text(json.dumps({"one.glb": "a box", "two.ply": ["a box", "a block"]}))


RECIPES = sorted(
    str(p.relative_to(CONFIGS)) for p in CONFIGS.rglob("*.yaml") if p.parent.name not in ("backbones", "comparisons")
)

TINY_GRID = "{n_levels: 2, n_features_per_level: 2, log2_hashmap_size: 8, base_resolution: 4, max_resolution: 8}"
TINY_SCENE = [
    "steps=2",
    "cameras.size=8",
    "cameras.views=2",
    "renderer.resolution=8",
    "renderer.render_step_size=0.2",
    f"scene.encoding={TINY_GRID}",
    "scene.hidden=8",
    "evaluation.strip_size=8",
    "evaluation.video_frames=3",
    "evaluation.video_size=16",
    "evaluation.mesh_resolution=12",
    "evaluation.preview_size=8",
    "evaluation.formats=[glb,obj,ply]",
]
TINY_MESH = [
    "cameras.size=8",
    "cameras.views=2",
    "renderer.supersample=1",
    "scene.resolution=4",
    "scene.hidden=8",
    f"scene.encoding={TINY_GRID}",
    "evaluation.strip_size=8",
    "evaluation.video_frames=3",
    "evaluation.video_size=16",
    "evaluation.texture_size=16",
    "evaluation.preview_size=8",
    "evaluation.formats=[glb,obj,ply]",
    *(f"stages.{stage}.steps=2" for stage in ("coarse", "fine", "appearance")),
]
TINY_STAGES = [
    "cameras.views=2",
    "evaluation.strip_size=8",
    "evaluation.video_frames=3",
    "evaluation.video_size=16",
    "evaluation.texture_size=16",
    "evaluation.preview_size=8",
    "evaluation.mesh_resolution=12",
    "vars.encoding={n_levels: 2, n_features_per_level: 2, log2_hashmap_size: 8, base_resolution: 4, max_resolution: 8}",
    "vars.fake_score.rank=2",
    "stages.nerf.cameras.size=8",
    "stages.nerf.renderer.render_step_size=0.2",
    "stages.nerf.renderer.resolution=8",
    "particles=2",
    *(f"stages.{stage}.{key}" for stage in ("nerf", "geometry", "texture") for key in ("steps=2", "scene.hidden=8")),
    *(
        f"stages.{stage}.{key}"
        for stage in ("geometry", "texture")
        for key in ("scene.resolution=4", "cameras.size=8", "renderer.supersample=1")
    ),
]
TINY_PRIOR = ["steps=2", "batch=2", "data.count=12", "data.capture.samples=1"]
TINY_AGP = ["steps=2", "batch=2", "sample_steps=1", "judged=4", "prompts=[a dog]"]
TINY_GECO = [
    "data.views={count: 3, held_out_count: 2, size: 16, samples: 1}",
    "data.samples=1",
    "data.targets=2",
    "data.points=16",
    "targets={steps: 2, count: 2}",
    "evaluation={objects: 1, size: 16, shown: 1, diverse: 1, seeds: 2, baselines: [teacher, geco]}",
    "stages.scene.cameras={size: 12, views: 2}",
    "generation.show={strip_size: 8, video_frames: 3, video_size: 16}",
    *(f"stages.{stage}.{key}" for stage in ("views", "scene") for key in ("steps=2", "batch=1")),
]
TINY_RECONSTRUCTOR = [
    "data.views.count=3",
    "data.views.held_out_count=2",
    "data.views.size=16",
    "data.views.samples=1",
    "data.samples=1",
    "data.target_size=12",
    "data.points=64",
    "size={image: 16, patch: 8, encoder_width: 16, encoder_layers: 1, width: 16, "
    "layers: 1, heads: 2, tokens: 4, upsample: 2, channels: 4, hidden: 8, hidden_layers: 1, grid: 8}",
    "evaluation.objects=2",
    "evaluation.size=16",
    "evaluation.shown=1",
    "stages.points={steps: 2, batch: 3, points: 32}",
    *(
        f"stages.{stage}.{key}"
        for stage in ("volume", "mesh")
        for key in ("steps=2", "batch=3", "points=32", "rendered=1")
    ),
]
TINY = {
    "geco.yaml": TINY_GECO,
    "geco-zero123plus.yaml": [*TINY_GECO, "backbone.view_size=16"],
    "dreamfusion.yaml": TINY_SCENE,
    "sweetdreamer-nerf.yaml": TINY_SCENE,
    "sweetdreamer-nerf-sd.yaml": [
        *TINY_SCENE[1:],
        *(
            f"stages.{stage}.{key}"
            for stage in ("coarse", "fine")
            for key in ("steps=2", "cameras.size=8", "cameras.views=2")
        ),
    ],
    "prolificdreamer.yaml": TINY_STAGES,
    "playground2d.yaml": ["steps=2", "images=3", "size=8", "columns=2"],
    "prolificdreamer-sd.yaml": TINY_STAGES,
    "fantasia3d-sd.yaml": TINY_MESH,
    "sweetdreamer-sd.yaml": TINY_MESH,
    "fantasia3d.yaml": TINY_MESH,
    "sweetdreamer.yaml": TINY_MESH,
    "dreamfusion-sd.yaml": TINY_SCENE,
    "dreamfusion-if.yaml": TINY_SCENE,
    "priors/toybox.yaml": [
        *TINY_PRIOR,
        "size={image: 16, patch: 4, channels: [16, 16], text_width: 16}",
        "data.capture.size=16",
        "sample_steps=1",
    ],
    "priors/agp.yaml": [
        *TINY_AGP,
        "layout_steps=1",
        "layout_batch=3",
        "data={type: toybox, toys: 3, views: 2, size: 16, samples: 1}",
    ],
    "priors/agp-sd.yaml": TINY_AGP,
    "priors/multiview.yaml": [
        "steps=2",
        "batch=2",
        "start=null",
        "layout_steps=1",
        "layout_batch=3",
        "sample_steps=2",
        "judged=3",
        "shown=2",
        "size={view: 16, patch: 4, channels: [16, 16], tokens_width: 16, mean_predictor: [16, 8, 8]}",
        "data={count: 8, held_out_count: 3, size: 16, samples: 1}",
    ],
    "priors/reconstructor.yaml": TINY_RECONSTRUCTOR,
    "priors/reconstructor-single.yaml": [*TINY_RECONSTRUCTOR, "model=null"],
    "priors/reconstructor-large.yaml": [*TINY_RECONSTRUCTOR, "size.dino=null"],
    "priors/scorer.yaml": [
        *TINY_PRIOR,
        "size={image: 16, channels: [8, 8], width: 8}",
        "held_out_count=60",
        "data.capture.size=16",
    ],
}


@pytest.fixture
def backbones(models, tmp_path):
    """Keys that give each recipe a tiny diffusion model of the same published layout."""
    Scorer(ScorerSize(), vocabulary()).save(tmp_path / "scorer")
    scorer = f"evaluation.scorer={tmp_path / 'scorer'}"
    write_meshes(tmp_path / "meshes")
    geco = [scorer, f"reconstructor.pretrained={tiny_reconstructor(tmp_path / 'reconstructor')}"]
    (tmp_path / "images").mkdir()
    picture(tmp_path / "images/one.png"), picture(tmp_path / "images/two.png", (30, 30, 200))
    return {
        "geco.yaml": [
            *geco,
            f"backbone.model={models('multiview')}",
            f"perceptual.model={tmp_path / 'scorer'}",
            f"generation.text.backbone.model={models('toybox')}",
        ],
        "geco-zero123plus.yaml": [
            *geco,
            f"backbone.model={models('zero123plus')}",
            f"images.path={tmp_path / 'images'}",
            f"perceptual={{type: scorer, model: {tmp_path / 'scorer'}}}",
        ],
        "priors/agp.yaml": [f"backbone.model={models('toybox')}"],
        "priors/agp-sd.yaml": [
            f"backbone.model={models('sd21')}",
            f"data.folder={tmp_path / 'meshes'}",
            "data.views=2",
            "data.size=8",
            "data.held_out_every=2",
        ],
        "priors/toybox.yaml": [scorer.removeprefix("evaluation.")],
        "sweetdreamer-nerf.yaml": [
            f"backbone.model={models('toybox')}",
            f"guidance.ccm.backbone.model={models('agp')}",
            scorer,
        ],
        "prolificdreamer-sd.yaml": [f"backbone.model={models('sd21')}"],
        "fantasia3d-sd.yaml": [f"backbone.model={models('sd21')}"],
        "sweetdreamer-nerf-sd.yaml": [
            f"backbone.model={models('sd21')}",
            f"guidance.ccm.backbone.model={models('agp_sd')}",
        ],
        "sweetdreamer-sd.yaml": [f"backbone.model={models('sd21')}", f"vars.ccm.backbone.model={models('agp_sd')}"],
        "playground2d.yaml": [f"backbone.model={models('toybox')}"],
        "prolificdreamer.yaml": [f"backbone.model={models('toybox')}", scorer],
        "fantasia3d.yaml": [f"backbone.model={models('toybox')}", scorer],
        "sweetdreamer.yaml": [
            f"backbone.model={models('toybox')}",
            f"vars.ccm.backbone.model={models('agp')}",
            scorer,
        ],
        "dreamfusion.yaml": [f"backbone.model={models('toybox')}", scorer],
        "dreamfusion-sd.yaml": [f"backbone.model={models('sd21')}"],
        "dreamfusion-if.yaml": [f"backbone.model={models('if')}"],
    }


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_runs_two_steps(recipe, backbones, tmp_path, monkeypatch):
    monkeypatch.setenv("TSL_CACHE", str(tmp_path / "cache"))
    keys = [*TINY[recipe], *backbones.get(recipe, []), f"out={tmp_path / 'run'}", "device=cpu"]
    assert launch.main(["--config", recipe, "--check", *keys]) == 0
    assert launch.main(["--config", recipe, *keys]) == 0
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    stages = {
        "fantasia3d": 3,
        "sweetdreamer": 3,
        "prolificdreamer": 3,
        "priors/reconstructor": 3,
        "priors/reconstructor-single": 3,
        "priors/reconstructor-large": 3,
        "geco": 2,
        "geco-zero123plus": 2,
        "sweetdreamer-nerf-sd": 2,
    }
    stages = next(
        (stages[name] for name in (recipe.removesuffix(".yaml"), recipe.removesuffix("-sd.yaml")) if name in stages), 1
    )
    assert metrics["status"] == "done" and metrics["steps"] == 2 * stages
    if recipe == "playground2d.yaml":
        assert (tmp_path / "run/images.png").exists()
    elif recipe.startswith("priors"):
        assert (tmp_path / "run/model").is_dir()
    else:
        if recipe.startswith("geco"):
            assert {"generator", "reconstructor", "views.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
        places = [tmp_path / "run"] if "particles=2" not in keys else [tmp_path / f"run/particle-{i}" for i in (0, 1)]
        for place in places:
            left = {path.name for path in place.iterdir()}
            assert {"turntable.png", "turntable.mp4"} <= left
            assert (
                metrics["mesh_faces"] == 0 or {"mesh.glb", "mesh.obj", "mesh.ply"} <= left or "formats" not in str(keys)
            )
        assert launch.main(["--config", recipe, "--test", *keys]) == 0
        assert launch.main(["--config", recipe, "--export", *keys]) == 0


def test_steps_in_which_nothing_counts_leave_the_scene_alone(backbones, tmp_path):
    """As the ablation of the aligned prior's weight has them: its look begins at step 60."""
    keys = [
        *TINY["sweetdreamer-nerf.yaml"],
        *backbones["sweetdreamer-nerf.yaml"],
        f"out={tmp_path / 'run'}",
        "device=cpu",
    ]
    assert launch.main(["--config", "sweetdreamer-nerf.yaml", *keys, "guidance.ccm.weight=0.0"]) == 0


@pytest.mark.parametrize(
    "guide, channel, message", [("ccm", "rgb", "3 channels, and the prior"), ("rgb", "ccm", "takes 3")]
)
def test_a_channel_that_its_prior_does_not_take_is_a_sentence(backbones, tmp_path, capsys, guide, channel, message):
    keys = [
        *TINY["sweetdreamer-nerf.yaml"],
        *backbones["sweetdreamer-nerf.yaml"],
        f"out={tmp_path / 'run'}",
        "device=cpu",
    ]
    assert launch.main(["--config", "sweetdreamer-nerf.yaml", *keys, f"guidance.{guide}.channel={channel}"]) == 2
    told = capsys.readouterr().err
    assert f"guidance.{guide}: the channel '{channel}'" in told and message in told and "Traceback" not in told
