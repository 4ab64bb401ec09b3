"""One self-contained HTML page to explore explanations with: no framework, no request to anywhere."""

from __future__ import annotations

import base64
import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence, Set
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from PIL import Image
from torch import Tensor

from ..core.geometry import LINE
from ..core.spans import Span, join
from ..metrics.overlap import BoxRule
from ..results.explanation_data import ExplanationData
from ..results.heat_scale import OUTLIERS
from ..results.photo_boxes import photo_boxes
from ..results.records import SpanExplanation
from .answers import bars, question
from .assets import BESIDE, asset, policy
from .colour import COOL, KNEE, OPACITY, WARM
from .index_page import ENTRIES
from .overlay import jpeg, shrink
from .remarks import cell_name, heading, remarks, signed, source

PHOTO_SIDE = 1024  # pixels: enough for a screen
TITLE = "Where {} came from"
COLUMNS = {
    "word": ("Word", "Nats from the photo", "Probability with it", "and without"),
    "answer": ("Answer", "Probability", "Score"),
}


def page(
    explanations: Sequence[ExplanationData],
    title: str | None = None,
    *,
    index: str | None = None,
    photo: str | None = None,
    boxes: BoxRule | None = None,
) -> str:
    """A whole HTML document: per explanation the photo, its caption as words to point at, and their maps.

    Of a question there are its words and the answers to choose from. The document forbids itself every request
    (Content-Security-Policy) and every script but its own. `index` is the address of a page of many explanations to go back to,
    beside which `index-entries.js` names the neighbours; `photo` is that of the only explanation's photo, where it lies beside
    the page instead of in it. `boxes` draws the box of each map that is shown, by this rule.
    """
    kinds = {_kind(explanation) for explanation in explanations} or {"word"}
    regions = {"boxes"} if any(explanation.placement.boxes for explanation in explanations) else set()
    pixels = {"pixels"} if any(explanation.pixel_maps is not None for explanation in explanations) else set()
    script = _script(kinds | regions | pixels) + (asset("neighbours.js") if index else "")
    style, images = asset("page.css"), f"{BESIDE} data:" if photo else "data:"
    return Template(asset("page.html")).substitute(
        title=escape(title or TITLE.format("each answer" if kinds == {"answer"} else "each word")),
        kinds=" ".join(f"has-{kind}s" for kind in sorted(kinds)),
        policy=policy(style, script, images=images, scripts=BESIDE if index else ""),
        style=style,
        script=script,
        index=_navigation(index) if index else "",
        sections="\n".join(_sections(explanations, photo)),
        data=_json(
            {
                "colour": {"warm": WARM, "cool": COOL, "knee": KNEE, "opacity": OPACITY, "line": LINE},
                "explanations": [_data(explanation, boxes) for explanation in explanations],
            }
        ),
    )


def save_page(
    explanations: Sequence[ExplanationData], path: str | Path, title: str | None = None, *, boxes: BoxRule | None = None
) -> Path:
    """Write the page to `path` atomically."""
    path, html = Path(path), page(explanations, title, boxes=boxes)
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(html)
        os.chmod(partial, 0o644)  # mkstemp's own mode keeps a page from everyone else, web servers too
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
    return path


def _kind(explanation: ExplanationData) -> str:
    """Whether a section offers words or answers."""
    return "answer" if _answers(explanation) else "word"


def _answers(explanation: ExplanationData) -> tuple[SpanExplanation, ...]:
    """The answers to choose from; none when the explained one is out of vocabulary and has no map."""
    parts = explanation.answer_parts
    return parts if all(part.known for part in parts) else ()


def _script(parts: Set[str]) -> str:
    """The scripts of the page's `parts` (kinds, boxes, pixels) in one block statement, so that none of their names is global."""
    names = ["page", *(name if name in ("boxes", "pixels") else f"{name}s" for name in sorted(parts))]
    return '"use strict";\n{\n' + "".join(asset(f"{name}.js") for name in names) + "}\n"


