"""Captioners and VQA models: VisionEncoderDecoder, BLIP, GIT, BLIP-2, InstructBLIP, ViLT, Kosmos-2, Pix2Struct."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken

from .parts import SIDE, TINY, Case, as_processed, clip_images, lively, save, small_vit
from .tokenizers import byte_level, sentence_piece, unigram, word_piece


def _gpt2(tokenizer: Any) -> Any:
    from transformers import GPT2Config

    return GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=2,
        add_cross_attention=True,
        is_decoder=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _ved(folder: Path, encoder: Any, processor: Any) -> None:
    from transformers import VisionEncoderDecoderConfig, VisionEncoderDecoderModel

    tokenizer = byte_level(bos="<|endoftext|>", eos="<|endoftext|>")
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, _gpt2(tokenizer))
    config.decoder_start_token_id, config.pad_token_id = tokenizer.bos_token_id, tokenizer.pad_token_id
    model = VisionEncoderDecoderModel(config)
    model.generation_config.decoder_start_token_id = tokenizer.bos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    save(folder, model, processor, tokenizer)


def ved_vit(folder: Path) -> None:
    from transformers import ViTConfig, ViTImageProcessor

    encoder = ViTConfig(**TINY, image_size=SIDE, patch_size=8)
    _ved(folder, encoder, ViTImageProcessor(size={"height": SIDE, "width": SIDE}))


def ved_swin(folder: Path) -> None:
    from transformers import SwinConfig, ViTImageProcessor

    encoder = SwinConfig(image_size=SIDE, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4)
    _ved(folder, encoder, ViTImageProcessor(size={"height": SIDE, "width": SIDE}))


def ved_donut(folder: Path) -> None:
    from transformers import DonutImageProcessor, DonutSwinConfig

    encoder = DonutSwinConfig(
        image_size=[SIDE, 2 * SIDE], patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4
    )
    _ved(folder, encoder, DonutImageProcessor(size={"height": SIDE, "width": 2 * SIDE}))


def _blip(folder: Path, name: str) -> None:
    import transformers
    from transformers import BlipConfig, BlipImageProcessor, BlipProcessor

    tokenizer = word_piece()
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("pad", "sep")}
    config = BlipConfig(
        text_config=dict(
            vocab_size=len(tokenizer),
            **TINY,
            encoder_hidden_size=32,
            max_position_embeddings=64,
            bos_token_id=tokenizer.cls_token_id,
            eos_token_id=tokenizer.sep_token_id,
            **ids,
        ),
        vision_config=dict(**TINY, image_size=SIDE, patch_size=8),
        projection_dim=16,
    )
    images = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    save(folder, getattr(transformers, name)(config), BlipProcessor(images, tokenizer))


def blip_caption(folder: Path) -> None:
    _blip(folder, "BlipForConditionalGeneration")


def blip_vqa(folder: Path) -> None:
    _blip(folder, "BlipForQuestionAnswering")


def git(folder: Path) -> None:
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

    tokenizer = word_piece()
    config = GitConfig(
        vision_config=dict(**TINY, image_size=SIDE, patch_size=8),
        vocab_size=len(tokenizer),
        **TINY,
        max_position_embeddings=64,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    images = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    save(folder, GitForCausalLM(config), GitProcessor(images, tokenizer))


def git_asked(processor: Any, image: Any, question: str | None) -> dict[str, Any]:
    """As GIT's documentation asks questions: [CLS] in front, no [SEP]."""
    words = processor.tokenizer
    ids = [words.cls_token_id, *(words(question, add_special_tokens=False).input_ids if question else [])]
    pixels = processor(images=image, return_tensors="pt").pixel_values
    return {"pixel_values": pixels, "input_ids": torch.tensor([ids])}


def _qformer() -> dict[str, Any]:
    return dict(
        vocab_size=len(word_piece()),
        **TINY,
        encoder_hidden_size=32,
        cross_attention_frequency=1,
        max_position_embeddings=64,
    )


