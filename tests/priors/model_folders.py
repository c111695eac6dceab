"""Writes model folders of the published layouts, with tiny random weights, for tests to load through the real code."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from priors.backbones.base import Backbone
from priors.backbones.geometric import geometric_mean_predictor, geometric_unet
from priors.backbones.latent import DirectBackbone
from priors.backbones.pixel import PixelBackbone
from priors.text_encoders import load_encoder
from priors.toybox import build, views
from threestudio_like.pretrained import ModelConfig

WIDTH = 16
PUBLISHED_CLIPS = (768, 1280)
"""Widths of the two CLIPs of Stable Diffusion XL and 3."""
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
VIEW_WORDS = ["front", "back", "left", "right", "side", "overhead", "view"]
TOYBOX_WORDS = ["a", "red", "blue", "dog", "duck", "car", ",", *VIEW_WORDS]
ZERO123PLUS = {
    "unet": dict(
        sample_size=96,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        cross_attention_dim=1024,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        attention_head_dim=(5, 10, 20, 20),
        use_linear_projection=True,
        norm_num_groups=32,
    ),
    "vae": dict(block_out_channels=(128, 256, 512, 512), layers_per_block=2, norm_num_groups=32, sample_size=768),
    "text_encoder": dict(
        vocab_size=49408,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=23,
        num_attention_heads=16,
        bos_token_id=0,
        eos_token_id=2,
    ),
    "vision_encoder": dict(
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=32,
        num_attention_heads=16,
        image_size=224,
        patch_size=14,
        projection_dim=1024,
    ),
}
"""What in the configs of Zero123++ 1.2 is not as in the tiny ones."""

PIECES = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
PIECES += [(f"▁{word}", -1.0) for word in TOYBOX_WORDS]
PIECES += [(letter, -5.0) for letter in "abcdefghijklmnopqrstuvwxyz,"]
"""A T5's tokens, with their scores."""

OLD_VAE_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def toybox(folder: Path, image: int = 32, words: list[str] = TOYBOX_WORDS) -> Path:
    """As the project's own text-to-image prior: folded pixels, whole words, `sample` prediction."""
    torch.manual_seed(0)
    size = build.TextToImageSize(image=image, patch=4, channels=(16, 32), heads=4, text_width=WIDTH, tokens=16)
    tokenizer = build.word_tokenizer(words, size.tokens)
    build.save(
        folder,
        build.unet(size),
        build.mean_predictor(size),
        build.text_encoder(size, len(tokenizer)),
        tokenizer,
        build.noise_scheduler(),
    )
    return folder


def toybox_agp(folder: Path, image: int = 32) -> Path:
    """As the project's aligned geometric prior, made of the one above."""
    base = PixelBackbone("cpu", ModelConfig(str(toybox(folder.with_name("base-of-agp"), image))))
    return _geometric(folder, base, geometric_mean_predictor(base.mean_predictor, base.patch), base.patch)


def stable_diffusion_agp(folder: Path, parts: dict[str, dict] | None = None) -> Path:
    """As the geometric prior that `agp-sd.yaml` leaves: four channels, no VAE, no mean_predictor."""
    base = stable_diffusion_21(folder.with_name(f"base-of-{folder.name}"), parts=parts)
    base = DirectBackbone("cpu", ModelConfig(str(base)))
    return _geometric(folder, base, None, 1)


def _geometric(folder: Path, base: Backbone, mean_predictor, patch: int) -> Path:
    tokenizer, encoder = load_encoder(base.config, torch.device("cpu"))
    unet = geometric_unet(base.unet, mean_predictor is not None, patch)
    build.save(
        folder, unet, mean_predictor, encoder, tokenizer, DDPMScheduler.from_pretrained(base.folder / "scheduler")
    )
    return folder


def stable_diffusion_15(folder: Path, size: int = 8) -> Path:
    """As Stable Diffusion 1.5: old names in the VAE and the text encoder, a PNDM scheduler without prediction type."""
    _stable_diffusion(folder, size, pad_token="<|endoftext|>")
    scheduler = {
        "_class_name": "PNDMScheduler",
        "_diffusers_version": "0.6.0",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "num_train_timesteps": 1000,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
        "clip_sample": False,
    }
    _write(folder / "scheduler" / "scheduler_config.json", scheduler)
    rename(folder / "vae" / "diffusion_pytorch_model.safetensors", _old_vae_name)
    return folder


def stable_diffusion_21(
    folder: Path, size: int = 8, prediction: str = "epsilon", parts: dict[str, dict] | None = None
) -> Path:
    """As Stable Diffusion 2.1 base, and, with `v_prediction`, as 2.1; `parts` as in `zero123plus`."""
    _stable_diffusion(folder, size, pad_token="!", parts=parts)
    scheduler = PNDMScheduler if prediction == "epsilon" else DDIMScheduler
    scheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
    ).save_pretrained(folder / "scheduler")
    return folder


