"""The methods. Each file reads like the method section of its paper."""

COMPONENTS = {
    "system": {
        "dreamfusion": "systems.dreamfusion:DreamFusion",
        "fantasia3d": "systems.fantasia3d:Fantasia3D",
        "geco_scene": "systems.geco.stages:GecoScene",
        "geco_views": "systems.geco.stages:GecoViews",
        "playground2d": "systems.playground:Playground",
        "prolificdreamer": "systems.prolificdreamer:ProlificDreamer",
        "mesh_file": "systems.mesh_file:MeshFile",
        "geometric_prior": "systems.training.geometric:GeometricTraining",
        "multiview_prior": "systems.training.multiview:MultiviewTraining",
        "reconstructor": "systems.training.reconstructor:ReconstructorTraining",
        "scorer_training": "systems.training.scorer:ScorerTraining",
        "text_to_image": "systems.training.text_to_image:TextToImageTraining",
    }
}
"""What recipes can name by `type:`, by slot; imported when it is first chosen."""
