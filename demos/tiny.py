"""Three checkpoints of a few hundred kilobytes, written in a second: the demos run on them where no hub can be reached.

Their weights are random. They are the architectures of real models and run the same code, but their words and maps mean nothing.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from .demo import SAMPLES

TINY = "tiny"
NOTE = "the weights are random: the numbers and maps below show how it is done, and explain nothing"
SIDE = 96
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS = ["a", "cat", "brown", "dog", "runs", "on", "the", "grass", "what", "is", "doing", "where", "in", "ball", "yes", "no"]
CHAT = (
    "{% for m in messages %}<user>{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def blip(vqa: bool) -> Path:
    """BLIP, which captions, or answers questions: a ViT and a BERT that reads its patches."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1) if not chr(code).isupper()]
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *WORDS])
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.decoder = decoders.WordPiece()
    text = dict(
        **SMALL, vocab_size=len(pieces), encoder_hidden_size=32, projection_dim=16, bos_token_id=2, sep_token_id=3, pad_token_id=0
    )
    config = BlipConfig(
        text_config=text, vision_config=dict(**SMALL, image_size=SIDE, patch_size=16, projection_dim=16), projection_dim=16
    )
    images = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    processor = BlipProcessor(images, BertTokenizerFast(tokenizer_object=tokenizer))
    kind = BlipForQuestionAnswering if vqa else BlipForConditionalGeneration
    return _saved(kind, config, processor)


def llava() -> Path:
    """LLaVA, which is prompted: a ViT, a projector and a Llama; its tokens are single bytes."""
    special = ["<s>", "</s>", "<pad>", "<image>", "<user>", "<assistant>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate([*special, *alphabet])}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    words = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>", "user_token": "<user>", "assistant_token": "<assistant>"},
    )
    text = dict(model_type="llama", **SMALL, vocab_size=len(words), num_key_value_heads=1, max_position_embeddings=256)
    config = LlavaConfig(
        vision_config=dict(model_type="clip_vision_model", **SMALL, image_size=SIDE, patch_size=16, projection_dim=16),
        text_config=text | {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2},
        image_token_index=words.image_token_id,
    )
    images = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    tokens = {"patch_size": 16, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return _saved(LlavaForConditionalGeneration, config, LlavaProcessor(images, words, chat_template=CHAT, **tokens))


def _saved(kind: Any, config: Any, processor: Any) -> Path:
    """The folder of a checkpoint with random weights, large enough for words and photos to differ."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(config)
        for weight in model.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=1.5 / weight[0].numel() ** 0.5)
    model.generation_config.max_new_tokens = 8
    folder = Path(tempfile.mkdtemp()) / TINY
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def options(about: str | None, out: str) -> argparse.Namespace:
    """What a demo is called with: a photo, and the folder for what it writes."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("photo", nargs="?", type=Path, default=SAMPLES / "dog.jpg")
    parser.add_argument("--out", type=Path, default=Path(out))
    return parser.parse_args()
