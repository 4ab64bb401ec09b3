"""Numbers, headings and remarks that figures and pages share."""

from __future__ import annotations

import math

from ..core.graphemes import split_graphemes, text_width
from ..results.explanation_data import ExplanationData
from ..results.records import PIXELS, QuestionWord, SpanExplanation


def signed(value: float) -> str:
    """`+1.50`, with a true minus sign, no sign on what rounds to 0, and a dash for NaN and infinity."""
    if not math.isfinite(value):
        return "–"
    return f"{value:+.2f}".replace("-", "−") if abs(value) >= 0.005 else "0.00"


def percent(share: float) -> str:
    """A probability, with more digits where they matter; page.js has the same rules."""
    if share < 1e-5:
        return "< 0.001 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    if share < 0.0995:
        return f"{100 * share:.2g} %"
    return f"{100 * share:.1f} %" if 0.995 < share < 1 else f"{100 * share:.0f} %"


def source(explanation: ExplanationData) -> str:
    """Model, method, score and layer, in one line."""
    where = "pixels" if explanation.layer == PIXELS else f"layer {explanation.layer}"
    return f"{explanation.model} · {explanation.method} of {explanation.score_label} · {where}"


def cell_name(explanation: ExplanationData) -> str:
    """What a map has one number of: a cell of a grid, a region, or a pixel."""
    return "region" if explanation.placement.boxes else "cell" if explanation.pixel_maps is None else "pixel"


def note(part: SpanExplanation) -> str:
    """Line under a word: its reliance, whether its map is blank, and whether the word is doubtful."""
    if not part.known:
        return "unknown word"
    marks = [", nothing positive"] * part.is_empty + [", doubtful"] * part.is_doubtful
    return f"{signed(part.reliance)} nats" + "".join(marks)


def share_note(word: QuestionWord) -> str:
    """Line under a question's word: what it adds, and whether the model knows it."""
    return signed(word.share) + ("" if word.known else ", unknown")


def heading(explanation: ExplanationData, length: int = 10_000) -> str:
    """The question, if there is one, and the text; the question is shortened so that both fit `length` characters."""
    text = shortened(explanation.text, length)
    return f"{shortened(explanation.question, max(length - text_width(text) - 3, 12))} – {text}" if explanation.question else text


def shortened(text: str, length: int) -> str:
    """At most `length` columns of `text`, an ellipsis in place of the others; no character loses its marks."""
    if text_width(text) <= length:
        return text
    kept, width = "", 0
    for grapheme in split_graphemes(text):
        width += text_width(grapheme)
        if width > length - 1:
            break
        kept += grapheme
    return kept + "…"


def aim(explanation: ExplanationData) -> str:
    """Object of a verb such as `adds`, for the score of the whole text: `to the score of “red”, in nats`."""
    unit = "logits" if explanation.unit == "logit" else explanation.unit
    text = f"“{explanation.text}”"
    other = explanation.instead_of.get(explanation.text)
    if other is not None:
        first, second = (f"“{other}”", text) if explanation.counterfactual else (text, f"“{other}”")
        return f"for {first} rather than {second}, in {unit}"
    return f"{'against' if explanation.counterfactual else 'to the score of'} {text}, in {unit}"


def remarks(explanation: ExplanationData) -> list[str]:
    """Sentences that a reader of the maps needs: a photo of another world, a reversed sign, a contrast, an answer not its own."""
    unfamiliar = explanation.familiarity and explanation.familiarity.warning
    return [
        *([unfamiliar] if unfamiliar else []),
        *_counterfactual_remarks(explanation),
        *_contrast_remarks(explanation),
        *_forced_answer_remarks(explanation),
        *_doubt_remarks(explanation),
    ]


def _counterfactual_remarks(explanation: ExplanationData) -> list[str]:
    if not explanation.counterfactual:
        return []
    what = f"“{explanation.text}”" if len(explanation.words) == 1 else "a word"
    return [f"Counterfactual: the score’s sign is reversed, so what is warm speaks against {what}, not for it."]


def _contrast_remarks(explanation: ExplanationData) -> list[str]:
    if explanation.score != "contrast":
        return []
    kind = "answers" if explanation.answers else "words"
    for_, over = ("against", "and for") if explanation.counterfactual else ("for", "rather than")
    sentences = [
        f"“{word}” is compared with “{other}”: the map shows what speaks {for_} “{word}” {over} “{other}”."
        for word, other in explanation.instead_of.items()
    ]
    if not sentences:
        return [f"All {kind} are compared with their likeliest rivals: a map shows what decides between the two."]
    if kind == "answers":
        return [*sentences, f"The other answers are compared with “{explanation.instead_of[explanation.text]}”, too."]
    if len(explanation.instead_of) < len(explanation.words):
        sentences.append("All other words are compared with their likeliest rivals.")
    return sentences


def _doubt_remarks(explanation: ExplanationData) -> list[str]:
    """One line on the doubtful nouns, and what speaks against them: to be named by nobody is not to be absent."""
    count = len(explanation.words)
    doubtful = [
        f"“{part.text}” ({percent(math.exp(part.log_prob))}, word {number} of {count}, photo {signed(part.reliance)} nats)"
        for number, part in enumerate(explanation, start=1)
        if part.is_doubtful
    ]
    if not doubtful:
        return []
    are = "is" if len(doubtful) == 1 else "are"
    why = "people who describe a photo seldom name nouns as unlikely, as late and as weakly said by every part of it"
    return [f"{', '.join(doubtful)} {are} doubtful: {why}."]


def _forced_answer_remarks(explanation: ExplanationData) -> list[str]:
    if not explanation.answers or explanation.answers[0][0] in (explanation.text, explanation.tokens[0]):
        return []  # the text may name the model's label in other words
    best = explanation.answers[0][0]
    return [f"“{explanation.text}” was asked for: the model’s own answer is “{best}”."]
