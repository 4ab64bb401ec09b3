"""CNN towers in front of a language model: Florence-2, FastVLM, Gemma 3n."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .parts import CHAT, Case, asked_in_chat, clip_images, qwen2, save
from .tokenizers import byte_level, chat, sentence_piece


def florence(folder: Path) -> None:
    from transformers import Florence2Config, Florence2ForConditionalGeneration, Florence2Processor

    tokenizer = byte_level(image_token="<image>")
    config = Florence2Config(
        vision_config=dict(
            embed_dim=[8, 16, 32, 32],
            num_heads=[1, 1, 2, 2],
            num_groups=[1, 1, 2, 2],
            depths=[1, 1, 1, 1],
            window_size=4,
            projection_dim=32,
            patch_stride=[4, 2, 2, 1],
        ),
        text_config=dict(
            model_type="bart",
            vocab_size=len(tokenizer),
            d_model=32,
            encoder_layers=1,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_position_embeddings=128,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            decoder_start_token_id=tokenizer.eos_token_id,
            forced_bos_token_id=tokenizer.bos_token_id,
        ),
        image_token_id=tokenizer.image_token_id,
    )
    model = Florence2ForConditionalGeneration(config)
    model.generation_config.forced_bos_token_id = tokenizer.bos_token_id
    model.generation_config.decoder_start_token_id = tokenizer.eos_token_id
    from transformers import CLIPImageProcessor

    side = 64
    images = CLIPImageProcessor(size={"height": side, "width": side}, do_center_crop=False, image_seq_length=17)
    save(folder, model, Florence2Processor(images, tokenizer))


def florence_asked(processor: Any, image: Any, question: str | None) -> dict[str, Any]:
    return dict(processor(images=image, text=question or "<CAPTION>", return_tensors="pt"))


def fastvlm(folder: Path) -> None:
    from transformers import FastVlmConfig, FastVlmForConditionalGeneration, LlavaProcessor

    tokenizer = chat(byte_level)
    config = FastVlmConfig(
        vision_config=dict(
            model_type="timm_wrapper",
            architecture="fastvit_mci0",
            do_pooling=False,
            hidden_size=64,
            model_args={"layers": [1, 1, 1, 1], "embed_dims": [8, 16, 16, 32], "inference_mode": True},
        ),
        text_config=qwen2(tokenizer),
        image_token_index=tokenizer.image_token_id,
    )
    images = clip_images(128)
    processor = LlavaProcessor(
        images, tokenizer, patch_size=32, vision_feature_select_strategy="full", chat_template=CHAT, image_token="<image>"
    )
    model = FastVlmForConditionalGeneration(config)
    save(folder, model, processor, loud=("model.multi_modal_projector.linear_1.weight", 1000))


def gemma3n(folder: Path) -> None:
    from transformers import (
        Gemma3nAudioFeatureExtractor,
        Gemma3nConfig,
        Gemma3nForConditionalGeneration,
        Gemma3nProcessor,
        SiglipImageProcessor,
    )

    timm_architecture("mobilenetv5_tiny_enc", mobilenet_v5)
    names = {"audio_token": "<audio>", "boa_token": "<boa>", "eoa_token": "<eoa>", "boi_token": "<boi>", "eoi_token": "<eoi>"}
    tokenizer = chat(sentence_piece, **names)
    size = len(tokenizer)
    config = Gemma3nConfig(
        text_config=dict(
            vocab_size=size,
            vocab_size_per_layer_input=size,
            hidden_size=32,
            hidden_size_per_layer_input=8,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            num_kv_shared_layers=0,
            altup_num_inputs=2,
            laurel_rank=4,
            layer_types=["sliding_attention", "full_attention"],
            activation_sparsity_pattern=[0.0, 0.0],
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        vision_config=dict(
            architecture="mobilenetv5_tiny_enc",
            hidden_size=2048,
            vocab_size=4,
            vocab_offset=size,
            model_args={},
            do_pooling=False,
        ),
        audio_config=dict(
            vocab_size=4,
            vocab_offset=size + 4,
            hidden_size=16,
            conf_num_attention_heads=2,
            conf_num_hidden_layers=1,
            sscp_conv_channel_size=[4, 4],
        ),
        vision_soft_tokens_per_image=16,
        image_token_id=tokenizer.image_token_id,
        audio_token_id=tokenizer.audio_token_id,
        boi_token_id=tokenizer.boi_token_id,
        eoi_token_id=tokenizer.eoi_token_id,
    )
    images = SiglipImageProcessor(size={"height": 64, "width": 64}, do_normalize=False)
    processor = Gemma3nProcessor(Gemma3nAudioFeatureExtractor(), images, tokenizer, chat_template=CHAT, image_seq_length=16)
    model = Gemma3nForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    save(folder, model, processor)


def timm_architecture(name: str, build: Callable[..., Any]) -> None:
    """Makes timm know a small network by that name, as a checkpoint's config names one."""
    from timm.models import _registry

    _registry._model_entrypoints[name] = build
    _registry._model_to_module[name] = "tests"


def mobilenet_v5(pretrained: bool = False, **options: Any) -> Any:
    """MobileNetV5 with few blocks: Gemma 3n's kinds, and its fusion of the last two scales."""
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.mobilenetv5 import MobileNetV5Encoder

    stages = [
        ["er_r1_k3_s2_e2_c8"],
        ["uir_r1_a3_k5_s2_e2_c16"],
        ["uir_r1_a0_k5_s2_e2_c16", "mqa_r1_k3_h2_s1_d8_c16", "uir_r1_a0_k0_s1_e2_c16"],
    ]
    options = {key: value for key, value in options.items() if key in ("device", "dtype")}
    return MobileNetV5Encoder(
        decode_arch_def(stages), stem_size=8, pad_type="same", msfa_output_resolution=4, layer_scale_init_value=0.1, **options
    )


CASES = [
    Case("florence-2", florence, "model.vision_tower.blocks.3.0", (4, 4), ask=florence_asked, local=False),
    Case("fastvlm", fastvlm, "model.vision_tower.timm_model.final_conv", (4, 4), ask=asked_in_chat, double=False, local=False),
    Case(
        "fastvlm-vqa",
        fastvlm,
        "model.vision_tower.timm_model.final_conv",
        (4, 4),
        "what colour is the dog?",
        ask=asked_in_chat,
        double=False,
        local=False,
        slow=True,
    ),
    Case(
        "gemma3n", gemma3n, "model.vision_tower.timm_model.msfa", (4, 4), ask=asked_in_chat, double=False, local=False, n_steps=16
    ),
]
