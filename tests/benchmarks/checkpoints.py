"""Random models of Hugging Face families in the sizes that people use, with the tests' processors and tokenizers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

import multimodal_cam as mc

sys.path.append(str(Path(__file__).parents[1] / "support"))  # the tests' tokenizers

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


def qwen2vl_2b() -> Any:
    """Qwen2-VL with 2.2 billion parameters, in bfloat16."""
    from transformers import (
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = chat(byte_level, video_token="<video>", vision_bos_token="<vision>", vision_eos_token="</vision>")
    text = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12}
    text |= {"model_type": "qwen2_vl_text", "vocab_size": 151_936, "num_key_value_heads": 2, "tie_word_embeddings": True}
    text |= {"rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24]}}
    config = Qwen2VLConfig(
        text_config=text,
        vision_config={"depth": 32, "embed_dim": 1280, "hidden_size": 1536, "num_heads": 16, "patch_size": 14},
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<vision>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("</vision>"),
        tie_word_embeddings=True,
    )
    size = {"shortest_edge": 56 * 56, "longest_edge": 448 * 448}
    template = CHAT.replace("<image>", "<vision><image></vision>")
    images, videos = Qwen2VLImageProcessor(size=size), Qwen2VLVideoProcessor(size=size)
    model = Qwen2VLForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    return model, Qwen2VLProcessor(images, tokenizer, videos, chat_template=template)


MODELS = {"BLIP base": blip_base, "Florence-2 base": florence_base, "LLaVA 0.5B": llava_half}
LARGE = {"Qwen2-VL 2B": qwen2vl_2b}  # for a GPU


def names() -> list[str]:
    return [*MODELS, *(LARGE if torch.cuda.is_available() else ())]


def build(name: str) -> Any:
    """What `mc.load` makes of the model, in evaluation mode; on a GPU in bfloat16."""
    torch.manual_seed(0)
    model, processor = (MODELS | LARGE)[name]()
    if torch.cuda.is_available():
        model = model.to("cuda", torch.bfloat16)
    return mc.load(model.eval(), processor=processor)


def caption(model: Any, tokens: int) -> str:
    """A text of as many words, each of one token."""
    text = " ".join(["dog", "the"] * tokens)
    ids = model.tokenize([text])[0, :tokens].tolist()
    words: str = model.loaded.tokenizer.decode(ids).strip()
    found = model.tokenize([words]).shape[1]
    if found != tokens:
        raise RuntimeError(f"{model.name}: {words!r} has {found} tokens, expected {tokens}")
    return words
