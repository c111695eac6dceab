"""The shared core: recipes, cameras, scenes, renderers, kernels, training loop, export, evaluation, experiments."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

COMPONENTS = {
    "scene": {
        "field": "threestudio_like.scenes.field:Field",
        "flexicubes": "threestudio_like.scenes.flexicubes:FlexiCubes",
        "tetmesh": "threestudio_like.scenes.tetmesh:TetMesh",
    },
    "background": {
        "mlp": "threestudio_like.scenes.background:DirectionMLP",
        "random": "threestudio_like.scenes.background:Random",
        "solid": "threestudio_like.scenes.background:Solid",
    },
    "renderer": {
        "mesh": "threestudio_like.renderers.mesh:MeshRenderer",
        "volume": "threestudio_like.renderers.volume:VolumeRenderer",
    },
    "cameras": {"random": "threestudio_like.cameras:RandomCameras"},
    "coordinates": {
        "meshes": "threestudio_like.data.meshes:MeshFolder",
        "toybox": "threestudio_like.data.toybox.ccm:ToyboxCoordinates",
    },
    "perceptual": {
        "lpips": "threestudio_like.evaluate.perceptual:LPIPS",
        "scorer": "threestudio_like.evaluate.perceptual:ScorerDistance",
    },
}
"""What recipes can name by `type:`, by slot; imported when it is first chosen."""
