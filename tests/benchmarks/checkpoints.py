"""Random models of Hugging Face families in the sizes that people use, with the tests' processors and tokenizers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

import multimodal_cam as mc

sys.path.append(str(Path(__file__).parents[1]))  # the tests' tokenizers

from hf_models.parts import CHAT
from hf_models.tokenizers import byte_level, chat, word_piece


def blip_base() -> Any:
    """BLIP captioning, base: ViT-B/16 at 384 px, 577 tokens; a BERT that attends to them."""
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    tokenizer, config = word_piece(), BlipConfig()
    config.text_config.bos_token_id = tokenizer.cls_token_id
    config.text_config.sep_token_id = config.text_config.eos_token_id = tokenizer.sep_token_id
    config.text_config.pad_token_id = tokenizer.pad_token_id
    return BlipForConditionalGeneration(config), BlipProcessor(BlipImageProcessor(size={"height": 384, "width": 384}), tokenizer)


def florence_base() -> Any:
    """Florence-2, base: DaViT-B at 768 px, 24 x 24 cells; a BART-base."""
    from transformers import CLIPImageProcessor, Florence2Config, Florence2ForConditionalGeneration, Florence2Processor

    tokenizer = byte_level(image_token="<image>")
    start = {"decoder_start_token_id": tokenizer.eos_token_id, "forced_bos_token_id": tokenizer.bos_token_id}
    text = {"model_type": "bart", "d_model": 768, "vocab_size": 51289, "pad_token_id": tokenizer.pad_token_id, **start}
    text |= {f"{half}_{part}": n for half in ("encoder", "decoder") for part, n in (("layers", 6), ("ffn_dim", 3072))}
    text |= {"encoder_attention_heads": 12, "decoder_attention_heads": 12, "eos_token_id": tokenizer.eos_token_id}
    config = Florence2Config(vision_config={"projection_dim": 768}, text_config=text, image_token_id=tokenizer.image_token_id)
    model = Florence2ForConditionalGeneration(config)
    for name, value in start.items():
        setattr(model.generation_config, name, value)
    images = CLIPImageProcessor(size={"height": 768, "width": 768}, do_center_crop=False, image_seq_length=577)
    return model, Florence2Processor(images, tokenizer)


def llava_half() -> Any:
    """LLaVA with half a billion parameters: SigLIP-B/16 at 256 px, 256 image tokens; a Qwen2-0.5B with its 151,936 tokens."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, SiglipImageProcessor

    tokenizer, side = chat(byte_level), 256
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    vision |= {"model_type": "siglip_vision_model", "image_size": side, "patch_size": 16, "vision_use_head": False}
    text = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14}
    text |= {"model_type": "qwen2", "vocab_size": 151_936, "num_key_value_heads": 2, "tie_word_embeddings": True}
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.image_token_id,
        vision_feature_layer=-2,
        vision_feature_select_strategy="full",
    )
    processor = LlavaProcessor(
        SiglipImageProcessor(size={"height": side, "width": side}),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        chat_template=CHAT,
        image_token="<image>",
    )
    return LlavaForConditionalGeneration(config), processor


MODELS = {"BLIP base": blip_base, "Florence-2 base": florence_base, "LLaVA 0.5B": llava_half}


def build(name: str) -> Any:
    """What `mc.load` makes of the model, in evaluation mode."""
    torch.manual_seed(0)
    model, processor = MODELS[name]()
    return mc.load(model.eval(), processor=processor)


def caption(model: Any, tokens: int) -> str:
    """A text of as many words, each of one token."""
    text = " ".join(["dog", "the"] * tokens)
    ids = model.tokenize([text])[0, :tokens].tolist()
    words: str = model.tokenizer.decode(ids).strip()
    found = model.tokenize([words]).shape[1]
    if found != tokens:
        raise RuntimeError(f"{model.name}: {words!r} has {found} tokens, expected {tokens}")
    return words
