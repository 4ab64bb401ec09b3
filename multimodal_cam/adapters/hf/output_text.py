"""The text that a model gives: tokens that it generates, or a label that it chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from ...core.spans import Span
from ..contract import Unknown, UnknownWordError
from ..inputs import pad_ids
from ..labels import Labels
from .loaded_model import LoadedModel
from .prompt_questions import PromptQuestions


class OutputText(Protocol):
    """Text and tokens of an adapter: the four functions of `TaskAdapter` and `ReplacesWords`."""

    def encode(self, texts: Sequence[str], unknown: Unknown) -> Tensor: ...

    def tokens(self, ids: Sequence[int]) -> list[str]: ...

    def spans(self, ids: Sequence[int], text: str | None) -> list[Span]: ...

    def replace_word(self, ids: Sequence[int], word: Span, other: str) -> list[int]: ...


class GeneratedText:
    """Text in the tokenizer's tokens, behind the prompt."""

    def __init__(self, loaded: LoadedModel, questions: PromptQuestions) -> None:
        self.loaded, self.questions = loaded, questions

    def encode(self, texts: Sequence[str], unknown: Unknown) -> Tensor:
        """Ids `(b, t)`. Raises UnknownWordError for words that the tokenizer cannot read, unless they are fed as `<unk>`."""
        rows = [self.loaded.text.ids(self.questions.text_prefix + text) for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if not row:
                raise ValueError(f"expected a text with words, got {text!r}")
            lost = [span.text for span in self.spans(row, text) if not span.known]
            if lost and unknown == "error":
                raise UnknownWordError(
                    f"the model cannot say {', '.join(map(repr, lost))}: choose another word, or unknown='unk' to feed it as "
                    f"{self.loaded.tokenizer.unk_token}"
                )
        return pad_ids(rows, self.loaded.device)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return self.loaded.text.tokens(ids)

    def spans(self, ids: Sequence[int], text: str | None) -> list[Span]:
        return self.loaded.text.spans(ids, text, self.questions.text_prefix)

    def replace_word(self, ids: Sequence[int], word: Span, other: str) -> list[int]:
        return self.loaded.text.replace_word(ids, word, other)


class LabelText:
    """An answer out of a list: one token, which is one word."""

    def __init__(self, loaded: LoadedModel, labels: Labels) -> None:
        self.loaded, self.labels = loaded, labels

    def encode(self, texts: Sequence[str], unknown: Unknown) -> Tensor:  # an answer is in the list or is not
        return self.labels.encode(texts, self.loaded.device)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return self.labels.decode(ids)

    def spans(self, ids: Sequence[int], text: str | None) -> list[Span]:
        return self.labels.spans(ids, text)

    def replace_word(self, ids: Sequence[int], word: Span, other: str) -> list[int]:  # it is the whole answer
        answer: list[int] = self.labels.encode([other])[0].tolist()
        return answer