def multiview(folder: Path, view: int = 16) -> Path:
    """As the project's own multi-view prior."""
    torch.manual_seed(0)
    size = views.MultiviewSize(view=view, patch=2, channels=(16, 16), tokens_width=16, mean_predictor=(16, 8, 8))
    unet, mean_predictor, encoder = views.unet(size), views.view_mean_predictor(size), views.image_encoder(size)
    mean_predictor.find_components(torch.rand(4, 3, 3 * view, 2 * view), size.patch)
    views.save(folder, unet, mean_predictor, encoder, build.noise_scheduler())
    return folder


def zero123plus(folder: Path, parts: dict[str, dict] | None = None) -> Path:
    """As Zero123++ 1.2: Stable Diffusion 2's parts, predicting v, a CLIP vision encoder and what goes before it.

    `parts`: of unet, vae, text_encoder and vision_encoder, what in their configs is not tiny; then in half precision.
    """
    _stable_diffusion(folder, 8, pad_token="!", parts=parts)
    EulerAncestralDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="linear",
        prediction_type="v_prediction",
        steps_offset=1,
        timestep_spacing="linspace",
    ).save_pretrained(folder / "scheduler")
    tiny = dict(
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        projection_dim=WIDTH,
    )
    vision = CLIPVisionConfig(**tiny | (parts or {}).get("vision_encoder", {}))
    _as_published(CLIPVisionModelWithProjection(vision), parts).save_pretrained(folder / "vision_encoder")
    published = {f"do_{step}": True for step in ("center_crop", "convert_rgb", "normalize", "rescale", "resize")} | {
        "image_processor_type": "CLIPImageProcessor",
        "rescale_factor": 1 / 255,
    }
    sizes = (vision.image_size, 512 if parts else 32)
    for part, size, mean, std, resample in (("clip", sizes[0], CLIP_MEAN, CLIP_STD, 3), ("vae", sizes[1], 0.5, 0.8, 2)):
        _write(
            folder / f"feature_extractor_{part}" / "preprocessor_config.json",
            published
            | {
                "crop_size": {"height": size, "width": size},
                "size": {"shortest_edge": size},
                "image_mean": mean,
                "image_std": std,
                "resample": resample,
            },
        )
    processor = ["transformers", "CLIPImageProcessor"]
    _index(
        folder,
        "Zero123PlusPipeline",
        "EulerAncestralDiscreteScheduler",
        "CLIPTextModel",
        "CLIPTokenizer",
        vae=["diffusers", "AutoencoderKL"],
        vision_encoder=["transformers", "CLIPVisionModelWithProjection"],
        feature_extractor_clip=processor,
        feature_extractor_vae=processor,
        ramping_coefficients=[i / 76 for i in range(77)],
    )
    return folder


def deepfloyd(
    folder: Path,
    size: int = 16,
    sentencepiece: bool = False,
    variant: str | None = "fp16",
    parts: dict[str, dict] | None = None,
) -> Path:
    """As DeepFloyd IF's first stage: learned variance (6 channels out), a T5 in two shards, fp16 files.

    Its tokenizer is published as `spiece.model`, which takes sentencepiece to read; else `tokenizer.json` is written.
    `parts`: what in the U-Net's config is not tiny, and the T5's width.
    """
    torch.manual_seed(0)
    tiny = dict(
        sample_size=size,
        in_channels=3,
        out_channels=6,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        cross_attention_dim=2 * WIDTH,
        encoder_hid_dim=WIDTH,
        attention_head_dim=8,
        norm_num_groups=4,
        act_fn="gelu",
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        cross_attention_norm="group_norm",
    )
    unet = UNet2DConditionModel(**tiny | (parts or {}).get("unet", {}))
    unet.half().save_pretrained(folder / "unet", variant=variant)
    _t5(unet.config.encoder_hid_dim).half().save_pretrained(
        folder / "text_encoder", max_shard_size="3KB", variant=variant
    )
    if sentencepiece:
        _sentencepiece(folder / "tokenizer", PIECES)
    else:
        T5Tokenizer(vocab=PIECES).save_pretrained(folder / "tokenizer")
    DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="epsilon", variance_type="learned_range", thresholding=True
    ).save_pretrained(folder / "scheduler")
    _index(folder, "IFPipeline", "DDPMScheduler", "T5EncoderModel", "T5Tokenizer")
    return folder


