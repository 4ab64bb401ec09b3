"""Questions in prompts: which tokens are the question's own, and which rows may share a batch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from ...core.spans import Span
from . import detokenization, question_location
from .loaded_model import LoadedModel
from .question_location import QUESTION_MARK, QuestionLocation


class PromptQuestions:
    """Text side of a family's prompts: where questions stand in them, and what a text begins with behind them."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded, self.prompt = loaded, loaded.spec.prompt

    def locate(self, question: str) -> QuestionLocation | None:
        """The question in its prompt; None where that cannot be said for certain."""
        before, _, _ = self.prompt.text(self.loaded, QUESTION_MARK).partition(QUESTION_MARK)
        return question_location.locate(
            question, before, *self.loaded.text.prompt_tokens(self.prompt.text(self.loaded, question))
        )

    def spans(self, question: str) -> list[Span]:
        """The question's words as runs of its tokens; none where it cannot be located."""
        found = self.locate(question)
        if found is None:
            return []
        ids = found.ids[found.start : found.stop]
        return self.loaded.text.mark_unknown(detokenization.word_spans(found.text, found.ranges), ids)

    def slice_of(self, questions: Sequence[str | None], prompts: Sequence[Sequence[int]]) -> tuple[int, int] | None:
        """Start and stop of the questions in their prompts; None where unknown, or not the same for all."""
        runs = set()
        for question, prompt in zip(questions, prompts, strict=True):
            found = None if question is None else self.locate(question)
            runs.add(None if found is None else found.slice_in_prompt(prompt))
        return runs.pop() if len(runs) == 1 else None

    def batch_key(self, question: str | None) -> Hashable:
        """The prompt's length, and where in it the question stands: equal in all rows of a batch."""
        asked = self.prompt.request if question is None else question
        if asked is None:
            return None
        found = self.locate(asked)
        where = found and (found.start, found.stop)
        return len(self.loaded.text.prompt_tokens(self.prompt.text(self.loaded, asked))[1]), where, question is None

    @property
    def text_prefix(self) -> str:
        """A space, where the prompt ends in the middle of a line and the tokenizer does not put one there itself; else empty."""
        if not self.prompt.joint or self.prompt.in_pixels:
            return ""
        end = self.prompt.text(self.loaded, "?")[-1:]
        tokenizer = self.loaded.tokenizer
        begins = tokenizer.convert_ids_to_tokens(tokenizer("a", add_special_tokens=False).input_ids)
        return "" if end.isspace() or end == ">" or begins[0].startswith("▁") else " "
