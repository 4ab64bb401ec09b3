"""Tiny Hugging Face models with random weights, each with a processor and a tokenizer made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "a brown dog runs on the green grass .",
    "two dogs don't play with a red ball .",
    "a man in a blue shirt holds a frisbee , and a child laughs .",
    "what colour is the dog ? brown",
    "how many dogs are there ? two",
    "describe the photo",
    "user assistant : yes no white black left right",
]
SIDE = 32


def byte_level(bos: str = "<s>", eos: str = "</s>", **names: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT-2, BART, Qwen."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = list(dict.fromkeys([bos, eos, "<pad>", *names.values()]))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, pad_token="<pad>", additional_special_tokens=[*names.values()]
    )


def word_piece() -> PreTrainedTokenizerFast:
    """WordPiece, as BERT, with [CLS] and [SEP] around a text."""
    from transformers import BertTokenizerFast

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    ids = [(name, tokenizer.token_to_id(name)) for name in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = processors.BertProcessing(*ids)
    return BertTokenizerFast(tokenizer_object=tokenizer)


def sentence_piece(**names: str) -> PreTrainedTokenizerFast:
    """SentencePiece's BPE with byte fallback, as Llama and Gemma."""
    special = ["<unk>", "<s>", "</s>", "<pad>", *names.values()]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=[*special, *(f"<0x{i:02X}>" for i in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator([text.replace(" ", "▁") for text in CORPUS], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=[*names.values()],
    )


CALM = ("vision", "visual", "encoder.layers", "encoder.encoder.layers", "image_encoder", "vision_tower")
INNER = ("attn", "attention", "mlp", "intermediate", "output", "fc1", "fc2")


def lively(model: Any, seed: int = 0) -> Any:
    """Larger random weights, so that words and photos differ; inside the tower's blocks small ones, so that cells stay apart."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            calm = any(part in name for part in CALM) and any(part in name for part in INNER)
            if weight.ndim > 1:
                weight.copy_(noise * (0.2 if calm else 1.5) / weight[0].numel() ** 0.5)
            elif not weight.any():
                weight.copy_(noise * 0.05)
    return model


@dataclass(frozen=True)
class Case:
    """A family in the contract test: how to build it, and what is expected of it."""

    name: str
    build: Callable[[Path], None]
    layer: str
    grid: tuple[int, int]
    question: str | None = None
    text: str = "a brown dog runs on the grass."
    double: bool = True  # whether .double() makes all of it float64
    unplaced: bool = False
    ask: Callable[[Any, Any, str | None], dict[str, Any]] | None = None  # as people call generate: (processor, image, question)


def save(folder: Path, model: Any, *parts: Any) -> None:
    model.generation_config.max_new_tokens = 6
    lively(model).save_pretrained(folder)
    for part in parts:
        part.save_pretrained(folder)


# ---- VisionEncoderDecoder --------------------------------------------------------------------------------------------------


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

    encoder = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=SIDE, patch_size=8
    )
    _ved(folder, encoder, ViTImageProcessor(size={"height": SIDE, "width": SIDE}))


def ved_swin(folder: Path) -> None:
    from transformers import SwinConfig, ViTImageProcessor

    encoder = SwinConfig(image_size=SIDE, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4)
    _ved(folder, encoder, ViTImageProcessor(size={"height": SIDE, "width": SIDE}))


def ved_donut(folder: Path) -> None:
    from transformers import DonutImageProcessor, DonutSwinConfig

    encoder = DonutSwinConfig(image_size=[SIDE, 2 * SIDE], patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4)
    _ved(folder, encoder, DonutImageProcessor(size={"height": SIDE, "width": 2 * SIDE}))


# ---- BLIP, GIT -------------------------------------------------------------------------------------------------------------


def _blip(folder: Path, name: str) -> None:
    import transformers
    from transformers import BlipConfig, BlipImageProcessor, BlipProcessor

    tokenizer = word_piece()
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("pad", "sep")}
    config = BlipConfig(
        text_config=dict(
            vocab_size=len(tokenizer),
            hidden_size=32,
            encoder_hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            bos_token_id=tokenizer.cls_token_id,
            eos_token_id=tokenizer.sep_token_id,
            **ids,
        ),
        vision_config=dict(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=SIDE, patch_size=8
        ),
        projection_dim=16,
    )
    images = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    save(folder, getattr(transformers, name)(config), BlipProcessor(images, tokenizer))


def blip_caption(folder: Path) -> None:
    _blip(folder, "BlipForConditionalGeneration")


def blip_vqa(folder: Path) -> None:
    _blip(folder, "BlipForQuestionAnswering")


def as_processed(processor: Any, image: Any, question: str | None) -> dict[str, Any]:
    """The whole processor's output, question included."""
    return dict(processor(images=image, text=question, return_tensors="pt"))


def git(folder: Path) -> None:
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

    tokenizer = word_piece()
    config = GitConfig(
        vision_config=dict(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=SIDE, patch_size=8
        ),
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
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


CASES = [
    Case("ved-vit", ved_vit, "encoder.layers.1", (4, 4), unplaced=True),
    Case("ved-swin", ved_swin, "encoder.encoder.layers.1", (4, 4)),
    Case("ved-donut", ved_donut, "encoder.encoder.layers.1", (4, 8)),
    Case("blip-caption", blip_caption, "vision_model.encoder.layers.1", (4, 4), unplaced=True),
    Case("blip-vqa", blip_vqa, "vision_model.encoder.layers.1", (4, 4), "what colour is the dog?", ask=as_processed, unplaced=True),
    Case("git", git, "git.image_encoder.vision_model.encoder.layers.1", (4, 4), ask=git_asked, unplaced=True),
    Case(
        "git-vqa",
        git,
        "git.image_encoder.vision_model.encoder.layers.1",
        (4, 4),
        "how many dogs are there?",
        ask=git_asked,
        unplaced=True,
    ),
]