def stable_diffusion_xl(folder: Path, size: int = 8, parts: dict[str, dict] | None = None) -> Path:
    """As Stable Diffusion XL base: two CLIPs, the second with a projection, and a U-Net that is told sizes.

    `parts`: what in the configs of unet and vae is not tiny; then in half precision, behind CLIPs as wide as published.
    """
    torch.manual_seed(0)
    first, second = PUBLISHED_CLIPS if parts else (WIDTH, WIDTH + 8)
    tiny = dict(
        sample_size=size,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=first + second,
        attention_head_dim=(1, 2),
        use_linear_projection=True,
        norm_num_groups=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + second,
    )
    unet = UNet2DConditionModel(**tiny | (parts or {}).get("unet", {}))
    _as_published(unet, parts).save_pretrained(folder / "unet")
    _vae(size, parts, scaling_factor=0.13025, force_upcast=True).save_pretrained(folder / "vae")
    _clip(folder, "", first, CLIPTextModel, "<|endoftext|>")
    _clip(folder, "_2", second, CLIPTextModelWithProjection, "!")
    EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1
    ).save_pretrained(folder / "scheduler")
    _index(
        folder,
        "StableDiffusionXLPipeline",
        "EulerDiscreteScheduler",
        "CLIPTextModel",
        "CLIPTokenizer",
        text_encoder_2=["transformers", "CLIPTextModelWithProjection"],
        tokenizer_2=["transformers", "CLIPTokenizer"],
        vae=["diffusers", "AutoencoderKL"],
        force_zeros_for_empty_prompt=True,
    )
    return folder


def stable_diffusion_3(folder: Path, size: int = 8, newer: bool = True, parts: dict[str, dict] | None = None) -> Path:
    """As Stable Diffusion 3, or `newer`, 3.5: two CLIPs with projections, a T5, a transformer that predicts a flow.

    `parts`: what in the configs of transformer and vae is not tiny, as in `stable_diffusion_xl`.
    """
    torch.manual_seed(0)
    first, second = PUBLISHED_CLIPS if parts else (WIDTH, WIDTH + 8)
    tiny = dict(
        sample_size=size,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=4 * WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=first + second,
        pos_embed_max_size=max(6, size // 2 + 2),
        dual_attention_layers=(0,) if newer else (),
        qk_norm="rms_norm" if newer else None,
    )
    transformer = SD3Transformer2DModel(**tiny | (parts or {}).get("transformer", {}))
    _as_published(transformer, parts).save_pretrained(folder / "transformer")
    quantless = {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
    _vae(size, parts, scaling_factor=1.5305, shift_factor=0.0609, **quantless).save_pretrained(folder / "vae")
    _clip(folder, "", first, CLIPTextModelWithProjection, "<|endoftext|>")
    _clip(folder, "_2", second, CLIPTextModelWithProjection, "!")
    _t5(transformer.config.joint_attention_dim).save_pretrained(folder / "text_encoder_3", max_shard_size="20KB")
    T5Tokenizer(vocab=PIECES).save_pretrained(folder / "tokenizer_3")
    FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0).save_pretrained(folder / "scheduler")
    node = {"_class_name": "StableDiffusion3Pipeline", "_diffusers_version": "0.29.0"}
    node |= {part: ["transformers", "CLIPTextModelWithProjection"] for part in ("text_encoder", "text_encoder_2")}
    node |= {part: ["transformers", "CLIPTokenizer"] for part in ("tokenizer", "tokenizer_2")}
    node |= {"text_encoder_3": ["transformers", "T5EncoderModel"], "tokenizer_3": ["transformers", "T5TokenizerFast"]}
    node |= {"transformer": ["diffusers", "SD3Transformer2DModel"], "vae": ["diffusers", "AutoencoderKL"]}
    _write(folder / "model_index.json", node | {"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]})
    return folder


def clip(folder: Path) -> Path:
    """As OpenAI's CLIP in transformers' mean_predictor: all in one folder."""
    torch.manual_seed(0)
    words = _clip_tokenizer(folder, "<|endoftext|>")
    tower = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = tower | {
        "vocab_size": words,
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
        "pad_token_id": words - 1,
    }
    CLIPModel(
        CLIPConfig(text_config=text, vision_config=tower | {"image_size": 8, "patch_size": 4}, projection_dim=6)
    ).save_pretrained(folder)
    _write(folder / "preprocessor_config.json", {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3]})
    return folder


def rename(path: Path, name) -> None:
    """Rewrites a safetensors file under other tensor names."""
    save_file({name(key): value for key, value in load_file(path).items()}, path, metadata={"format": "pt"})


def _stable_diffusion(folder: Path, size: int, pad_token: str, parts: dict[str, dict] | None = None) -> None:
    torch.manual_seed(0)
    vocabulary = _clip_tokenizer(folder / "tokenizer", pad_token)
    tiny = {
        "unet": dict(
            sample_size=size,
            in_channels=4,
            out_channels=4,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=2,
            norm_num_groups=4,
        ),
        "vae": dict(
            block_out_channels=(4, 4, 4, 4),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=2,
            sample_size=8 * size,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        ),
        "text_encoder": dict(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=1,
        ),
    }
    config = {part: values | (parts or {}).get(part, {}) for part, values in tiny.items()}
    _as_published(UNet2DConditionModel(**config["unet"]), parts).save_pretrained(folder / "unet")
    _as_published(AutoencoderKL(**config["vae"]), parts).save_pretrained(folder / "vae")
    encoder = CLIPTextModel(CLIPTextConfig(**config["text_encoder"]))
    _as_published(encoder, parts).save_pretrained(folder / "text_encoder")
    rename(folder / "text_encoder" / "model.safetensors", lambda key: "text_model." + key.removeprefix("text_model."))
    _index(
        folder,
        "StableDiffusionPipeline",
        "PNDMScheduler",
        "CLIPTextModel",
        "CLIPTokenizer",
        vae=["diffusers", "AutoencoderKL"],
    )


def _clip(folder: Path, number: str, width: int, kind: type, pad_token: str) -> None:
    """A CLIP of two layers, so that the last hidden state but one is not the embedding, and its tokenizer."""
    vocabulary = _clip_tokenizer(folder / f"tokenizer{number}", pad_token)
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=width,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=1,
    )
    kind(config).save_pretrained(folder / f"text_encoder{number}")


def _t5(width: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(PIECES) + 100,
            d_model=width,
            d_ff=32,
            d_kv=8,
            num_heads=2,
            num_layers=1,
            feed_forward_proj="gated-gelu",
        )
    )


