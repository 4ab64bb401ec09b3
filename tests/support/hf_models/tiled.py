"""Photos cut into tiles: Idefics3, SmolVLM, LLaVA-NeXT, LLaVA-OneVision, InternVL, Llama 4."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .parts import CHAT, SIDE, Case, asked_in_chat, llama, qwen2, save, small_vit
from .tokenizers import byte_level, chat, sentence_piece

ROPE = {"rope_type": "default", "rope_theta": 10000.0}


def _idefics(folder: Path, kind: str, *videos: str, **images: Any) -> None:
    """`videos` names the processor of the videos, where the family takes them; `images` are settings of the photos' one."""
    import transformers

    names = {"fake": "<fake_token_around_image>", "end": "<end_of_utterance>", "whole": "<global-img>"}
    names |= {f"tile{i}{j}": f"<row_{i}_col_{j}>" for i in (1, 2) for j in (1, 2)}
    tokenizer = chat(byte_level, **names)
    config = getattr(transformers, f"{kind}Config")(
        vision_config=small_vit(f"{kind.lower()}_vision"),
        text_config=llama(tokenizer),
        image_token_id=tokenizer.image_token_id,
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    size = {"size": {"longest_edge": 2 * SIDE}, "max_image_size": {"longest_edge": SIDE}}
    parts = [getattr(transformers, f"{kind}ImageProcessor")(**size | images), tokenizer]
    parts += [getattr(transformers, name)() for name in videos]
    processor = getattr(transformers, f"{kind}Processor")(*parts, image_seq_len=4, chat_template=CHAT)
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    save(folder, model, processor)


def idefics3(folder: Path) -> None:
    _idefics(folder, "Idefics3")


def smolvlm(folder: Path) -> None:
    _idefics(folder, "SmolVLM", "SmolVLMVideoProcessor")


def smolvlm_uncut(folder: Path) -> None:
    _idefics(folder, "SmolVLM", "SmolVLMVideoProcessor", do_image_splitting=False)


def _pinpoints() -> list[list[int]]:
    """The wide photo fills its two tiles, the tall one has margins in its three."""
    return [[SIDE, 2 * SIDE], [3 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]


def llava_next(folder: Path) -> None:
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration, LlavaNextImageProcessor, LlavaNextProcessor

    tokenizer = chat(sentence_piece)
    config = LlavaNextConfig(
        vision_config=small_vit("clip_vision_model", projection_dim=16),
        text_config=llama(tokenizer),
        image_token_index=tokenizer.image_token_id,
        image_grid_pinpoints=_pinpoints(),
    )
    size = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    processor = LlavaNextProcessor(
        LlavaNextImageProcessor(image_grid_pinpoints=_pinpoints(), **size),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    save(folder, LlavaNextForConditionalGeneration(config), processor)


def onevision(folder: Path, most: int = 9) -> None:
    """`most`: as many tiles' features as go to the words; those of more are interpolated."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
    )

    tokenizer = chat(byte_level, video_token="<video>")
    config = LlavaOnevisionConfig(
        vision_config=small_vit("siglip_vision_model", vision_use_head=False),
        text_config=qwen2(tokenizer),
        image_token_index=tokenizer.image_token_id,
        video_token_index=tokenizer.video_token_id,
        image_grid_pinpoints=_pinpoints(),
        vision_aspect_ratio=f"anyres_max_{most}",
    )
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(image_grid_pinpoints=_pinpoints(), size={"height": SIDE, "width": SIDE}),
        tokenizer,
        LlavaOnevisionVideoProcessor(),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        vision_aspect_ratio=f"anyres_max_{most}",
        chat_template=CHAT,
    )
    save(folder, LlavaOnevisionForConditionalGeneration(config), processor)


def onevision_interpolated(folder: Path) -> None:
    onevision(folder, most=1)


def internvl(folder: Path, **images: Any) -> None:
    """`images` are settings of the photos' processor."""
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
    )

    names = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<image>"}
    tokenizer = chat(byte_level, video_token="<video>", **names)
    config = InternVLConfig(
        vision_config=small_vit("internvl_vision"),
        text_config=qwen2(tokenizer),
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
    )
    settings = {"size": {"height": SIDE, "width": SIDE}, "min_patches": 1, "max_patches": 4}
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(**settings | images),
        tokenizer,
        InternVLVideoProcessor(),
        image_seq_length=4,
        chat_template=CHAT,
    )
    save(folder, InternVLForConditionalGeneration(config), processor)


def internvl_uncut(folder: Path) -> None:
    internvl(folder, max_patches=1)


def llama4(folder: Path) -> None:
    """Every token goes to both experts: one that goes to the likelier one only makes jumps, which have no gradient."""
    from transformers import Llama4Config, Llama4ForConditionalGeneration, Llama4ImageProcessor, Llama4Processor

    names = {"patch": "<|patch|>", "x": "<|tile_x_separator|>", "y": "<|tile_y_separator|>"}
    tokenizer = chat(byte_level, **{"image_token": "<|image|>", "start": "<|image_start|>", "end": "<|image_end|>", **names})
    text = llama(tokenizer) | {"model_type": "llama4_text", "head_dim": 16, "intermediate_size_mlp": 64}
    shuffled = {"projector_input_dim": 32, "projector_output_dim": 32, "vision_output_dim": 32, "rope_parameters": ROPE}
    config = Llama4Config(
        vision_config=small_vit("llama4_vision_model") | {"intermediate_size": 128} | shuffled,
        text_config=text | {"num_local_experts": 2, "num_experts_per_tok": 2, "interleave_moe_layer_step": 2},
        image_token_index=tokenizer.convert_tokens_to_ids("<|patch|>"),
    )
    images = Llama4ImageProcessor(size={"height": SIDE, "width": SIDE}, max_patches=4)
    template = CHAT.replace("<image>", "<|image|>")
    processor = Llama4Processor(images, tokenizer, patch_size=8, chat_template=template)
    save(folder, Llama4ForConditionalGeneration(config), processor)


def asked_in_float32(processor: Any, image: Any, question: str | None) -> dict[str, Any]:
    """Llama 4's processor gives bfloat16, as its checkpoints are."""
    values = asked_in_chat(processor, image, question)
    return values | {"pixel_values": values["pixel_values"].float()}


CASES = [
    Case("idefics3", idefics3, "model.vision_model.encoder.layers.1", (4, 8), ask=asked_in_chat, double=False),
    Case(
        "smolvlm",
        smolvlm,
        "model.vision_model.encoder.layers.1",
        (4, 8),
        "what colour is the dog?",
        ask=asked_in_chat,
        double=False,
        slow=True,
    ),
    Case(
        "smolvlm-uncut",
        smolvlm_uncut,
        "model.vision_model.encoder.layers.1",
        (4, 4),
        ask=asked_in_chat,
        double=False,
        slow=True,
    ),
    Case(
        "llava-next",
        llava_next,
        "model.vision_tower.encoder.layers.0",
        (4, 8),
        "what colour is the dog?",
        ask=asked_in_chat,
        double=False,
    ),
    Case(
        "llava-onevision",
        onevision,
        "model.vision_tower.encoder.layers.1",
        (4, 8),
        "what colour is the dog?",
        ask=asked_in_chat,
        double=False,
        slow=True,
    ),
    Case(
        "llava-onevision-interpolated",
        onevision_interpolated,
        "model.vision_tower.encoder.layers.1",
        (4, 8),
        "what colour is the dog?",
        ask=asked_in_chat,
        double=False,
        slow=True,
    ),
    Case(
        "internvl",
        internvl,
        "model.vision_tower.encoder.layer.1",
        (4, 8),
        "what colour is the dog?",
        ask=asked_in_chat,
        double=False,
        n_steps=128,  # the projector normalises what it gets, and of a mean-colour image it gets little
    ),
    Case(
        "internvl-uncut",
        internvl_uncut,
        "model.vision_tower.encoder.layer.1",
        (4, 4),
        ask=asked_in_chat,
        double=False,
        n_steps=128,
        slow=True,
    ),
    Case(
        "llama4",
        llama4,
        "vision_model.model.layers.1",
        (4, 8),
        "what colour is the dog?",
        ask=asked_in_float32,
        double=False,
        slow=True,
        beams=False,  # they repeat what Llama 4 does not read of its tower
    ),
]
