"""Recipes, models and files at tiny sizes: everything runs in them, and nothing comes of it."""

import json

import torch
import trimesh
from PIL import Image

from priors.conversion.reconstructor import InstantMeshReconstructor
from priors.reconstructor import Reconstructor, ReconstructorSize
from systems.training.text_to_image import vocabulary
from tests.priors import published_instantmesh
from threestudio_like.evaluate.scorer import Scorer, ScorerSize

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
    "stages.nerf.evaluation.mesh_resolution=12",
    f"vars.encoding={TINY_GRID}",
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
TINY_MULTIVIEW = [
    "steps=2",
    "batch=2",
    "start=null",
    "mean_steps=1",
    "mean_batch=3",
    "sample_steps=2",
    "judged=3",
    "shown=2",
    "size={view: 16, patch: 4, channels: [16, 16], tokens_width: 16, mean_predictor: [16, 8, 8]}",
    *(f"data.{key}" for key in ("count=8", "held_out_count=3", "size=16", "samples=1")),
]
TINY_SCORER = [*TINY_PRIOR, "held_out_count=60", "data.capture.size=16"]
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
    "geco-long.yaml": TINY_GECO,
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
    "mesh.yaml": [key for key in TINY_SCENE if key.startswith("evaluation.") and "mesh_resolution" not in key],
    "prolificdreamer-sd.yaml": TINY_STAGES,
    "fantasia3d-sd.yaml": TINY_MESH,
    "sweetdreamer-sd.yaml": TINY_MESH,
    "fantasia3d.yaml": TINY_MESH,
    "sweetdreamer.yaml": TINY_MESH,
    "dreamfusion-sd.yaml": TINY_SCENE,
    "dreamfusion-if.yaml": TINY_SCENE,
    "dreamfusion-sdxl.yaml": TINY_SCENE,
    "dreamfusion-sd3.yaml": TINY_SCENE,
    "priors/toybox.yaml": [
        *TINY_PRIOR,
        "size={image: 16, patch: 4, channels: [16, 16], text_width: 16}",
        "data.capture.size=16",
        "sample_steps=1",
    ],
    "priors/agp.yaml": [
        *TINY_AGP,
        "mean_steps=1",
        "mean_batch=3",
        "data={type: toybox, toys: 3, views: 2, size: 16, samples: 1}",
    ],
    "priors/agp-sd.yaml": TINY_AGP,
    "priors/multiview.yaml": TINY_MULTIVIEW,
    "priors/multiview-unseen.yaml": TINY_MULTIVIEW,
    "priors/reconstructor.yaml": TINY_RECONSTRUCTOR,
    "priors/reconstructor-single.yaml": [*TINY_RECONSTRUCTOR, "model=null"],
    "priors/reconstructor-large.yaml": [*TINY_RECONSTRUCTOR, "size.dino=null"],
    "priors/instantmesh.yaml": [
        *(f"data.views.{key}" for key in ("count=3", "held_out_count=2", "size=16", "samples=1")),
        *("data.samples=1", "data.targets=2", "data.target_size=12", "data.points=16", "points=8"),
        *("size.image=16", "size.patch=8", "evaluation={objects: 1, size: 16, shown: 1}", "steps=2", "targets=2"),
    ],
    "priors/scorer.yaml": [*TINY_SCORER, "size={image: 16, channels: [8, 8], width: 8}"],
    "priors/second_scorer.yaml": [*TINY_SCORER, "size={image: 16, patch: 4, channels: [32, 32], width: 8}"],
}


RECONSTRUCTOR_SIZE = ReconstructorSize(
    image=16,
    patch=8,
    encoder_width=16,
    encoder_layers=1,
    encoder_heads=2,
    width=16,
    layers=1,
    heads=2,
    tokens=4,
    upsample=2,
    channels=6,
    hidden=16,
    hidden_layers=1,
    grid=8,
)


def tiny_reconstructor(folder, seed=0):
    """Writes a random reconstructor into the folder, which is returned."""
    torch.manual_seed(seed)
    Reconstructor.of(RECONSTRUCTOR_SIZE).half().save_pretrained(folder)
    return folder


def tiny_instantmesh(folder):
    """Converts a random checkpoint of InstantMesh's into the folder, for views of 16 pixels; returns the folder."""
    folder.mkdir()
    InstantMeshReconstructor(InstantMeshReconstructor.Config(image=16, grid=6, head_width=8)).convert(
        {f"lrm_generator.{name}": tensor for name, tensor in published_instantmesh.state().items()}, folder
    )
    return folder


def picture(path, color=(200, 40, 40), size=(40, 40)):
    """Writes an image of a rectangle on white; returns its path."""
    image = Image.new("RGB", size, "white")
    image.paste(color, (size[0] // 4, size[1] // 4, 3 * size[0] // 4, 3 * size[1] // 4))
    image.save(path)
    return path


def write_meshes(folder):
    """Writes two boxes with captions into a new folder."""
    folder.mkdir()
    for name in ("one.glb", "two.ply"):
        trimesh.creation.box((1, 2, 3)).export(folder / name)
    (folder / "captions.json").write_text(json.dumps({"one.glb": "a box", "two.ply": ["a box", "a block"]}))


def tiny_models(models, folder):
    """Returns keys that give each recipe tiny models of the published layouts.

    `models(name)` makes a diffusion model's folder (`tests/conftest.py`); all else is written into the folder.
    """
    Scorer(ScorerSize(), vocabulary()).save(folder / "scorer")
    scorer = f"evaluation.scorer={folder / 'scorer'}"
    write_meshes(folder / "meshes")
    geco = [scorer, f"reconstructor.pretrained={tiny_reconstructor(folder / 'reconstructor')}"]
    instantmesh = tiny_instantmesh(folder / "instantmesh")
    (folder / "images").mkdir()
    picture(folder / "images/one.png"), picture(folder / "images/two.png", (30, 30, 200))
    geco_toybox = [
        *geco,
        f"backbone.model={models('multiview')}",
        f"perceptual.model={folder / 'scorer'}",
        f"generation.text.backbone.model={models('toybox')}",
    ]
    return {
        "geco.yaml": geco_toybox,
        "geco-long.yaml": geco_toybox,
        "geco-zero123plus.yaml": [
            scorer,
            f"reconstructor.pretrained={instantmesh}",
            f"backbone.model={models('zero123plus')}",
            f"images.path={folder / 'images'}",
            f"perceptual={{type: scorer, model: {folder / 'scorer'}}}",
        ],
        "priors/instantmesh.yaml": [
            scorer,
            f"model={instantmesh}",
            f"perceptual={{type: scorer, model: {folder / 'scorer'}}}",
        ],
        "priors/agp.yaml": [f"backbone.model={models('toybox')}"],
        "priors/agp-sd.yaml": [
            f"backbone.model={models('sd21')}",
            f"data.folder={folder / 'meshes'}",
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
            f"stages.coarse.backbone.model={models('if')}",
            f"guidance.ccm.backbone.model={models('agp_sd')}",
        ],
        "sweetdreamer-sd.yaml": [f"backbone.model={models('sd21')}", f"vars.ccm.backbone.model={models('agp_sd')}"],
        "playground2d.yaml": [f"backbone.model={models('toybox')}"],
        "mesh.yaml": [f"file={folder / 'meshes/one.glb'}", scorer],
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
        "dreamfusion-sdxl.yaml": [f"backbone.model={models('sdxl')}"],
        "dreamfusion-sd3.yaml": [f"backbone.model={models('sd35')}"],
    }
