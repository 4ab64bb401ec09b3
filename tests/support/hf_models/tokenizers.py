"""Tokenizers made on the spot: byte-level BPE, WordPiece, SentencePiece (BPE and unigrams)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
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
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, pad_token="<pad>", extra_special_tokens=names
    )


def word_piece() -> PreTrainedTokenizerFast:
    """WordPiece, as BERT, with [CLS] and [SEP] around a text; not trained, because that gives other ids every time."""
    from transformers import BertTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = sorted(set("".join(CORPUS)) - {" "})
    pieces = [
        "br",
        "##own",
        "gr",
        "##ass",
        "run",
        "##s",
        "dog",
        "##isbee",
        "col",
        "##our",
        "ball",
        "many",
        "the",
        "two",
        "what",
        "on",
    ]
    vocabulary = dict.fromkeys([*special, *characters, *(f"##{c}" for c in characters), *pieces])
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    ids = [(name, tokenizer.token_to_id(name)) for name in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = processors.BertProcessing(*ids)
    return BertTokenizerFast(tokenizer_object=tokenizer)


def sentence_piece(**names: str) -> PreTrainedTokenizerFast:
    """SentencePiece's BPE with byte fallback, as Llama and Gemma."""
    special = ["<unk>", "<s>", "</s>", "<pad>", *names.values()]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("▁?[^▁]+"), "isolated")  # no token reaches into the next word
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=[*special, *(f"<0x{i:02X}>" for i in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator([text.replace(" ", "▁") for text in CORPUS], trainer)
    written = json.loads(tokenizer.to_str())
    written["added_tokens"] = [token for token in written["added_tokens"] if token["content"] in special]  # bytes are text
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(written)),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=names,
    )


def unigram() -> Any:
    """SentencePiece's unigrams, as XLM-R and Kosmos-2; not trained: whole words where the corpus has them, else characters."""
    from transformers import XLMRobertaTokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>", *(f"<unused{i}>" for i in range(64)), "<mask>"]
    words = {word for text in CORPUS for word in text.split()}
    pieces = {f"▁{word}": -2.0 for word in sorted(words)} | {"▁": -3.0} | {c: -4.0 for c in sorted(set("".join(words)))}
    return XLMRobertaTokenizer(vocab=[*((token, 0.0) for token in special), *pieces.items()])


ROLES = {"user_token": "<|user|>", "assistant_token": "<|assistant|>"}


def chat(make: Callable[..., Any], **names: str) -> Any:
    """A tokenizer with markup of a chat, and an image token."""
    return make(**{"image_token": "<image>", **ROLES, **names})
