"""Architectures that nobody wrote an adapter for: VipLLaVA, Mistral 3, Idefics2, Aya Vision."""

from __future__ import annotations

from pathlib import Path

from .parts import CHAT, SIDE, Case, asked_in_chat, clip_images, llama, save, small_vit
from .tokenizers import byte_level, chat, sentence_piece


def vipllava(folder: Path) -> None:
    """Its words read two layers of the tower at once: what goes around the last one stays the photo's."""
    from transformers import LlavaProcessor, VipLlavaConfig, VipLlavaForConditionalGeneration

    tokenizer = chat(sentence_piece)
    config = VipLlavaConfig(
        vision_config=small_vit("clip_vision_model", projection_dim=16),
        text_config=llama(tokenizer),
        image_token_index=tokenizer.image_token_id,
        vision_feature_layers=[-2, -3],
    )
    processor = LlavaProcessor(
        clip_images(),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
        image_token="<image>",
    )
    save(folder, VipLlavaForConditionalGeneration(config), processor)


def mistral3(folder: Path) -> None:
    """Photos of any size, packed into one row: rows cannot be repeated."""
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration, PixtralImageProcessor, PixtralProcessor

    names = {"break": "<break>", "end": "<end>"}
    tokenizer = chat(byte_level, **names)
    config = Mistral3Config(
        vision_config=small_vit("pixtral") | {"image_size": 2 * SIDE, "head_dim": 16},
        text_config=llama(tokenizer) | {"model_type": "mistral"},
        image_token_index=tokenizer.image_token_id,
        spatial_merge_size=2,
    )
    images = PixtralImageProcessor(size={"longest_edge": 2 * SIDE}, patch_size=16)
    processor = PixtralProcessor(
        images,
        tokenizer,
        patch_size=8,
        spatial_merge_size=2,
        chat_template=CHAT,
        image_token="<image>",
        image_break_token="<break>",
        image_end_token="<end>",
    )
    save(folder, Mistral3ForConditionalGeneration(config), processor)


def idefics2(folder: Path) -> None:
    """A perceiver between the tower and the words; pictures have a dimension for how many they are."""
    from transformers import Idefics2Config, Idefics2ForConditionalGeneration, Idefics2ImageProcessor, Idefics2Processor

    tokenizer = chat(byte_level, image_boundary_token="<fake>", end="<end_of_utterance>")
    perceiver = dict(hidden_size=32, resampler_n_latents=8, resampler_depth=1, resampler_n_heads=2, resampler_head_dim=16)
    config = Idefics2Config(
        vision_config=small_vit("idefics2_vision") | {"image_size": 2 * SIDE},
        perceiver_config=perceiver | {"num_key_value_heads": 1},
        text_config=llama(tokenizer) | {"model_type": "mistral"},
        image_token_id=tokenizer.image_token_id,
    )
    images = Idefics2ImageProcessor(size={"shortest_edge": SIDE, "longest_edge": 2 * SIDE}, do_image_splitting=False)
    processor = Idefics2Processor(images, tokenizer, image_seq_len=8, chat_template=CHAT)
    save(folder, Idefics2ForConditionalGeneration(config), processor)


def aya_vision(folder: Path) -> None:
    """Cuts photos into tiles."""
    from transformers import AyaVisionConfig, AyaVisionForConditionalGeneration, AyaVisionProcessor, GotOcr2ImageProcessor

    names = {"start": "<|START_OF_IMG|>", "end": "<|END_OF_IMG|>", "patch": "<|IMG_PATCH|>"}
    tokenizer = chat(byte_level, **names, tile="TILE", whole="TILE_GLOBAL")
    config = AyaVisionConfig(
        vision_config=small_vit("siglip_vision_model", vision_use_head=False),
        text_config=llama(tokenizer) | {"model_type": "cohere2"},
        image_token_index=tokenizer.convert_tokens_to_ids("<|IMG_PATCH|>"),
    )
    images = GotOcr2ImageProcessor(size={"height": SIDE, "width": SIDE})
    processor = AyaVisionProcessor(
        images, tokenizer, patch_size=8, img_size=SIDE, downsample_factor=2, chat_template=CHAT, image_token="<image>"
    )
    save(folder, AyaVisionForConditionalGeneration(config), processor)


CASES = [
    Case("idefics2", idefics2, "model.vision_model.encoder.layers.1", (4, 8), ask=asked_in_chat, double=False),
    Case(
        "mistral3",
        mistral3,
        "model.vision_tower.transformer.layers.1",
        (4, 8),
        ask=asked_in_chat,
        double=False,
        grey=False,  # a norm comes first of all
        slow=True,
    ),
    Case("vipllava", vipllava, "model.vision_tower.encoder.layers.0", (4, 4), ask=asked_in_chat, double=False, slow=True),
]
