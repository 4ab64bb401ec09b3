"""Text and tokens of a checkpoint's tokenizer, whatever its kind: ids, words and their character ranges."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...core.spans import Span
from .detokenization import Range, token_ranges, word_spans

MARKUP = re.compile(r"<(?!0x)[^<>\s]+>|\[[^\[\]\s]+\]|<\|.*\|>")


class TextTokenizer:
    """A transformers `tokenizer`, fast or slow. `prefix` is what stands before a text when it is made tokens, such as a space."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def special_ids(self) -> set[int]:
        """The tokens that are no words: start, end, image, chat markup."""
        added = self.tokenizer.added_tokens_decoder.items()
        marks = {i for i, token in added if token.special or MARKUP.fullmatch(token.content)}
        return marks | set(self.tokenizer.all_special_ids)

    @property
    def unknown_id(self) -> int | None:
        """The id that the tokenizer gives to what it cannot read, if it is used for nothing else."""
        unk: int | None = self.tokenizer.unk_token_id
        return None if unk in (self.tokenizer.eos_token_id, self.tokenizer.bos_token_id) else unk

    def ids(self, text: str) -> list[int]:
        """The tokens of a text, without start and end."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The tokens as the tokenizer writes them."""
        found: list[str] = self.tokenizer.convert_ids_to_tokens(list(ids))
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens included."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def decode_with_ranges(self, ids: Sequence[int]) -> tuple[str, list[Range | None]]:
        """The text of `ids`, and which of its characters each token stands for; None for special tokens."""
        return token_ranges(ids, self.decode, self.special_ids())

    def spans(self, ids: Sequence[int], text: str | None, prefix: str) -> list[Span]:
        """The words of `ids`, in the wording of `text` where that gives these very tokens."""
        ranges = None if text is None else self._ranges_in_text(text, ids, prefix)
        if text is None or ranges is None:
            text, ranges = self.decode_with_ranges(ids)
        return self.mark_unknown(word_spans(text, ranges), ids)

    def mark_unknown(self, spans: Sequence[Span], ids: Sequence[int]) -> list[Span]:
        """The spans, with `known=False` for those that hold the unknown token."""
        return [replace(span, known=self.unknown_id not in ids[span.start : span.stop]) for span in spans]

    def replace_word(self, ids: Sequence[int], word: Span, other: str) -> list[int]:
        """The ids with `other` in the place of `word`. Raises ValueError where that changes tokens before the word."""
        text, ranges = self.decode_with_ranges(ids)
        own = [token for token in ranges[word.start : word.stop] if token]
        start, stop = own[0][0], own[-1][1]
        start += len(text[start:stop]) - len(text[start:stop].lstrip())
        replaced = self.ids(text[:start] + other + text[stop:])
        if replaced[: word.start] != list(ids[: word.start]):
            raise ValueError(f"instead_of: with {other!r} the tokens before {word.text!r} change, so there is nothing to compare")
        return replaced

    def prompt_options(self, prompt: str) -> dict[str, bool]:
        """Tokenizer options for a prompt: no special tokens around it where the chat template wrote the start token."""
        start = self.tokenizer.bos_token
        return {"add_special_tokens": False} if start and prompt.startswith(start) else {}

    def prompt_tokens(self, prompt: str) -> tuple[str, list[int], list[Range | None]]:
        """A prompt's text, its tokens, and which of its characters each stands for."""
        options = self.prompt_options(prompt)
        if getattr(self.tokenizer, "is_fast", False):
            read = self.tokenizer(prompt, return_offsets_mapping=True, **options)
            return prompt, read.input_ids, list(read.offset_mapping)
        ids = self.tokenizer(prompt, **options).input_ids
        text, ranges = self.decode_with_ranges(ids)
        return text, ids, ranges

    def _ranges_in_text(self, text: str, ids: Sequence[int], prefix: str) -> list[Range | None] | None:
        """The tokens' ranges in the user's own wording; None where that does not give these very tokens."""
        if not getattr(self.tokenizer, "is_fast", False):
            return None
        read = self.tokenizer(prefix + text, add_special_tokens=False, return_offsets_mapping=True)
        if list(read.input_ids) != list(ids):
            return None
        shift, special = len(prefix), self.special_ids() - {self.unknown_id}
        ranges = [(max(a - shift, 0), max(b - shift, 0)) for a, b in read.offset_mapping]
        return [None if i in special else own for i, own in zip(ids, ranges, strict=True)]