# ---- data for the script ---------------------------------------------------------------------------------


def _data(explanation: ExplanationData, boxes: BoxRule | None) -> dict[str, Any]:
    """Data of one explanation for the script, without the photo: its answers, or its words, noun phrases and whole text."""
    answers = _answers(explanation)
    parts = answers or [explanation.part(span) for span in _spans(explanation)]
    return {
        "kind": _kind(explanation),
        "frame": explanation.placement.frame,
        "boxes": explanation.placement.boxes,
        "cell": cell_name(explanation),
        "linear": explanation.token_maps is not None,
        **({} if explanation.pixel_maps is None else {"share": 1 - OUTLIERS}),
        "unit": explanation.unit,
        "score": explanation.score,
        "counterfactual": explanation.counterfactual,
        "parts": [_part(part, explanation.words) | _drawn_boxes(part, explanation, boxes) for part in parts],
        "count": len(answers or explanation.words),
        **({"first": _first(answers)} if answers else {}),
    }


def _first(answers: Sequence[SpanExplanation]) -> int:
    """Index of the explained answer, the only one whose reliance is known."""
    return next((i for i, part in enumerate(answers) if math.isfinite(part.reliance)), 0)


def _spans(explanation: ExplanationData) -> list[Span]:
    """The words, then noun phrases of several words, then the whole text: each run of tokens once."""
    words = {(word.start, word.stop): word for word in explanation.words}
    if not words:
        return []
    longer = [*(_phrases(explanation) or ()), join(explanation.words, explanation.text)]
    return list((words | {(span.start, span.stop): span for span in longer} | words).values())


def _phrases(explanation: ExplanationData) -> Sequence[Span] | None:
    """The noun phrases; None without spaCy's pipeline, in which case the page offers words and the whole text and says so."""
    try:
        return explanation.phrase_spans if explanation.words else ()  # with no words there is nothing to parse
    except ImportError:
        return None


def _part(part: SpanExplanation, words: Sequence[Span]) -> dict[str, Any]:
    map = part.map
    return {
        "text": part.text,
        "words": [i for i, word in enumerate(words) if part.span.start <= word.start and word.stop <= part.span.stop],
        "known": part.known,
        "reliance": _number(part.reliance),
        "logProb": _number(part.log_prob),
        "score": _number(part.score),
        "gap": _number(part.completeness),
        "unplaced": _number(part.unplaced),
        "map": _grid(map) if bool(map.isfinite().all()) else None,
        **({"doubtful": True} if part.is_doubtful else {}),
    }


def _drawn_boxes(part: SpanExplanation, explanation: ExplanationData, rule: BoxRule | None) -> dict[str, Any]:
    """The boxes of a map in fractions of the photo, if they are asked for."""
    if rule is None:
        return {}
    sides = [explanation.placement.width, explanation.placement.height] * 2
    boxes = photo_boxes(explanation, part.map, rule).tolist()
    return {"boxes": [[_number(x / side) for x, side in zip(box, sides, strict=True)] for box in boxes]}


def _grid(map: Tensor) -> dict[str, Any]:
    """A map `(h, w)` as 16-bit steps in base64: 65,535 levels, under 3 characters a cell."""
    step = float(map.abs().max()) / 32767
    steps = (map.double() / step).round() if step else map
    grid = base64.b64encode(steps.numpy().astype("<i2").tobytes()).decode()
    return {"rows": map.shape[0], "columns": map.shape[1], "step": float(f"{step:.9g}"), "grid": grid}


def _number(value: float | None) -> float | None:
    """`value` with five digits; None for NaN and infinity, which JSON lacks."""
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None