def _opt(tokenizer: Any) -> dict[str, Any]:
    return dict(
        model_type="opt",
        vocab_size=len(tokenizer),
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _blip2(folder: Path, name: str, kind: str, language: str) -> None:
    import transformers
    from transformers import BlipImageProcessor

    tokenizer = byte_level() if language == "opt" else sentence_piece()
    tokenizer.add_tokens([AddedToken("<image>", normalized=False, special=True)], special_tokens=True)
    t5 = dict(
        model_type="t5",
        vocab_size=len(tokenizer),
        d_model=32,
        d_ff=64,
        d_kv=16,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = getattr(transformers, f"{kind}Config")(
        vision_config=small_vit(f"{kind.lower().replace('blip2', 'blip_2')}_vision_model"),
        qformer_config=_qformer(),
        text_config=_opt(tokenizer) if language == "opt" else t5,
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = getattr(transformers, name)(config)
    images = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    parts = [images, tokenizer, word_piece()] if kind == "InstructBlip" else [images, tokenizer]
    processor = getattr(transformers, f"{kind}Processor")(*parts, num_query_tokens=4)
    model.language_model.generation_config.eos_token_id = tokenizer.eos_token_id
    save(folder, model, processor, loud=("language_projection.weight", 10 if language == "t5" else 1))


def blip2(folder: Path) -> None:
    _blip2(folder, "Blip2ForConditionalGeneration", "Blip2", "opt")


def blip2_t5(folder: Path) -> None:
    _blip2(folder, "Blip2ForConditionalGeneration", "Blip2", "t5")


def instructblip(folder: Path) -> None:
    _blip2(folder, "InstructBlipForConditionalGeneration", "InstructBlip", "opt")


def blip2_asked(processor: Any, image: Any, question: str | None) -> dict[str, Any]:
    text = "a photo of" if question is None else f"Question: {question} Answer:"
    return dict(processor(images=image, text=text, return_tensors="pt"))


def vilt(folder: Path) -> None:
    from transformers import ViltConfig, ViltForQuestionAnswering, ViltImageProcessor, ViltProcessor

    tokenizer = word_piece()
    answers = ["red", "brown", "two", "a red ball"]
    config = ViltConfig(
        **small_vit("vilt"),
        vocab_size=len(tokenizer),
        max_position_embeddings=40,
        max_image_length=-1,
        id2label=dict(enumerate(answers)),
        label2id={answer: i for i, answer in enumerate(answers)},
    )
    model = lively(ViltForQuestionAnswering(config))
    model.save_pretrained(folder)
    ViltProcessor(ViltImageProcessor(size={"shortest_edge": SIDE}, size_divisor=8), tokenizer).save_pretrained(folder)


def kosmos2(folder: Path) -> None:
    from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration, Kosmos2Processor

    processor = Kosmos2Processor(clip_images(), unigram(), num_patch_index_tokens=16)
    text = dict(embed_dim=32, ffn_dim=64, layers=2, attention_heads=2, max_position_embeddings=128)
    config = Kosmos2Config(
        text_config=text | dict(vocab_size=len(processor.tokenizer)),
        vision_config=small_vit("kosmos_2_vision_model"),
    )
    save(folder, Kosmos2ForConditionalGeneration(config), processor)


def kosmos2_asked(processor: Any, image: Any, question: str | None) -> dict[str, Any]:
    return dict(processor(images=image, text=question or "An image of", return_tensors="pt"))


def pix2struct(folder: Path, **options: Any) -> None:
    """Patches of 8 x 8, 40 at most: 4 x 8 of a photo that is twice as wide as high, and 8 to fill up."""
    from transformers import (
        Pix2StructConfig,
        Pix2StructForConditionalGeneration,
        Pix2StructImageProcessor,
        Pix2StructProcessor,
    )

    tokenizer = sentence_piece()
    sizes = dict(hidden_size=32, d_kv=16, d_ff=64)
    ids = dict(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    config = Pix2StructConfig(
        vision_config=sizes | dict(patch_embed_hidden_size=192, num_hidden_layers=2, num_attention_heads=2, seq_len=64),
        text_config=sizes
        | ids
        | dict(vocab_size=len(tokenizer), num_layers=2, num_heads=2, decoder_start_token_id=tokenizer.pad_token_id),
        **ids,
        **options,
    )
    model = Pix2StructForConditionalGeneration(config)
    images = Pix2StructImageProcessor(patch_size={"height": 8, "width": 8}, max_patches=40, **options)
    save(folder, model, Pix2StructProcessor(images, tokenizer))


def pix2struct_asked(processor: Any, image: Any, question: str | None) -> dict[str, Any]:
    """With as many patches as the checkpoint says: the processor takes 2048 where it is not told."""
    return dict(processor(images=image, return_tensors="pt", max_patches=processor.image_processor.max_patches))


CASES = [
    Case("ved-vit", ved_vit, "encoder.layers.1", (4, 4), unplaced=True),
    Case("ved-swin", ved_swin, "encoder.encoder.layers.1", (4, 4)),
    Case("ved-donut", ved_donut, "encoder.encoder.layers.1", (4, 8)),
    Case("blip-caption", blip_caption, "vision_model.encoder.layers.1", (4, 4), unplaced=True),
    Case(
        "blip-vqa", blip_vqa, "vision_model.encoder.layers.1", (4, 4), "what colour is the dog?", ask=as_processed, unplaced=True
    ),
    Case("git", git, "git.image_encoder.vision_model.encoder.layers.1", (4, 4), ask=git_asked, unplaced=True),
    Case(
        "git-vqa",
        git,
        "git.image_encoder.vision_model.encoder.layers.1",
        (4, 4),
        "how many dogs are there?",
        ask=git_asked,
        unplaced=True,
        slow=True,
    ),
    Case("blip-2", blip2, "vision_model.encoder.layers.1", (4, 4), ask=blip2_asked, unplaced=True),
    Case(
        "blip-2-t5",
        blip2_t5,
        "vision_model.encoder.layers.1",
        (4, 4),
        "how many dogs?",
        ask=blip2_asked,
        unplaced=True,
        double=False,
        slow=True,
    ),
    Case(
        "instructblip",
        instructblip,
        "vision_model.encoder.layers.1",
        (4, 4),
        "how many dogs?",
        ask=as_processed,
        unplaced=True,
        slow=True,
    ),
    Case("kosmos-2", kosmos2, "vision_model.model.encoder.layers.1", (4, 4), ask=kosmos2_asked, unplaced=True),
    Case(
        "kosmos-2-grounding",
        kosmos2,
        "vision_model.model.encoder.layers.1",
        (4, 4),
        "<grounding> An image of",
        ask=kosmos2_asked,
        unplaced=True,
        slow=True,
    ),
    Case("pix2struct", pix2struct, "encoder.encoder.layer.1", (4, 8), ask=pix2struct_asked, double=False),
    Case(
        "vilt",
        vilt,
        "vilt.encoder.layer.1.layernorm_before",
        (3, 6),
        "what colour is the dog?",
        "a red ball",
        ask=as_processed,
        unplaced=True,
        chooses=True,
    ),
]
