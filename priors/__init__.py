"""Prior knowledge: diffusion models, conditioning and sampling, and score distillation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

COMPONENTS = {
    "backbone": {
        "direct": "priors.backbones.latent:DirectBackbone",
        "flow": "priors.backbones.flow:FlowBackbone",
        "geometric": "priors.backbones.geometric:GeometricBackbone",
        "latent": "priors.backbones.latent:LatentBackbone",
        "multiview": "priors.backbones.multiview:FoldedMultiview",
        "pixel": "priors.backbones.pixel:PixelBackbone",
        "zero123plus": "priors.backbones.zero123plus:Zero123Plus",
    },
    "converter": {
        "instantmesh": "priors.conversion.reconstructor:InstantMeshReconstructor",
        "zero123plus": "priors.conversion.unet:Zero123PlusUNet",
    },
    "guidance": {
        "csd": "priors.guidance.csd:CSD",
        "ism": "priors.guidance.ism:ISM",
        "sdi": "priors.guidance.sdi:SDI",
        "sds": "priors.guidance.sds:SDS",
        "vsd": "priors.guidance.vsd:VSD",
    },
    "fake_score": {
        "copy": "priors.guidance.fake_score:Copy",
        "lora": "priors.guidance.fake_score:LoRA",
        "unet": "priors.guidance.fake_score:SmallUNet",
    },
}
"""What recipes can name by `type:`, by slot; imported when it is first chosen."""
