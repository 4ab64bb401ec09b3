"""Tokenizers of other libraries, or hand-written, in front of a user's own network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..core.spans import Span
from ..extras import needed_by
from .contract import Unknown, refuse_unknown
from .hf.detokenization import token_ranges, word_spans
from .hf.text import TextTokenizer
from .word_table import has_table


class PretrainedTokenizer:
    """A tokenizer of transformers; `special_tokens`: with its start and end tokens around a text, as it does by itself."""

    def __init__(self, tokenizer: Any, special_tokens: bool) -> None:
        self.text, self.special_tokens = TextTokenizer(tokenizer), special_tokens
        self.unk = self.text.unknown_id

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return int(max(self.text.tokenizer.get_vocab().values())) + 1

    def encode(self, text: str, unknown: Unknown = "error") -> list[int]:
        ids: list[int] = self.text.tokenizer(text, add_special_tokens=self.special_tokens).input_ids
        if unknown == "error":
            refuse_unknown((span.text for span in self.spans(ids, text) if not span.known), ())
        return ids

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return self.text.tokens(ids)

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        own = ids if text is None else self.text.ids(text)
        shift = next((k for k in range(len(ids) - len(own) + 1) if list(ids[k : k + len(own)]) == list(own)), None)
        if shift is None:  # the text is not what these ids say
            own, text, shift = ids, None, 0
        found = self.text.spans(own, text, "")
        return [replace(span, start=span.start + shift, stop=span.stop + shift) for span in found]


class CodecTokenizer:
    """An object with `encode(text)` -> ids and `decode(ids)` -> text, and no more that is known of it."""

    unk: int | None = None

    def __init__(self, codec: Any) -> None:
        self.codec = codec

    def encode(self, text: str, unknown: Unknown = "error") -> list[int]:
        return [int(i) for i in self.codec.encode(text)]

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return [self._decode([i]) for i in ids]

    def spans(self, ids: Sequence[int], text: str | None = None) -> list[Span]:
        return word_spans(*token_ranges(ids, self._decode, ()))

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.codec.decode(list(ids)))


def subword_tokenizer(tokenizer: Any, *, special_tokens: bool) -> PretrainedTokenizer | CodecTokenizer | None:
    """The tokenizer behind our own methods; None for a vocabulary of words, which has none of theirs."""
    inner = getattr(tokenizer, "tokenizer", None)
    if hasattr(inner, "convert_ids_to_tokens"):  # a processor
        tokenizer = inner
    if hasattr(tokenizer, "convert_ids_to_tokens"):
        return PretrainedTokenizer(tokenizer, special_tokens)
    if hasattr(tokenizer, "token_to_id") and hasattr(tokenizer, "get_vocab"):  # the library tokenizers
        with needed_by("a tokenizer of the library tokenizers", "transformers"):
            import transformers

        library: Any = transformers
        return PretrainedTokenizer(library.PreTrainedTokenizerFast(tokenizer_object=tokenizer), special_tokens)
    codec = all(callable(getattr(tokenizer, name, None)) for name in ("encode", "decode"))
    return CodecTokenizer(tokenizer) if codec and not has_table(tokenizer) else None
