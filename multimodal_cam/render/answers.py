"""A question and its answers in the page: the question's words with their shares, and the answers as bars."""

from __future__ import annotations

import math
from html import escape

from ..results.explanation_data import ExplanationData
from ..results.records import QuestionWord, SpanExplanation
from .remarks import aim, percent, share_note

NOTHING = "nothing: its own map"


def question(explanation: ExplanationData) -> str:
    """The question as a heading: each word over its share of the score, or plain text where no shares are known."""
    words = explanation.question_words
    if not words:
        return f'<p class="asked" dir="auto">{escape(explanation.question)}</p>' if explanation.question else ""
    items = "".join(map(_word, words, _spelled(explanation.question or "", words)))
    return (
        f'<ul class="words asked" dir="auto" aria-label="The words of the question">{items}</ul>'
        f"<p class=remark>Under each word: what it adds {escape(aim(explanation))}.{_unknown(words)}</p>"
    )


def _word(word: QuestionWord, spelled: str) -> str:
    kind = "" if word.known else ' class="unknown"'
    share = f"{word.share:.5g}" if math.isfinite(word.share) else "0"
    return f'<li{kind} data-share="{share}"><span>{escape(spelled)}</span> <small>{share_note(word)}</small></li>'


def _spelled(question: str, words: tuple[QuestionWord, ...]) -> list[str]:
    """The words as spelled in the question, with punctuation; the model's own spelling where they cannot be aligned."""
    starts, at, searched = [], 0, question.lower().replace("’", "'")
    for word in words:
        start = searched.find(word.text, at)
        if start < 0 or len(searched) != len(question):  # some letters have lower cases of another length
            return [word.text for word in words]
        starts.append(start)
        at = start + len(word.text)
    return [question[start:end].strip() for start, end in zip([0, *starts[1:]], [*starts[1:], len(question)], strict=True)]


def _unknown(words: tuple[QuestionWord, ...]) -> str:
    unknown = list(dict.fromkeys(f"“{escape(word.text)}”" for word in words if not word.known))
    if not unknown:
        return ""
    return f" The model does not know {'this word' if len(unknown) == 1 else 'these words'}: {', '.join(unknown)}."


def bars(explanation: ExplanationData, parts: tuple[SpanExplanation, ...]) -> str:
    """The answers, likeliest first, each a button with a bar as long as its probability."""
    buttons = "".join(_bar(i, part) for i, part in enumerate(parts))
    return f'<div class="answers" role="group" aria-label="Answers and their probabilities" dir="auto">{buttons}</div>' + (
        _compare(explanation, parts) if len(parts) > 1 else ""
    )


def _bar(index: int, part: SpanExplanation) -> str:
    share = math.exp(part.log_prob)
    return (
        f'<button type="button" data-answer="{index}" aria-pressed="false">'
        f'<span>{escape(part.text)} <small class="role"></small></span>'
        f'<svg aria-hidden="true"><rect width="{100 * share:.2f}%" height="100%"/></svg> <small>{percent(share)}</small></button>'
    )


def _compare(explanation: ExplanationData, parts: tuple[SpanExplanation, ...]) -> str:
    reason = no_comparison(explanation)
    options = "".join(f'<option value="{i}">{escape(part.text)}</option>' for i, part in enumerate(parts))
    return (
        f'<div class="compare needs-script"><label>Compare with <select{" disabled" if reason else ""}>'
        f'<option value="">{NOTHING}</option>{options}</select></label>'
        + (
            f"<p class=remark>{reason}</p></div>"
            if reason
            else '<p class="remark hint">Or hold Shift and click another answer.</p></div>'
        )
    )


def no_comparison(explanation: ExplanationData) -> str | None:
    """Why the maps of two answers must not be subtracted; None when their difference is the map of the scores' difference."""
    if explanation.token_maps is None:
        return (
            f"Two answers cannot be compared under {escape(explanation.method)}: it is not linear, so the difference of two maps "
            "does not explain the difference of two scores."
        )
    if explanation.score == "contrast" and not explanation.instead_of:
        return "Each answer is already compared with its own likeliest rival: to choose the two yourself, explain the logits."
    return None
