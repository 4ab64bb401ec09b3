"""Photos cut into tiles: Idefics3."""

from __future__ import annotations

from pathlib import Path

from .parts import CHAT, SIDE, Case, asked_in_chat, llama, save, small_vit
from .tokenizers import byte_level, chat


def idefics3(folder: Path) -> None:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessor, Idefics3Processor

    names = {"fake": "<fake_token_around_image>", "end": "<end_of_utterance>", "whole": "<global-img>"}
    names |= {f"tile{i}{j}": f"<row_{i}_col_{j}>" for i in (1, 2) for j in (1, 2)}
    tokenizer = chat(byte_level, **names)
    config = Idefics3Config(
        vision_config=small_vit("idefics3_vision"),
        text_config=llama(tokenizer),
        image_token_id=tokenizer.image_token_id,
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    images = Idefics3ImageProcessor(size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE})
    processor = Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=CHAT)
    model = Idefics3ForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    save(folder, model, processor)


CASES = [
    Case("idefics3", idefics3, "model.vision_model.encoder.layers.1", (4, 8), ask=asked_in_chat, double=False),
]
