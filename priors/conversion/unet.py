"""Puts the U-Net that InstantMesh publishes into a folder of Zero123++.

It draws on white, as reconstructors know it; Zero123++'s own draws on grey.
"""

import logging
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from priors.backbones.zero123plus import Zero123Plus
from priors.conversion.fitting import check_fit
from threestudio_like import pretrained
from threestudio_like.utils.files import regular

log = logging.getLogger(__name__)
TAKEN = (".json", ".txt", ".model", ".safetensors")
"""Suffixes of the files that make up the other parts; pickled weights are none."""


class Zero123PlusUNet:
    """Converts `diffusion_pytorch_model.bin`, all other parts being those of a Zero123++. Built as `cls(config)`."""

    @dataclass(frozen=True)
    class Config:
        """Names the model whose other parts are taken."""

        model: str = "sudo-ai/zero123plus-v1.2"
        """Folder or hub id of Zero123++ v1.2."""

    def __init__(self, config: Config):
        self.config = config

    @staticmethod
    def recognises(names: Collection[str]) -> bool:
        """Tells by the tensors' names whether these are a U-Net's in diffusers' layout."""
        return {"conv_in.weight", "time_embedding.linear_1.weight", "conv_out.weight"} <= set(names)

    def convert(self, tensors: dict[str, Tensor], folder: Path) -> None:
        """Writes the whole model into the folder, the U-Net in the precision of the file. Raises UserError."""
        base = pretrained.find(pretrained.ModelConfig(self.config.model), Zero123Plus.parts)
        config = pretrained.read_json(base / "unet" / "config.json")
        with torch.device("meta"), pretrained.reading(base / "unet", "a U-Net"):
            unet = UNet2DConditionModel.from_config(config)
        check_fit(tensors, unet, f"the U-Net of {self.config.model}")
        for part in Zero123Plus.parts:
            (folder / part).mkdir()
            for file in sorted((base / part).iterdir()):
                if file.suffix in TAKEN and (part != "unet" or file.name == "config.json"):
                    shutil.copyfile(regular(file), folder / part / file.name)
        shutil.copyfile(base / "model_index.json", folder / "model_index.json")
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        weights = folder / "unet" / f"{pretrained.WEIGHTS['unet']}.safetensors"
        save_file(contiguous, weights, metadata={"format": "pt"})
        log.info("the other parts are those of %s", self.config.model)