def _json(data: Any) -> str:
    """JSON without `<`, so that no text in it can close the script element."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


# ---- markup --------------------------------------------------------


def _sections(explanations: Sequence[ExplanationData], address: str | None) -> Iterator[str]:
    """One section per explanation; a photo that occurs again refers to the section that embeds it."""
    seen: dict[str, int] = {}
    for number, explanation in enumerate(explanations, start=1):
        photo = shrink(explanation, PHOTO_SIDE).image
        uri = _data_uri(photo) if address is None else escape(quote(address))
        first = seen.setdefault(uri, number)
        size = f'width="{photo.width}" height="{photo.height}"'
        yield _section(number, explanation, f'{size} src="{uri}"' if first == number else f'{size} data-as="{first}"')


def _navigation(index: str) -> str:
    """Links to the index of a batch and, once the script knows them, to the explanations before and after."""
    entries = index[: index.rfind("/") + 1] + ENTRIES
    return (
        f'<nav class="batch" aria-label="All explanations" data-entries="{escape(quote(entries))}">'
        f'<a href="{escape(quote(index))}">All explanations</a> <a rel="prev" hidden>← Previous</a> '
        '<a rel="next" hidden>Next →</a> <span></span></nav>'
    )


def _section(number: int, explanation: ExplanationData, photo: str) -> str:
    answers = _answers(explanation)
    kind = _kind(explanation)
    return Template(asset("section.html")).substitute(
        number=number,
        heading=escape(heading(explanation)) or "(no words)",
        photo=photo,
        top=question(explanation) + ("" if answers else _words(explanation)),
        answers=bars(explanation, answers) if answers else "",
        kind=kind,
        side="Against" if explanation.counterfactual else "For",
        keep="" if answers else asset("keep.html"),
        columns="<tr>" + "".join(f'<th scope="col">{column}' for column in COLUMNS[kind]),
        remarks="".join(
            f"<p class=remark>{escape(remark)}</p>" for remark in [*remarks(explanation), *_word_remarks(explanation)]
        ),
        source=escape(source(explanation)),
        facts="".join(f"<dt>{escape(name)}<dd>{escape(fact)}" for name, fact in _facts(explanation).items()),
    )


def _words(explanation: ExplanationData) -> str:
    """The words as buttons, then phrases and the whole text."""
    count = len(explanation.words)
    buttons = [
        _button(i, explanation.part(span), "whole text" if i >= count and span.text == explanation.text else None)
        for i, span in enumerate(_spans(explanation))
    ]
    return Template(asset("words.html")).substitute(words="\n".join(buttons[:count]), longer="\n".join(buttons[count:]))


def _button(index: int, part: SpanExplanation, label: str | None = None) -> str:
    below = signed(part.reliance) if math.isfinite(part.reliance) else "unknown word"
    doubtful = ' class="doubtful" title="Doubtful"' if part.is_doubtful else ""
    return (
        f'<button type="button" data-part="{index}" aria-pressed="false"{doubtful}>'
        f"<span>{escape(label or part.text)}</span> <small>{below}</small></button>"
    )


def _word_remarks(explanation: ExplanationData) -> list[str]:
    """Limits of the word buttons: maps that do not add up, phrases that could not be found."""
    sentences: list[str] = []
    if _answers(explanation):
        return sentences
    if explanation.token_maps is None:
        sentences.append(
            f"The maps of words do not add up under {explanation.method}: pick one word, a phrase or the whole text."
        )
    if _phrases(explanation) is None:
        sentences.append("No phrases: spaCy’s English pipeline was not installed where this page was made.")
    return sentences


def _facts(explanation: ExplanationData) -> dict[str, str]:
    facts = {
        "Model": explanation.model,
        "Method": explanation.method,
        "Explained score": f"{explanation.score_label}, in {explanation.unit}",
        "Layer": explanation.layer,
    }
    if explanation.words:
        whole = explanation.whole()
        text = "answer" if explanation.answers else "whole text"
        facts[f"The photo adds to the {text}"] = f"{signed(whole.reliance)} nats"
        if whole.completeness is not None:
            facts[f"The map of the {text} adds up to within"] = f"{max(abs(whole.completeness), 0.001):.2g} {explanation.unit}"
    return facts | dict(explanation.provenance)


def _data_uri(photo: Image.Image) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(photo)).decode()
