"""JSON records of explanations: what `--json` prints and `results.jsonl` holds, one a line."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from ..core.errors import message
from ..metrics.localization import peak
from ..metrics.overlap import BoxRule
from .channel_explanation import channels_of, explanation_text
from .explanation_data import ExplanationData
from .photo_boxes import photo_boxes
from .records import Failure, SpanExplanation

FORMAT = 1
CHANNELS = 5  # channels of each side that are listed


def record(
    image: str, result: ExplanationData | Failure, *, phrases: bool = False, boxes: BoxRule | None = None
) -> dict[str, Any]:
    """JSON record of a photo, as `--json` prints it: JSON types only, None where there is no number.

    `peak` is where a word's map is strongest, `[x, y]` in fractions of the photo from its top left corner; None
    when nothing in the photo speaks for the word. A photo that failed has `error` and its `kind` instead. `question`,
    `question_words`, `answers`, `instead_of` and `counterfactual` are there only where they apply; so are `boxes`, the
    regions in pixels of the photo, with `regions`, their values for a word. A noun of a caption that the model doubts itself has
    its `doubt`, and whether it is `doubtful`. `familiarity` is there for models that tell it; its `warning` is for a photo
    unlike the training photos. With a rule of `boxes`, words, phrases and answers have `boxes`, too: `Explanation.boxes`. Words,
    phrases and the whole text have `channels` and their `because`, the text that names them, where the explanation has maps of
    channels.
    """
    fields: dict[str, Any] = {"format": FORMAT, "image": image}
    if isinstance(result, Failure):
        return fields | {"error": message(result.error), "kind": type(result.error).__name__}
    fields["text"] = result.text
    fields["words"] = [_span_record(result, result.part(word), boxes) for word in result.words]
    if phrases:
        fields["phrases"] = [_span_record(result, part, boxes) for part in result.phrases()]
    if result.words:
        fields["whole"] = _span_record(result, result.whole(), boxes)
    if result.region_boxes is not None:
        fields["boxes"] = [[_number(x) for x in box] for box in result.region_boxes.tolist()]
    return (
        fields
        | _question_and_answers(result, boxes)
        | _familiarity_record(result)
        | {name: getattr(result, name) for name in ("model", "method", "score", "unit", "layer")}
    )


def peak_on_photo(explanation: ExplanationData, span: SpanExplanation) -> list[float] | None:
    """The centre of the strongest cell or box, `[x, y]` in fractions of the photo; None for an empty map."""
    if not span.known or span.is_empty:
        return None
    if boxes := explanation.placement.boxes:
        x0, y0, x1, y1 = boxes[int(span.map.argmax())]
        return [round((x0 + x1) / 2, 4), round((y0 + y1) / 2, 4)]
    point = peak(span.map, explanation.placement.frame)
    return None if point is None else [round(min(max(value, 0.0), 1.0), 4) for value in point]


def _places(explanation: ExplanationData, span: SpanExplanation, rule: BoxRule | None) -> dict[str, Any]:
    """The value of each region, where maps are of regions; boxes around what a map marks, where a rule for them is given."""
    placement = explanation.placement
    found: dict[str, Any] = {"regions": [_number(value) for value in span.map.flatten().tolist()]} if placement.boxes else {}
    if rule is not None:
        found["boxes"] = [[_number(x) for x in box] for box in photo_boxes(explanation, span.map, rule).tolist()]
    return found


def _question_and_answers(explanation: ExplanationData, boxes: BoxRule | None) -> dict[str, Any]:
    """The question, its answers, likeliest first, and what they were compared with; only keys that apply."""
    answers = [
        {
            "text": part.text,
            "probability": _number(math.exp(part.log_prob)),
            "score": _number(part.score),
            "peak": peak_on_photo(explanation, part),
            **_places(explanation, part, boxes),
        }
        for part in explanation.answer_parts
    ]
    words = [{"text": word.text, "share": _number(word.share), "known": word.known} for word in explanation.question_words]
    fields = {
        "question": explanation.question,
        "question_words": words,
        "answers": answers,
        "instead_of": dict(explanation.instead_of),
        "counterfactual": explanation.counterfactual,
    }
    return {name: value for name, value in fields.items() if value}


def _familiarity_record(explanation: ExplanationData) -> dict[str, Any]:
    found = explanation.familiarity
    if found is None:
        return {}
    numbers = {"distance": _number(found.distance), "threshold": _number(found.threshold), "familiar": found.familiar}
    return {"familiarity": numbers if found.warning is None else numbers | {"warning": found.warning}}


def _span_record(explanation: ExplanationData, part: SpanExplanation, boxes: BoxRule | None) -> dict[str, Any]:
    return {
        "text": part.text,
        "known": part.known,
        "score": _number(part.score),
        "log_prob": _number(part.log_prob),
        "probability": _number(math.exp(part.log_prob)),
        "reliance": _number(part.reliance),
        "unplaced": _number(part.unplaced),
        "completeness": _number(part.completeness),
        "peak": peak_on_photo(explanation, part),
        **_places(explanation, part, boxes),
        **({} if part.doubt is None else {"doubt": _number(part.doubt), "doubtful": part.is_doubtful}),
        **_channels(explanation, part),
    }


def _channels(explanation: ExplanationData, part: SpanExplanation) -> dict[str, Any]:
    """The channels that speak most for and against a span, and the text that names them."""
    if explanation.token_channels is None:
        return {}
    found = [
        {"channel": one.channel, "name": one.name, "score": _number(one.score), "share": _number(one.share), "peak": where}
        for one in channels_of(explanation, part.span, CHANNELS)
        for where in [peak_on_photo(explanation, replace(part, map=one.map))]
    ]
    return {"channels": found, "because": explanation_text(explanation, part.span)}


def _number(value: float | None) -> float | None:
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