def _vae(size: int, parts: dict[str, dict] | None, **config) -> AutoencoderKL:
    tiny = dict(
        block_out_channels=(4, 4, 4, 4),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=8 * size,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    return _as_published(AutoencoderKL(**tiny | config | (parts or {}).get("vae", {})), parts)


def _as_published(model, parts: dict[str, dict] | None):
    return model.half() if parts else model


def _old_vae_name(key: str) -> str:
    for new, old in OLD_VAE_NAMES.items():
        key = key.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
    return key


def _clip_tokenizer(folder: Path, pad_token: str) -> int:
    """vocab.json and merges.txt: the bytes, the bytes that end a word, two merges; the size of the vocabulary."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "do", "dog</w>", "<|startoftext|>", "<|endoftext|>"]
    _write(folder / "vocab.json", {word: i for i, word in enumerate(words)})
    (folder / "merges.txt").write_text("#version: 0.2\nd o\ndo g</w>\n")
    special = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": pad_token,
    }
    _write(folder / "special_tokens_map.json", special)
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": 77,
            "errors": "replace",
            "do_lower_case": True,
            "add_prefix_space": False,
            **special,
        },
    )
    return len(words)


def _sentencepiece(folder: Path, pieces: list[tuple[str, float]]) -> None:
    from transformers.convert_slow_tokenizer import import_protobuf

    model = import_protobuf().ModelProto()
    kinds = {"<pad>": 3, "</s>": 3, "<unk>": 2}
    for piece, score in pieces:
        model.pieces.add(piece=piece, score=score, type=kinds.get(piece, 1))
    model.trainer_spec.model_type = 1
    model.trainer_spec.unk_id, model.trainer_spec.eos_id, model.trainer_spec.pad_id = 2, 1, 0
    # A normaliser that changes nothing: the length in bytes of a trie, and its empty cells, one a byte that may come.
    model.normalizer_spec.precompiled_charsmap = (1024).to_bytes(4, "little") + bytes(1024)
    folder.mkdir(parents=True)
    (folder / "spiece.model").write_bytes(model.SerializeToString())
    special = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    _write(folder / "special_tokens_map.json", special)
    _write(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "T5Tokenizer", "extra_ids": 100, "model_max_length": 512, **special},
    )


def _index(folder: Path, pipeline: str, scheduler: str, encoder: str, tokenizer: str, **more: list) -> None:
    _write(
        folder / "model_index.json",
        {
            "_class_name": pipeline,
            "_diffusers_version": "0.6.0",
            "scheduler": ["diffusers", scheduler],
            "text_encoder": ["transformers", encoder],
            "tokenizer": ["transformers", tokenizer],
            "unet": ["diffusers", "UNet2DConditionModel"],
            **more,
        },
    )


def _write(path: Path, node: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(node, indent=2))


MAKERS = {
    "toybox": toybox,
    "agp": toybox_agp,
    "agp_sd": stable_diffusion_agp,
    "sd15": stable_diffusion_15,
    "sd21": stable_diffusion_21,
    "sd21_v": lambda place: stable_diffusion_21(place, prediction="v_prediction"),
    "sdxl": stable_diffusion_xl,
    "sd3": lambda place: stable_diffusion_3(place, newer=False),
    "sd35": stable_diffusion_3,
    "if": deepfloyd,
    "multiview": multiview,
    "zero123plus": zero123plus,
}
