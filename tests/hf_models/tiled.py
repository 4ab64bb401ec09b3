"""Photos cut into tiles: Idefics3, SmolVLM, LLaVA-NeXT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .parts import CHAT, SIDE, Case, asked_in_chat, llama, save, small_vit
from .tokenizers import byte_level, chat, sentence_piece


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


def llava_next(folder: Path) -> None:
    """The wide photo fills its two tiles, the tall one has margins in its three."""
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration, LlavaNextImageProcessor, LlavaNextProcessor

    tokenizer = chat(sentence_piece)
    pinpoints = [[SIDE, 2 * SIDE], [3 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]]
    config = LlavaNextConfig(
        vision_config=small_vit("clip_vision_model", projection_dim=16),
        text_config=llama(tokenizer),
        image_token_index=tokenizer.image_token_id,
        image_grid_pinpoints=pinpoints,
    )
    size = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    processor = LlavaNextProcessor(
        LlavaNextImageProcessor(image_grid_pinpoints=pinpoints, **size),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    save(folder, LlavaNextForConditionalGeneration(config), processor)


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
]
